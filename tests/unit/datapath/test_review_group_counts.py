"""A group that is modified under traffic keeps every packet it counted."""

from __future__ import annotations

import os

from tests.fakes.switchbox import SwitchBox
from tests.unit.datapath.test_cores import FRAME, Threaded
from vswitchd.datapath import dp


def test_modified_under_traffic() -> None:
    box = Threaded(3, sorted(os.sched_getaffinity(0))[:1])
    box.bridge.set_group(7, 0, [dp.BucketSpec((dp.output(2),))])
    box.bridge.commit()
    rule = box.rule(1, (), dp.group(7))
    fed = 0
    for _ in range(40):
        for _ in range(500):
            box.feed(1, FRAME)
        fed += 500
        while box.ports[1].counters().rx_packets < fed:
            box.bridge.set_group(7, 0, [dp.BucketSpec((dp.output(2),))])
            box.bridge.commit()
        box.take()
    box.quiet(1, fed)
    box.dp.harvest()
    assert box.bridge.rule_stats(rule)[0] == fed
    assert box.bridge.group_stats(7, 1)[0] == (fed, fed * len(FRAME))
    box.close()


def test_removed_and_made_again_starts_at_zero() -> None:
    box = SwitchBox(2)
    box.rule(1, (), dp.group(7))
    for _ in range(2):
        box.bridge.set_group(7, 0, [dp.BucketSpec((dp.output(2),))])
        box.bridge.commit()
        assert box.send(1, FRAME) == {2: [FRAME]}
        assert box.bridge.group_stats(7, 1) == [(1, len(FRAME))] * 2
        box.bridge.remove_group(7)
    box.close()
