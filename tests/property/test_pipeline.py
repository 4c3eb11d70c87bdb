"""Random pipelines, packets and interleaved changes of rules: the switch agrees with the oracle, with and without cache.

A failing case prints its seed; pytest -k agrees --hypothesis-seed is not needed: add the seed to KNOWN.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import oracle, pipelines
from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

KNOWN = [1, 2, 3]


def compare(box: SwitchBox, o: oracle.Oracle, in_port: int, frames: list[bytes]) -> None:
    """One batch through both."""
    o.out.clear()
    o.punted.clear()
    before = box.ports[in_port].counters()
    forwarded = sum(o.run(frame, in_port) for frame in frames)
    got = box.send(in_port, *frames)
    want: dict[int, list[bytes]] = {}
    for port, f in o.out:
        want.setdefault(port, []).append(f)
    # Packets of one batch are grouped by program: order is kept within a flow, not between flows.
    assert {p: sorted(fs) for p, fs in got.items()} == {p: sorted(fs) for p, fs in want.items()}
    assert sorted((p.in_port, p.data) for p in box.dp.take_punts()) == sorted(o.punted)
    assert box.ports[in_port].counters().rx_forwarded - before.rx_forwarded == forwarded
    box.assert_ledgers()


class Case:
    """One seed: a pipeline, groups, and steps of traffic and changes."""

    def __init__(self, seed: int, emc: int) -> None:
        self.r = random.Random(seed)
        self.box = SwitchBox(3, emc_entries=emc)
        self.o = oracle.Oracle(set(pipelines.PORTS), groups=pipelines.groups(self.r))
        self.installed: list[tuple[oracle.Rule, int]] = []
        for number, (kind, buckets) in self.o.groups.items():
            actions = [dp.BucketSpec(tuple(map(pipelines.compiled, b))) for b in buckets]
            self.box.bridge.set_group(number, 0 if kind == "all" else 2, actions)
        for rule in pipelines.pipeline(self.r):
            self.add(rule)
        self.box.bridge.commit()

    def add(self, rule: oracle.Rule) -> None:
        if all((x.table, x.priority) != (rule.table, rule.priority) for x in self.o.rules):
            self.o.rules.append(rule)
            self.installed.append((rule, self.box.bridge.add_rule(pipelines.spec(rule))))

    def change(self) -> None:
        """Remove one rule, add others, in one commit; the removed one's final counters are right."""
        if self.installed:
            rule, number = self.installed.pop(self.r.randrange(len(self.installed)))
            self.o.rules.remove(rule)
            self.box.bridge.remove_rule(number)
        for _ in range(self.r.randrange(3)):
            self.add(pipelines.rule(self.r))
        self.box.bridge.commit()
        self.box.retire()
        for gone in self.box.bridge.take_retired():
            assert (gone.rule, gone.packets, gone.bytes) == (number, rule.packets, rule.bytes)

    def run(self) -> None:
        for _ in range(4):
            pool = [pipelines.frame(self.r) for _ in range(5)]
            compare(self.box, self.o, self.r.choice([1, 2]), [self.r.choice(pool) for _ in range(12)])
            self.change()
        self.box.dp.harvest()
        for rule, number in self.installed:
            assert self.box.bridge.rule_stats(number)[:2] == (rule.packets, rule.bytes)


def agree(seed: int) -> None:
    for emc in (0, 16, 4096):
        case = Case(seed, emc)
        try:
            case.run()
        finally:
            case.box.close()


@pytest.mark.parametrize("seed", KNOWN)
def test_known_seeds(seed: int) -> None:
    agree(seed)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32))
def test_switch_agrees_with_oracle(seed: int) -> None:
    agree(seed)
