"""Rules that leave by the thousands: the work grows with their number, and what stays keeps its order."""

from __future__ import annotations

import random

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp
from vswitchd.datapath.action import pack, pack_match

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)


@pytest.mark.timeout(60)
def test_forty_thousand_priorities_of_one_mask() -> None:
    """With a recount for each rule this takes minutes."""
    box = SwitchBox(2)
    actions = pack((dp.output(2),))
    rules = []
    for i in range(40000):
        value, mask = pack_match((("IPV4_DST", i, 0xFFFFFFFF),))
        spec = dp.RuleSpec(0, 40000 - i, apply=(dp.output(2),))
        rules.append(box.bridge.add_packed(spec, value, mask, actions))
    box.bridge.commit()
    for rule in rules:
        box.bridge.remove_rule(rule)
    box.bridge.commit()
    box.retire()
    assert len(box.bridge.take_retired()) == 40000
    assert box.bridge.stats()["n_masks"] == 0
    box.close()


def test_the_highest_that_is_left_wins() -> None:
    box = SwitchBox(3)
    all_ones = (1 << 48) - 1
    matches = [(), (("ETH_DST", 0x020000000002, all_ones),), (("ETH_SRC", 0x020000000001, all_ones),)]
    order = random.Random(7)
    rules: dict[int, int] = {}
    for priority in range(60):
        match = order.choice(matches)
        rules[priority] = box.rule(priority, match, dp.output(2 + priority % 2))
    while rules:
        assert box.send(1, FRAME) == {2 + max(rules) % 2: [FRAME]}
        for priority in [*order.sample(sorted(rules), min(len(rules), 3)), max(rules)]:
            if priority in rules:
                box.bridge.remove_rule(rules.pop(priority))
        box.bridge.commit()
        box.retire()
    assert box.send(1, FRAME) == {}
    assert box.bridge.stats()["n_masks"] == 0
    box.close()
