"""What the cache keeps over commits: what no change concerns, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp
from vswitchd.datapath.core import lib

IPV4 = ("ETH_TYPE", 0x800, 0xFFFF)
ALL = 0xFFFFFFFF
N = 12
CHANCE = 2
"""Flows that may share a seat with a changed rule and are walked for, too: three of twelve do so once in a million times."""
KINDS, RULES = 16, 4096
"""VS_CHANGE_KINDS, VS_CHANGE_RULES."""


def frame(i: int, j: int = 0) -> bytes:
    return bytes(
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IP(src=f"10.1.0.{j}", dst=f"10.0.0.{i}")
        / UDP()
    )


def dst(i: int) -> tuple[tuple[str, int, int], ...]:
    return (IPV4, ("IPV4_DST", 0x0A000000 + i, ALL))


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(3)
    for i in range(N):
        b.bridge.add_rule(dp.RuleSpec(0, 5, dst(i), goto=1))
    b.bridge.add_rule(dp.RuleSpec(1, 1, (IPV4, ("IPV4_SRC", 0, 0)), apply=(dp.output(2),)))
    b.bridge.commit()
    yield b
    b.assert_ledgers()
    b.close()


def walks(box: SwitchBox) -> int:
    """Send one packet of each flow; how many were walked for."""
    before = box.dp.core_stats()[0].emc_misses
    for i in range(N):
        box.send(1, frame(i))
    return box.dp.core_stats()[0].emc_misses - before


def test_only_what_a_change_concerns_is_walked_for(box: SwitchBox) -> None:
    assert (walks(box), walks(box)) == (N, 0)
    for round_ in range(3):
        rule = box.rule(6, dst(3), dp.output(3))
        assert 1 <= walks(box) <= 1 + CHANCE, round_
        box.rule(7, dst(200 + round_), dp.output(3))
        assert walks(box) <= CHANCE
        box.bridge.remove_rule(rule)
        box.bridge.commit()
        assert 1 <= walks(box) <= 1 + CHANCE
        box.rule(6, dst(4), dp.output(3), table=1)
        assert 1 <= walks(box) <= 1 + CHANCE


def come_and_go(box: SwitchBox, times: int) -> None:
    for i in range(times):
        rule = box.rule(7, dst(100 + i), dp.output(3))
        box.bridge.remove_rule(rule)
        box.bridge.commit()


@pytest.mark.parametrize("times", [1, 40])
def test_commits_without_packets_between(box: SwitchBox, times: int) -> None:
    walks(box)
    box.rule(6, dst(3), dp.output(3))
    come_and_go(box, times)
    assert 1 <= walks(box) <= 1 + CHANCE


def prefix(bits: int) -> tuple[tuple[str, int, int], ...]:
    """Match a source that nobody has, by a mask of its own."""
    return (IPV4, ("IPV4_SRC", 0xC0000000 & ALL << bits, ALL << bits & ALL))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kinds", [KINDS, KINDS + 1])
def test_so_many_masks_are_remembered(box: SwitchBox, kinds: int, together: bool) -> None:
    """All bits that masks of the test look at are looked at from the start; the oldest kind is that of the rule for flow 3."""
    keep = box.rule(1, (IPV4, ("IPV4_SRC", 0xC0A80000, ALL)))
    walks(box)
    assert walks(box) == 0
    rules = [box.bridge.add_rule(dp.RuleSpec(0, 6, dst(3), apply=(dp.output(3),)))]
    for bits in range(1, kinds):
        if not together:
            box.bridge.commit()
        rules.append(box.bridge.add_rule(dp.RuleSpec(0, 7, prefix(bits))))
    box.bridge.commit()
    walked = walks(box)
    if kinds <= KINDS:
        assert 1 <= walked <= 1 + CHANCE
    else:
        assert walked == N
    assert box.send(1, frame(3)) == {3: [frame(3)]}
    for rule in (*rules, keep):
        box.bridge.remove_rule(rule)
    box.bridge.commit()
    assert box.send(1, frame(3)) == {2: [frame(3)]}


def test_a_commit_of_very_many_rules(box: SwitchBox) -> None:
    walks(box)
    for i in range(RULES + 1):
        box.bridge.add_rule(dp.RuleSpec(0, 7, dst(0x10000 + i)))
    box.bridge.commit()
    assert walks(box) == N
    box.rule(7, dst(201))
    assert walks(box) <= CHANCE


def test_entries_that_still_hold_are_not_in_the_way_of_new_ones() -> None:
    """The bucket is full; a packet that comes once does not take the place of an entry that is only of an older version."""
    box = SwitchBox(3, emc_entries=16)
    box.rule(5, dst(0), dp.output(2))
    for i in range(16):
        box.send(1, frame(i))
    box.rule(7, dst(200))
    box.send(1, frame(99))
    before = box.dp.core_stats()[0].emc_misses
    for i in range(16):
        box.send(1, frame(i))
    assert box.dp.core_stats()[0].emc_misses - before <= CHANCE
    box.assert_ledgers()
    box.close()


def test_bits_that_were_lost_are_not_judged_by(box: SwitchBox) -> None:
    """The only rule that looks at the source address comes and goes; a drop for one source is never kept."""
    for _ in range(3):
        assert box.send(1, frame(1, 7)) == {2: [frame(1, 7)]}
        rule = box.rule(9, (IPV4, ("IPV4_SRC", 0x0A010007, ALL)))
        assert box.send(1, frame(1, 7), frame(1, 8)) == {2: [frame(1, 8)]}
        box.bridge.remove_rule(rule)
        box.bridge.commit()
        box.retire()
        box.bridge.take_retired()
        assert box.send(1, frame(1, 7)) == {2: [frame(1, 7)]}
        box.rule(9, dst(250))


def test_behind_an_edit_the_key_is_another(box: SwitchBox) -> None:
    """Flow 1 becomes flow 77 in table 0: a rule for 77 in table 1 concerns it."""
    box.rule(8, dst(1), dp.set_field("IPV4_DST", 0x0A00004D), goto=1)
    assert list(box.send(1, frame(1))) == [2]
    rule = box.rule(6, dst(77), dp.output(3), table=1)
    assert list(box.send(1, frame(1))) == [3]
    box.bridge.remove_rule(rule)
    box.bridge.commit()
    assert list(box.send(1, frame(1))) == [2]


def test_a_setting_that_walks_look_at(box: SwitchBox) -> None:
    other = frame(99)
    assert box.send(1, other) == {}
    box.bridge.set_punt_miss(True)
    box.send(1, other)
    assert len(box.dp.take_punts()) == 1


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_switch_without_cache_does_the_same(seed: int, many: bool) -> None:
    """Rules of three tables come and go, with edits of address, VLAN and metadata between; packets between the commits.

    Many: of more masks than are remembered.
    """
    order = random.Random(seed)
    boxes = [SwitchBox(3, emc_entries=n) for n in (0, 1024)]
    rules: list[tuple[int, int]] = []
    matches: list[tuple[tuple[str, int, int], ...]] = [
        (),
        *(dst(i) for i in range(6)),
        *((IPV4, ("IPV4_SRC", 0x0A010000 + i, ALL)) for i in range(4)),
        (IPV4, ("IPV4_DST", 0x0A000004, 0xFFFFFFFC)),
        (("METADATA", 1, 1),),
        (("VLAN_VID", 0x1005, 0x1FFF),),
    ]
    if many:
        matches += [(IPV4, ("IPV4_SRC", 0x0A010003 & ALL << i, ALL << i & ALL)) for i in range(1, 24)]
    edits = [
        (dp.set_field("IPV4_DST", 0x0A000003),),
        (dp.push_vlan(0x8100), dp.set_field("VLAN_VID", 0x1005)),
        (),
        (),
        (),
    ]
    for _ in range(150):
        for _ in range(order.choice((1, 1, 1, 2, 5))):
            if rules and order.random() < 0.45:
                pair = rules.pop(order.randrange(len(rules)))
                for b, rule in zip(boxes, pair, strict=True):
                    b.bridge.remove_rule(rule)
                continue
            table, go = order.choice(((0, 1), (0, 1), (1, 2), (0, None), (1, None), (2, None)))
            apply = order.choice(edits) if go else (dp.output(order.choice((2, 3))),)
            metadata = (order.randrange(2), 1) if go and order.random() < 0.5 else None
            spec = dp.RuleSpec(
                table, order.randrange(4), order.choice(matches), apply=apply, goto=go, metadata=metadata
            )
            rules.append((boxes[0].bridge.add_rule(spec), boxes[1].bridge.add_rule(spec)))
        for b in boxes:
            b.bridge.commit()
        for _ in range(6):
            sent = frame(order.randrange(7), order.randrange(5))
            assert boxes[0].send(1, sent) == boxes[1].send(1, sent)
        if order.random() < 0.3:
            for b in boxes:
                b.retire()
                b.bridge.take_retired()
    assert boxes[1].dp.core_stats()[0].emc_hits > 60
    for b in boxes:
        b.assert_ledgers()
        b.close()


def pretend(bridge: dp.DpBridge, version: int) -> None:
    """Set the version of the view, which begins with it, as the bridge begins with the view."""
    dp.ffi.cast("uint64_t **", bridge.cdata)[0][0] = version


@pytest.mark.parametrize("lost", [False, True])
def test_versions_that_come_half_way_round(lost: bool) -> None:
    """Commit 2^31 empties the caches, also when the union of all masks loses bits in it."""
    box = SwitchBox(3)
    source = (IPV4, ("IPV4_SRC", 0x0A0100FF, ALL))
    rule, other = box.rule(5, dst(1), dp.output(2)), box.rule(9, source, dp.output(3))
    assert list(box.send(1, frame(1))) == [2]
    pretend(box.bridge, (1 << 31) - 2)
    if lost:
        box.bridge.remove_rule(other)
    box.rule(1, dst(300), dp.output(3))
    box.retire()
    box.bridge.take_retired()
    box.rule(6, dst(250), dp.output(3))
    assert box.bridge.stats()["version"] == 1 << 31
    if lost:
        box.rule(9, source, dp.output(3))
    box.bridge.remove_rule(rule)
    box.bridge.commit()
    box.bridge.set_punt_miss(True)  # older entries are not judged from here
    box.bridge.set_punt_miss(False)
    assert box.send(1, frame(1)) == {}
    box.close()


@pytest.mark.parametrize("version", [1000, (1 << 31) - 1, (1 << 31) + 5])
def test_a_bridge_that_takes_the_place_of_another(version: int) -> None:
    """Its versions go on behind those of any bridge that went: entries of the one before it are gone."""
    box = SwitchBox(1)
    first, third = box.dp.create_bridge("br1"), box.dp.create_bridge("br2")

    def plug(bridge: dp.DpBridge) -> None:
        for number in (7, 8):
            box.ports[number] = box.add_port(number, bridge)
        box.dp.rebalance()

    plug(first)
    for i in range(10):
        first.add_rule(dp.RuleSpec(0, 5 + i, dst(1), apply=(dp.output(8),)))
        first.commit()
    assert list(box.send(7, frame(1))) == [8]
    pretend(third, version)
    third.commit()
    box.dp.delete_bridge(third)
    for number in (7, 8):
        del box.ports[number]
    box.dp.delete_bridge(first)
    again = box.dp.create_bridge("br1")
    plug(again)
    again.add_rule(dp.RuleSpec(0, 5, dst(2)))
    again.commit()
    for i in range(20):
        again.set_punt_miss(i % 2 == 0)
    assert box.send(7, frame(1)) == {}
    box.close()


@pytest.mark.parametrize("how", ["fragments", "group"])
def test_what_is_no_commit_of_rules_loses_no_bits(how: str) -> None:
    """A rule of IPv6 words that are zero comes and goes; then something else changes: its cache entry is not found by other words."""
    box = SwitchBox(3)
    v6, upper = ("ETH_TYPE", 0x86DD, 0xFFFF), (1 << 128) - (1 << 32)
    box.rule(1, (v6,), dp.output(2))
    gone = box.rule(9, (v6, ("IPV6_SRC", 0, upper)), dp.output(3))

    def out(source: str) -> list[int]:
        ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        return list(box.send(1, bytes(ether / IPv6(src=source, dst="2001:db8::9") / UDP())))

    assert out("::1") == [3]
    box.bridge.remove_rule(gone)
    box.bridge.commit()
    box.retire()
    box.bridge.take_retired()
    if how == "fragments":
        lib.vs_bridge_set_drop_fragments(box.bridge.cdata, 0)
    else:
        box.bridge.set_group(5, 0, [])
        box.bridge.commit()
    assert out("2001:db8::1") == [2]
    assert out("::1") == [2]
    box.close()
