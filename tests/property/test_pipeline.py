"""Random pipelines, packets and interleaved requests: the switch agrees with the oracle on all that can be seen of it.

Every output byte, packet-in, flow-removed message, error and counter, through the real agent and codec; with and without a
cache, on one core and on two. A failing case is cut down to the operations that matter and names its seed:
VS_PIPELINE_SEED=<seed> runs it alone. Every run takes the same cases; VS_PIPELINE_NEW=1 takes new ones.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.fakes import oracle_case

ONE = os.environ.get("VS_PIPELINE_SEED")
CASES = 0 if ONE else 50 if os.environ.get("VS_ASAN") else 500
OPERATIONS = 30
KNOWN = [int(ONE)] if ONE else [1, 2, 3]


def agree(seed: int) -> None:
    found = oracle_case.failure(seed, OPERATIONS)
    if found is None:
        return
    text, done = oracle_case.cut_down(seed, found[1])
    lines = [f"VS_PIPELINE_SEED={seed} fails; of {len(found[1])} operations these do:"]
    lines += [f"  {oracle_case.shown(op)}" for op in done]
    pytest.fail("\n".join([*lines, text or found[0]]), pytrace=False)


@pytest.mark.parametrize("seed", KNOWN)
def test_known_seeds(seed: int) -> None:
    agree(seed)


@pytest.mark.parametrize("part", range(4))
def test_switch_agrees_with_oracle(part: int) -> None:
    """Thousands of cases."""
    r = random.Random(None if os.environ.get("VS_PIPELINE_NEW") else part)
    for _ in range(CASES):
        agree(r.getrandbits(32))
