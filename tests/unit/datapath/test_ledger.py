"""Every drop has its name, every copy its count; patch ports; groups; punts; packet-out; the cache's bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

NORMAL, FLOOD, ALL, CONTROLLER, TABLE = 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFF9
UDP_FRAME = bytes(
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IP(src="10.0.0.1", dst="10.0.0.2", ttl=1)
    / UDP(dport=80)
    / (b"x" * 300)
)
DOWN, NO_RECV, NO_FWD, NO_PACKET_IN = 1, 4, 32, 64


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(3)
    yield b
    b.close()


def drops(box: SwitchBox, number: int = 1) -> dict[str, int]:
    box.assert_ledgers()
    return box.ports[number].counters().rx_drops


@pytest.mark.parametrize(
    ("reason", "actions"),
    [
        ("table_miss", None),
        ("action_drop", ()),
        ("no_output_port", (dp.output(9),)),
        ("no_output_port", (dp.output(1),)),
        ("no_group", (dp.group(5),)),
        ("ttl_expired", (dp.dec_ttl(), dp.output(2))),
        ("bad_action", (dp.pop_vlan(), dp.output(2))),
        ("bad_action", (dp.set_field("ARP_OP", 1), dp.output(2))),
        ("runt", (dp.drop("runt"),)),
    ],
)
def test_a_packet_that_ends_in_the_pipeline(
    box: SwitchBox, reason: str, actions: tuple[dp.Action, ...] | None
) -> None:
    if actions is not None:
        box.rule(1, (), *actions)
    assert box.send(1, UDP_FRAME) == {}
    assert drops(box) == {reason: 1}


def test_a_runt_has_a_name(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(2))
    assert box.send(1, b"\x02" * 13, UDP_FRAME) == {2: [UDP_FRAME]}
    assert drops(box) == {"runt": 1}
    stats = box.dp.core_stats()[0]
    assert (stats.emc_hits, stats.emc_misses) == (0, 1)  # it is never looked up


@pytest.mark.parametrize(
    ("number", "bits", "reason"),
    [
        (1, DOWN, "port_down"),
        (1, NO_RECV, "no_recv"),
        (2, DOWN, "egress_blocked"),
        (2, NO_FWD, "egress_blocked"),
    ],
)
def test_port_configuration(box: SwitchBox, number: int, bits: int, reason: str) -> None:
    box.rule(1, (), dp.output(2))
    box.ports[number].set_config(bits)
    assert box.send(1, UDP_FRAME) == {}
    assert drops(box) == {reason: 1}
    box.ports[number].set_config(0)
    assert box.send(1, UDP_FRAME) == {2: [UDP_FRAME]}


def test_flood_to_nobody_and_no_packet_in(box: SwitchBox) -> None:
    box.ports[2].set_config(NO_FWD)
    box.ports[3].set_config(DOWN)
    box.rule(1, (), dp.output(ALL))
    box.send(1, UDP_FRAME)
    assert drops(box) == {"no_member": 1}
    box.ports[1].set_config(NO_PACKET_IN)
    box.rule(2, (), dp.output(CONTROLLER))
    box.send(1, UDP_FRAME)
    assert drops(box) == {"no_member": 1, "no_packet_in": 1}
    assert box.dp.take_punts() == []


def test_fragments(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(2))
    frag = bytes(Ether() / IP(flags="MF") / (b"x" * 32))
    assert box.send(1, frag) == {2: [frag]}
    box.bridge.set_frag_mode(True)
    assert box.send(1, frag, UDP_FRAME) == {2: [UDP_FRAME]}
    assert drops(box) == {"fragment": 1}


def test_transmit_drops_are_the_other_ports(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(2))
    for _ in range(box.ring + 5):
        box.feed(1, UDP_FRAME) if _ < box.ring else None
    while box.dp.poll():
        pass
    for _ in range(5):
        box.feed(1, UDP_FRAME)
    while box.dp.poll():
        pass
    c = box.ports[2].counters()
    assert (c.tx_offered, c.tx_packets, c.tx_drops) == (box.ring + 5, box.ring, {"ring_full": 5})
    box.ports[3].set_link(False)
    box.rule(2, (), dp.output(3))
    box.send(1, UDP_FRAME)
    assert box.ports[3].counters().tx_drops == {"link_down": 1}
    box.assert_ledgers()


def test_output_then_edit_then_output(box: SwitchBox) -> None:
    box.rule(
        1,
        (),
        dp.output(2),
        dp.set_field("ETH_DST", 0x0200000000AA),
        dp.push_vlan(),
        dp.set_field("VLAN_VID", 0x1007),
        dp.output(3),
    )
    out = box.send(1, UDP_FRAME)
    changed = Ether(UDP_FRAME)
    want = Ether(dst="02:00:00:00:00:aa", src=changed.src) / Dot1Q(vlan=7) / changed.payload
    assert out == {2: [UDP_FRAME], 3: [bytes(want)]}


def test_group_buckets_work_on_copies(box: SwitchBox) -> None:
    first = dp.BucketSpec((dp.set_field("ETH_DST", 1), dp.output(2)))
    box.bridge.set_group(1, 0, [first, dp.BucketSpec((dp.output(3),))])
    box.rule(1, (), dp.group(1), dp.output(2))
    out = box.send(1, UDP_FRAME)
    assert out == {2: [b"\0\0\0\0\0\1" + UDP_FRAME[6:], UDP_FRAME], 3: [UDP_FRAME]}
    assert box.bridge.group_stats(1, 2) == [(1, len(UDP_FRAME))] * 3
    box.bridge.remove_group(1)
    with pytest.raises(dp.DatapathError, match="group 1"):
        box.bridge.group_stats(1, 2)


def test_punt_carries_its_origin(box: SwitchBox) -> None:
    box.rule(1, (), goto=3, metadata=(0x1234, 0xFFFF))
    box.rule(1, (), dp.output(CONTROLLER, 100, dp.PUNT_NO_MATCH), table=3, cookie=0xC0FFEE)
    box.send(1, UDP_FRAME)
    (p,) = box.dp.take_punts()
    assert (p.in_port, p.table, p.cookie, p.reason, p.metadata) == (1, 3, 0xC0FFEE, dp.PUNT_NO_MATCH, 0x1234)
    assert (p.total_len, p.max_len, p.data) == (len(UDP_FRAME), 100, UDP_FRAME)  # whole: it may be buffered
    assert drops(box) == {}


def test_a_full_punt_ring_drops_with_its_name(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(CONTROLLER))
    big = UDP_FRAME + bytes(60000)
    for _ in range(100):
        box.send(1, big)
    lost = drops(box)["punt_full"]
    assert lost == 100 - len(box.dp.take_punts())
    assert box.dp.core_stats()[0].punt_refused == lost
    box.send(1, big)
    assert [p.data for p in box.dp.take_punts()] == [big]


def test_ttl_punt_is_asked_for(box: SwitchBox) -> None:
    box.rule(1, (), dp.dec_ttl(), dp.output(2))
    box.bridge.set_ttl_punt(True)
    box.send(1, UDP_FRAME)
    assert [(p.reason, p.data) for p in box.dp.take_punts()] == [(dp.PUNT_TTL, UDP_FRAME)]


def test_packet_out_through_the_pipeline_and_normal(box: SwitchBox) -> None:
    rule = box.rule(1, (("IN_PORT", CONTROLLER, 0xFFFFFFFF),), dp.output(2))
    box.bridge.packet_out(UDP_FRAME, CONTROLLER, (dp.output(TABLE),))
    assert box.take() == {2: [UDP_FRAME]}
    assert box.bridge.rule_stats(rule)[:2] == (1, len(UDP_FRAME))
    box.bridge.packet_out(UDP_FRAME, CONTROLLER, (dp.output(NORMAL),))
    assert box.take() == {n: [UDP_FRAME] for n in (1, 2, 3)}
    box.bridge.packet_out(UDP_FRAME, 1, (dp.set_field("ETH_DST", 5), dp.output(FLOOD)))
    assert sorted(box.take()) == [2, 3]
    with pytest.raises(dp.DatapathError, match="14 to 65600 bytes"):
        box.bridge.packet_out(b"short", 1, ())
    box.assert_ledgers()


def test_patch_ports_join_bridges(box: SwitchBox) -> None:
    other = box.dp.create_bridge("br1")
    far = box.add_port(5, other)
    box.patch(10, box.bridge, 11, other)
    box.rule(1, (), dp.output(10), dp.set_field("ETH_DST", 7), dp.output(2))
    other.add_rule(
        dp.RuleSpec(0, 1, (("IN_PORT", 11, 0xFFFFFFFF),), apply=(dp.set_field("ETH_SRC", 9), dp.output(5)))
    )
    other.commit()
    assert box.send(1, UDP_FRAME) == {2: [b"\0\0\0\0\0\7" + UDP_FRAME[6:]]}
    assert box.take_from(far) == [UDP_FRAME[:6] + b"\0\0\0\0\0\x09" + UDP_FRAME[12:]]
    box.assert_ledgers()


def test_a_loop_of_bridges_ends_with_a_name(box: SwitchBox) -> None:
    other = box.dp.create_bridge("br1")
    box.patch(10, box.bridge, 11, other)
    box.rule(1, (("IN_PORT", 1, 0xFFFFFFFF),), dp.output(10))
    box.rule(1, (("IN_PORT", 10, 0xFFFFFFFF),), dp.output(0xFFFFFFF8))
    other.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.output(0xFFFFFFF8),)))
    other.commit()
    assert box.send(1, UDP_FRAME) == {}
    lost = [p.counters().rx_drops for p in box.dp.ports.values() if p.counters().rx_drops]
    assert lost == [{"patch_loop": 1}]
    box.assert_ledgers()


def test_too_many_copies_drop_with_a_name(box: SwitchBox) -> None:
    edits = [a for i in range(40) for a in (dp.set_field("ETH_DST", i), dp.output(2 + i % 2))]
    box.rule(1, (), *edits)
    out = box.send(1, *[UDP_FRAME] * 32)
    assert sum(map(len, out.values())) <= 32 * 40
    box.assert_ledgers()


def test_an_endless_program_is_refused(box: SwitchBox) -> None:
    for table in range(8):
        box.rule(
            1, (), *[dp.set_field("ETH_DST", 1)] * 200, table=table, goto=table + 1 if table < 7 else None
        )
    box.send(1, UDP_FRAME)
    assert drops(box) == {"pipeline_limit": 1}


def test_the_cache_is_bounded_and_right_when_full(box: SwitchBox) -> None:
    small = SwitchBox(3, emc_entries=16)
    for port in range(64):
        small.bridge.add_rule(
            dp.RuleSpec(
                0,
                1,
                (("ETH_TYPE", 0x800, 0xFFFF), ("IP_PROTO", 17, 255), ("TP_DST", port, 0xFFFF)),
                apply=(dp.output(2 + port % 2),),
            )
        )
    small.bridge.commit()
    frames = [bytes(Ether() / IP() / UDP(dport=p)) for p in range(64)]
    for _ in range(3):
        out = small.send(1, *frames)
        assert sorted(out[2]) == sorted(frames[0::2])
        assert sorted(out[3]) == sorted(frames[1::2])
    stats = small.dp.core_stats()[0]
    assert (stats.emc_used, stats.emc_size) == (16, 16)
    assert stats.emc_evicted > 0
    small.close()


def test_a_million_flows_are_one_entry_where_nobody_asks(box: SwitchBox) -> None:
    box.rule(1, (("IN_PORT", 1, 0xFFFFFFFF), ("ETH_TYPE", 0x800, 0xFFFF)), dp.output(2))
    for i in range(50):
        box.send(1, *[bytes(Ether() / IP(src=f"10.{i}.0.{j}") / UDP(sport=1000 + j)) for j in range(4)])
    stats = box.dp.core_stats()[0]
    assert (stats.emc_used, stats.emc_misses, stats.emc_hits) == (1, 1, 199)


def test_nested_output_does_not_disturb_the_batch(box: SwitchBox) -> None:
    """More copies to one patch port than a batch holds: it is sent in the middle of the batch."""
    other = box.dp.create_bridge("br1")
    far = box.add_port(5, other)
    box.patch(10, box.bridge, 11, other)
    box.rule(1, (), dp.output(10), dp.output(10), dp.set_field("ETH_DST", 7), dp.output(2))
    other.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.set_field("ETH_SRC", 9), dp.output(5))))
    other.commit()
    out = box.send(1, *[UDP_FRAME] * 32)
    assert out == {2: [b"\0\0\0\0\0\7" + UDP_FRAME[6:]] * 32}
    assert box.take_from(far) == [UDP_FRAME[:6] + b"\0\0\0\0\0\x09" + UDP_FRAME[12:]] * 64
    box.assert_ledgers()


def test_the_mac_table_grows_when_asked_and_forgets_the_aged(box: SwitchBox) -> None:
    box.rule(0, (), dp.output(NORMAL))
    box.dp.set_time_ms(1_000_000)
    box.bridge.set_fdb(100_000, 10)
    box.send(1, UDP_FRAME)
    assert box.bridge.fdb() == [(1, 0, "02:00:00:00:00:01", 0)]
    assert box.bridge.fdb_stats()["limit"] == 100_000
    box.dp.set_time_ms(1_011_000)
    assert box.bridge.fdb_stats()["entries"] == 0
    assert box.bridge.fdb() == []
