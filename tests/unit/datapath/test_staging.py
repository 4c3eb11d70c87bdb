"""What is staged and not committed: nobody sees it, whatever else happens; a rollback leaves no trace of it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001") + b"\x88\xb5" + bytes(50)
INDIRECT = 2


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(3)
    yield b
    b.assert_ledgers()
    b.close()


def stage(box: SwitchBox, number: int, port: int) -> None:
    box.bridge.set_group(number, INDIRECT, [dp.BucketSpec((dp.output(port),))])


def way(box: SwitchBox, number: int) -> int:
    """The port behind a group; 0: the group is not there."""
    box.bridge.packet_out(FRAME, 1, (dp.group(number),))
    ports = [*box.take()]
    return ports[0] if ports else 0


def test_settings_show_no_staged_group_or_rule(box: SwitchBox) -> None:
    stage(box, 1, 2)
    box.bridge.add_rule(dp.RuleSpec(0, 1, apply=(dp.group(1),)))
    box.bridge.set_frag_mode(drop=True)
    box.bridge.set_punt_miss(True)
    assert box.send(1, FRAME) == {}
    assert way(box, 1) == 0
    assert [p.reason for p in box.dp.take_punts()] == [dp.PUNT_MISS]
    box.bridge.commit()
    assert box.send(1, FRAME) == {2: [FRAME]}


def test_staged_groups_follow_a_model(box: SwitchBox) -> None:
    r = random.Random(4)
    shown: dict[int, int] = {}
    staged: dict[int, int] = {}
    for _ in range(1500):
        number, port, what = r.randrange(40), r.choice([2, 3]), r.random()
        if what < 0.5:
            stage(box, number, port)
            staged[number] = port
        elif what < 0.8:
            box.bridge.remove_group(number)
            staged.pop(number, None)
        elif what < 0.9:
            box.bridge.commit()
            shown = dict(staged)
        else:
            box.bridge.rollback()
            staged = dict(shown)
        assert way(box, number) == shown.get(number, 0)
        box.dp.housekeeping()
    for number in range(40):
        assert way(box, number) == shown.get(number, 0)


def test_a_replaced_group_keeps_its_counters_over_a_rollback(box: SwitchBox) -> None:
    stage(box, 1, 2)
    box.bridge.commit()
    assert way(box, 1) == 2
    stage(box, 1, 3)
    stage(box, 1, 3)
    box.bridge.remove_group(1)
    stage(box, 1, 3)
    box.bridge.rollback()
    assert way(box, 1) == 2
    box.dp.harvest()
    assert box.bridge.group_stats(1, 1)[0] == (2, 2 * len(FRAME))


def test_rollback_of_rules(box: SwitchBox) -> None:
    old = box.rule(1, (), dp.output(2))
    gone = box.rule(2, (("IN_PORT", 3, 0xFFFFFFFF),), dp.output(1))
    before = box.bridge.stats()["n_rules"]
    fresh = [box.bridge.add_rule(dp.RuleSpec(t, 9, apply=(dp.output(3),))) for t in (0, 0, 7)]
    box.bridge.remove_rule(gone)
    box.bridge.remove_rule(fresh[1])  # staged and taken back
    box.bridge.rollback()
    assert box.bridge.stats()["n_rules"] == before
    assert box.send(1, FRAME) == {2: [FRAME]}
    assert box.send(3, FRAME) == {1: [FRAME]}
    box.retire()
    assert sorted(r.rule for r in box.bridge.take_retired()) == sorted(fresh)
    box.bridge.remove_rule(old)  # removed once before would be twice now
    box.bridge.remove_rule(gone)
    box.bridge.commit()
    assert box.send(1, FRAME) == {}
    box.retire()
    assert {r.rule: r.packets for r in box.bridge.take_retired()} == {old: 1, gone: 1}
    assert box.bridge.stats()["n_rules"] == 0


def test_rollback_between_commits_of_removed_rules(box: SwitchBox) -> None:
    """Rules of a rollback join those that wait to go."""
    rule = box.rule(1, (), dp.output(2))
    box.bridge.remove_rule(rule)
    box.bridge.commit()
    staged = box.bridge.add_rule(dp.RuleSpec(0, 1, apply=(dp.output(3),)))
    box.bridge.rollback()
    box.bridge.rollback()
    assert box.send(1, FRAME) == {}
    box.retire()
    assert {r.rule for r in box.bridge.take_retired()} == {rule, staged}
    box.rule(1, (), dp.output(3))
    assert box.send(1, FRAME) == {3: [FRAME]}


def test_a_bridge_goes_with_what_is_staged(box: SwitchBox) -> None:
    bridge = box.dp.create_bridge("br1")
    bridge.set_group(1, INDIRECT, [dp.BucketSpec((dp.output(1),))])
    bridge.commit()
    bridge.set_group(1, INDIRECT, [dp.BucketSpec((dp.output(2),))])
    bridge.set_group(2, INDIRECT, [dp.BucketSpec((dp.output(2),))])
    bridge.remove_group(1)
    bridge.add_rule(dp.RuleSpec(0, 1, apply=(dp.group(2),)))
    box.dp.delete_bridge(bridge)
