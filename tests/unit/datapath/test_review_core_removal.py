"""What a core holds when it is removed goes on: packets for the controller, counts of rules."""

from __future__ import annotations

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(1000)
CONTROLLER = 0xFFFFFFFD


def test_punts_and_counts_of_a_removed_core() -> None:
    box = SwitchBox(1)
    rule = box.rule(1, (), dp.output(CONTROLLER, max_len=1000))
    frames = [FRAME + bytes([i]) for i in range(5)]
    total = 0
    for _ in range(1000):  # the rings wrap around
        box.send(1, *frames)
        total += len(frames)
        box.dp.set_cores([])
        box.dp.set_cores([-1])
        punts = box.dp.take_punts()
        assert [(p.data, p.total_len) for p in punts] == [(f, len(f)) for f in frames]
    assert box.bridge.rule_stats(rule)[0] == total
    box.close()
