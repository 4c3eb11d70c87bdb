"""Fixtures of the conformance suite: every test runs once per port type."""

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from outsides import NEED_ROOT, OUTSIDES, Box, needs_namespace  # noqa: E402

TYPES = [pytest.param(name, marks=[pytest.mark.root] if name in NEED_ROOT else []) for name in OUTSIDES]


def _make(name, manual):
    with ExitStack() as stack:
        needs_namespace(name, stack)
        box = Box(stack, manual=manual)
        yield OUTSIDES[name](box)


@pytest.fixture(params=TYPES)
def outside(request):
    """The port under test in a switch that works when it is polled."""
    yield from _make(request.param, manual=True)


@pytest.fixture(params=[param for param in TYPES if OUTSIDES[param.values[0]].n_rxq])
def polled(request):
    """The same, of the port types that have a receive queue: all but patch ports."""
    yield from _make(request.param, manual=True)


@pytest.fixture(params=TYPES)
def live(request):
    """The same in a switch with a polling core."""
    yield from _make(request.param, manual=False)
