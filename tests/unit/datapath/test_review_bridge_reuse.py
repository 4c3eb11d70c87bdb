"""A bridge that takes the index of a removed one sees nothing of its predecessor's cached programs."""

from __future__ import annotations

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)


def replace_bridge(box: SwitchBox) -> None:
    box.dp.delete_bridge(box.bridge)
    box.ports.clear()
    box.bridge = box.dp.create_bridge("next")
    for number in (1, 2, 3):
        box.add_port(number)
    box.dp.rebalance()


def test_cached_programs_end_with_their_bridge() -> None:
    box = SwitchBox(3)
    box.rule(1, (), dp.output(2))
    assert box.send(1, FRAME) == {2: [FRAME]}
    for _ in range(3):
        before = box.bridge
        replace_bridge(box)
        assert box.bridge.index == before.index
        rule = box.rule(1, (), dp.output(3))
        assert box.send(1, FRAME) == {3: [FRAME]}
        box.dp.harvest()
        assert box.bridge.rule_stats(rule)[:2] == (1, len(FRAME))
        box.assert_ledgers()
    box.close()
