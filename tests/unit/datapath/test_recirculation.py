"""Recirculation: what a packet is after its headers changed, who counts it, and what caches remember of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp
from vswitchd.datapath.action import pack, pack_match

CONTROLLER, TABLE = 0xFFFFFFFD, 0xFFFFFFF9
ETH = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")


def tagged(*vids: int, ttl: int = 9) -> bytes:
    packet = ETH
    for vid in vids:
        packet /= Dot1Q(vlan=vid)
    return bytes(packet / IP(src="10.0.0.1", dst="10.0.0.2", ttl=ttl) / UDP(dport=80) / b"payload")


def vid(number: int) -> tuple[tuple[str, int, int], ...]:
    return (("VLAN_VID", 0x1000 | number, 0x1FFF),)


@pytest.fixture(params=[0, 1024], ids=["no cache", "cache"])
def box(request: pytest.FixtureRequest) -> Iterator[SwitchBox]:
    b = SwitchBox(3, emc_entries=request.param)
    yield b
    b.assert_ledgers()
    b.close()


def counts(box: SwitchBox, *rules: int) -> list[tuple[int, int]]:
    box.dp.harvest()
    return [box.bridge.rule_stats(rule)[:2] for rule in rules]


def pop_all(box: SwitchBox) -> list[int]:
    """Tables 0 to 2 pop the tags 1, 2, 3; table 3 wants none."""
    return [
        *(box.rule(1, vid(t + 1), dp.pop_vlan(), goto=t + 1, table=t) for t in range(3)),
        box.rule(1, (("VLAN_TCI", 0, 0xFFFF), ("IPV4_DST", 0x0A000002, 0xFFFFFFFF)), dp.output(2), table=3),
    ]


def test_tags_behind_the_second_come_to_light(box: SwitchBox) -> None:
    rules = pop_all(box)
    frame, want = tagged(1, 2, 3), tagged()
    for n in range(1, 4):
        assert box.send(1, frame) == {2: [want]}
        assert counts(box, *rules) == [(n, n * len(frame))] * 4
    assert [box.bridge.table_stats()[t] for t in range(4)] == [(3, 3)] * 4


def test_packets_of_one_batch_take_their_own_ways(box: SwitchBox) -> None:
    rules = pop_all(box)
    frames = [tagged(1, 2, 3), tagged(1, 2, 4), tagged(1, 2), tagged(1, 3, 2), tagged(1, 2, 3)]
    assert box.send(1, *frames) == {2: [tagged()] * 2}
    assert [n for n, _ in counts(box, *rules)] == [5, 4, 2, 2]
    assert [box.bridge.table_stats()[t] for t in range(4)] == [(5, 5), (5, 4), (4, 2), (2, 2)]
    assert box.ports[1].counters().rx_drops == {"table_miss": 3}


def test_the_path_so_far_gives_metadata_and_action_set(box: SwitchBox) -> None:
    box.rule(
        1,
        vid(1),
        dp.pop_vlan(),
        goto=1,
        write=(dp.output(3), dp.set_field("ETH_SRC", 0x020000000009)),
        metadata=(0x12, 0xFF),
    )
    box.rule(
        1,
        (("METADATA", 0x12, 0xFF), ("VLAN2_TCI", 0x1003, 0xFFFF)),
        goto=2,
        table=1,
        metadata=(0x3400, 0xFF00),
    )
    box.rule(2, (("METADATA", 0x3412, 0xFFFF),), dp.output(CONTROLLER), table=2, cookie=7)
    out = bytes.fromhex("020000000002020000000009") + tagged(2, 3)[12:]
    assert box.send(1, tagged(1, 2, 3)) == {3: [out]}
    (punt,) = box.dp.take_punts()
    assert (punt.metadata, punt.table, punt.cookie, punt.data) == (0x3412, 2, 7, tagged(2, 3))


def test_tunnel_id_is_replayed_and_told(box: SwitchBox) -> None:
    box.rule(1, vid(1), dp.set_field("TUNNEL_ID", 0xABC), dp.pop_vlan(), goto=1)
    box.rule(1, (("TUNNEL_ID", 0xABC, 2**64 - 1),), dp.output(CONTROLLER), table=1)
    box.send(1, tagged(1, 2, 3))
    (punt,) = box.dp.take_punts()
    assert (punt.tunnel_id, punt.data) == (0xABC, tagged(2, 3))


def test_the_tables_of_a_packet_out(box: SwitchBox) -> None:
    rules = pop_all(box)
    box.bridge.packet_out(tagged(1, 2, 3), 1, (dp.output(TABLE),))
    assert box.take() == {2: [tagged()]}
    assert [n for n, _ in counts(box, *rules)] == [1] * 4


def test_copies_made_before_stay_as_they_were(box: SwitchBox) -> None:
    box.rule(1, vid(1), dp.output(3), dp.pop_vlan(), dp.output(2), goto=1)
    box.rule(1, vid(2), dp.set_field("ETH_DST", 0x02000000000A), dp.output(2), table=1)
    last = bytes.fromhex("02000000000a") + tagged(2, 3)[6:]
    assert box.send(1, tagged(1, 2, 3)) == {3: [tagged(1, 2, 3)], 2: [tagged(2, 3), last]}


def test_changed_tables_are_seen_by_packets_known_before(box: SwitchBox) -> None:
    """Programs come, go and come back in the same memory, while the cache stays."""
    box.rule(1, vid(1), dp.pop_vlan(), goto=1)
    for i in range(60):
        port = 2 + i % 2
        first = box.rule(2, vid(1), dp.pop_vlan(), goto=1 + i % 3)
        second = box.rule(1, vid(2), dp.output(port), table=1 + i % 3)
        assert box.send(1, tagged(1, 2, 3), tagged(1, 2, 3)) == {port: [tagged(2, 3)] * 2}
        box.bridge.remove_rule(first)
        box.bridge.remove_rule(second)
        box.bridge.commit()
        box.retire()
        assert {r.packets for r in box.bridge.take_retired()} == {2}
    assert box.send(1, tagged(1, 2, 3)) == {}


def test_two_tags_need_no_second_look() -> None:
    box = SwitchBox(2)
    box.rule(1, vid(1), dp.pop_vlan(), goto=1)
    box.rule(1, vid(2), dp.output(2), table=1)
    assert box.send(1, tagged(1, 2)) == {2: [tagged(2)]}
    assert [core.emc_misses for core in box.dp.core_stats()] == [1]
    box.send(1, tagged(1, 2, 3), tagged(1, 2, 3))
    assert [(core.emc_misses, core.emc_hits) for core in box.dp.core_stats()] == [(3, 2)]
    box.close()


def test_every_table_may_recirculate() -> None:
    """The longest way: 255 tables, each of which wants the packet parsed again."""
    box = SwitchBox(2)
    rules = [
        box.bridge.add_rule(
            dp.RuleSpec(
                t, 1, apply=(dp.push_vlan(), dp.push_vlan(), dp.pop_vlan(), dp.pop_vlan()), goto=t + 1
            )
        )
        for t in range(254)
    ]
    rules.append(box.bridge.add_rule(dp.RuleSpec(254, 1, apply=(dp.output(2),))))
    box.bridge.commit()
    for _ in range(3):
        assert box.send(1, tagged(1, 2)) == {2: [tagged(1, 2)]}
    assert [n for n, _ in counts(box, *rules)] == [3] * 255
    box.assert_ledgers()
    box.close()


# ---- the actions that ask for it

UDP_IP = IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / UDP(sport=1, dport=80) / b"payload"
IP_RULE = (("ETH_TYPE", 0x0800, 0xFFFF), ("TP_DST", 80, 0xFFFF), ("IP_PROTO", 17, 0xFF))


def labelled(*entries: tuple[int, int]) -> bytes:
    """A frame with label stack entries of these labels and TTLs."""
    stack = b"".join(
        (label << 12 | (i == len(entries) - 1) << 8 | ttl).to_bytes(4, "big")
        for i, (label, ttl) in enumerate(entries)
    )
    return bytes(ETH)[:12] + b"\x88\x47" + stack + bytes(UDP_IP)


def test_what_a_popped_label_hid(box: SwitchBox) -> None:
    box.rule(1, (("ETH_TYPE", 0x8847, 0xFFFF), ("MPLS_BOS", 1, 1)), dp.pop_mpls(0x0800), goto=1)
    box.rule(1, (("ETH_TYPE", 0x8847, 0xFFFF), ("MPLS_BOS", 0, 1)), dp.pop_mpls(0x8847), goto=1)
    box.rule(1, IP_RULE, dp.output(2), table=1)
    box.rule(1, (("MPLS_LABEL", 7, 0xFFFFF),), dp.output(3), table=1)
    for _ in range(2):
        assert box.send(1, labelled((5, 9)), labelled((5, 9), (7, 8)), labelled((7, 9), (5, 8))) == {
            2: [bytes(ETH / UDP_IP)],
            3: [labelled((7, 8))],
        }
    assert box.ports[1].counters().rx_drops == {"table_miss": 2}


def test_a_pushed_label_hides_and_is_seen(box: SwitchBox) -> None:
    box.rule(1, (), dp.push_mpls(0x8847), dp.set_field("MPLS_LABEL", 7), goto=1)
    box.rule(2, IP_RULE, dp.output(3), table=1)
    box.rule(1, (("MPLS_LABEL", 7, 0xFFFFF),), dp.dec_mpls_ttl(), dp.output(2), table=1)
    assert box.send(1, bytes(ETH / UDP_IP)) == {2: [labelled((7, 8))]}


def test_pbb_there_and_back(box: SwitchBox) -> None:
    frame = bytes(ETH / UDP_IP)
    box.rule(1, (), dp.push_pbb(), dp.set_field("PBB_ISID", 0x123456), dp.output(3), goto=1)
    box.rule(1, (("PBB_ISID", 0x123456, 0xFFFFFF),), dp.pop_pbb(), goto=2, table=1)
    box.rule(1, IP_RULE, dp.output(2), table=2)
    for _ in range(2):
        out = box.send(1, frame)
        assert out[2] == [frame]
        assert out[3][0][12:14] == b"\x88\xe7"


def test_a_ttl_copied_out_is_seen(box: SwitchBox) -> None:
    box.rule(
        1, (), dp.push_mpls(0x8847), dp.set_mpls_ttl(200), dp.copy_ttl_out(), dp.pop_mpls(0x0800), goto=1
    )
    box.rule(1, (("IP_TTL", 9, 0xFF),), dp.output(2), table=1)
    assert box.send(1, bytes(ETH / UDP_IP)) == {2: [bytes(ETH / UDP_IP)]}


def test_a_remark_is_seen_by_the_next_table(box: SwitchBox) -> None:
    """The meter may remark, so the next table looks at the packet, not at what it was."""
    box.dp.set_time_ms(1000)
    box.bridge.set_meter(
        1, 2 | 4, [dp.BandSpec(2, rate=1, burst=1, prec_level=1)]
    )  # packets/s, a burst of one
    box.bridge.commit()
    rules = [
        box.rule(1, (), dp.meter(1, remarks=True), goto=1),
        box.rule(1, (("ETH_TYPE", 0x0800, 0xFFFF), ("IP_DSCP", 12, 0x3F)), dp.output(3), table=1),
        box.rule(1, (("ETH_TYPE", 0x0800, 0xFFFF), ("IP_DSCP", 10, 0x3F)), dp.output(2), table=1),
    ]
    packet = ETH / IP(src="10.0.0.1", dst="10.0.0.2", tos=10 << 2) / UDP(dport=80) / b"payload"
    more = ETH / IP(src="10.0.0.1", dst="10.0.0.2", tos=12 << 2) / UDP(dport=80) / b"payload"
    out = box.send(1, *[bytes(packet)] * 4)
    assert set(out[2]) == {bytes(packet)}
    assert set(out[3]) == {bytes(more)}
    passed = len(out[2])
    assert [n for n, _ in counts(box, *rules)] == [4, 4 - passed, passed]


def test_a_meter_that_drops_ends_the_packet(box: SwitchBox) -> None:
    box.dp.set_time_ms(1000)
    box.bridge.set_meter(1, 2 | 4, [dp.BandSpec(1, rate=1, burst=1)])
    box.bridge.commit()
    rules = [box.rule(1, (), dp.meter(1), goto=1), box.rule(1, (), dp.output(2), table=1)]
    passed = len(box.send(1, *[tagged()] * 5)[2])
    assert 0 < passed < 5
    assert [n for n, _ in counts(box, *rules)] == [5, passed]
    assert box.ports[1].counters().rx_drops == {"meter": 5 - passed}
    box.bridge.trace(tagged(), 1)
    assert box.bridge.meter_stats(1, 1)[0][0] == 5  # a trace takes no tokens


# ---- where a packet ends


def test_a_packet_that_ends_is_not_counted_by_the_tables_behind(box: SwitchBox) -> None:
    rules = [
        box.rule(1, (), goto=1),
        box.rule(1, (), dp.dec_ttl(), goto=2, table=1),
        box.rule(1, (), dp.pop_vlan(), goto=3, table=2),
        box.rule(1, (), dp.output(2), table=3),
    ]
    frames = [tagged(1, ttl=1), tagged(1, ttl=2), tagged(ttl=2), tagged(1, ttl=1)]
    assert box.send(1, *frames) == {2: [tagged(ttl=1)]}
    short, long = len(tagged()), len(tagged(1))
    assert counts(box, *rules) == [
        (4, 3 * long + short),
        (4, 3 * long + short),
        (2, long + short),
        (1, long),
    ]
    assert [box.bridge.table_stats()[t][0] for t in range(4)] == [4, 4, 2, 1]
    assert box.ports[1].counters().rx_drops == {"ttl_expired": 2, "bad_action": 1}


def test_ends_behind_a_second_look_and_in_packet_outs(box: SwitchBox) -> None:
    rules = [
        box.rule(1, vid(1), dp.pop_vlan(), goto=1),
        box.rule(1, vid(2), dp.dec_ttl(), goto=2, table=1),
        box.rule(1, (), dp.output(2), table=2),
    ]
    assert box.send(1, tagged(1, 2, 3, ttl=1)) == {}
    box.bridge.packet_out(tagged(1, 2, 3, ttl=1), 1, (dp.output(TABLE),))
    assert box.take() == {}
    assert [n for n, _ in counts(box, *rules)] == [2, 2, 0]


def test_a_miss_with_a_packet_in_for_old_controllers(box: SwitchBox) -> None:
    rule = box.rule(1, vid(1), dp.set_field("ETH_SRC", 0x020000000009), goto=4, metadata=(5, 7))
    assert box.send(1, tagged(1), tagged(2)) == {}
    assert box.dp.take_punts() == []
    box.bridge.set_punt_miss(True)
    assert box.send(1, tagged(1), tagged(2)) == {}
    first, second = sorted(box.dp.take_punts(), key=lambda p: p.table, reverse=True)
    changed = tagged(1)[:6] + bytes.fromhex("020000000009") + tagged(1)[12:]
    assert (first.table, first.reason, first.cookie, first.metadata) == (4, dp.PUNT_MISS, 2**64 - 1, 5)
    assert (first.data, first.max_len, second.data, second.table) == (changed, 0xFFFF, tagged(2), 0)
    box.bridge.set_punt_miss(False)
    box.send(1, tagged(1), tagged(2))
    assert box.dp.take_punts() == []
    assert [n for n, _ in counts(box, rule)] == [3]
    assert [box.bridge.table_stats()[t] for t in (0, 4)] == [(6, 3), (3, 0)]
    assert box.ports[1].counters().rx_drops == {"table_miss": 4}


# ---- packet-ins say where they come from (7.4.1)


def origin(box: SwitchBox) -> tuple[int, int, int, int]:
    (p,) = box.dp.take_punts()
    return p.reason, p.table, p.cookie, p.metadata


def test_origin_of_packet_ins(box: SwitchBox) -> None:
    no_cookie = 2**64 - 1
    box.bridge.set_ttl_punt(True)
    box.bridge.set_group(1, 0, [dp.BucketSpec((dp.output(CONTROLLER),))])
    box.rule(1, (), goto=2, metadata=(5, 0xFF), cookie=1)
    rule = box.rule(1, (), dp.dec_ttl(), dp.output(CONTROLLER), goto=3, table=2, cookie=2, metadata=(6, 0xFF))
    box.rule(1, (), table=3, cookie=3, metadata=(7, 0xFF))
    box.send(1, tagged())
    assert origin(box) == (dp.PUNT_ACTION, 2, 2, 5)
    box.send(1, tagged(ttl=1))
    assert origin(box) == (dp.PUNT_TTL, 2, 2, 5)
    box.bridge.remove_rule(rule)
    box.rule(1, (), dp.group(1), goto=3, table=2, cookie=2, metadata=(6, 0xFF))
    box.send(1, tagged())
    assert origin(box) == (dp.PUNT_ACTION, 2, no_cookie, 5)
    box.rule(
        2, (), goto=3, table=2, cookie=4, write=(dp.dec_ttl(), dp.output(CONTROLLER)), metadata=(6, 0xFF)
    )
    box.send(1, tagged())
    assert origin(box) == (dp.PUNT_ACTION, 3, no_cookie, 7)
    box.send(1, tagged(ttl=1))
    assert origin(box) == (dp.PUNT_TTL, 3, no_cookie, 7)
    box.bridge.packet_out(tagged(), 1, (dp.output(CONTROLLER),))
    assert origin(box) == (dp.PUNT_ACTION, 0, no_cookie, 0)


# ---- the action set (5.10)


def test_the_order_of_the_action_set(box: SwitchBox) -> None:
    """Written in two tables, last to first; the frame says in which order it was done."""
    box.rule(1, (), goto=1, write=(dp.output(3), dp.set_field("VLAN_VID", 0x1007), dp.push_vlan(0x88A8)))
    box.rule(1, (), table=1, write=(dp.output(2), dp.set_ttl(5), dp.dec_ttl(), dp.pop_vlan()))
    (out,) = box.send(1, tagged(3, ttl=9))[2]
    assert out[12:18].hex() == "88a800070800"
    assert out[18 + 8] == 5
    box.rule(2, (), goto=1, table=0, write=(dp.group(9), dp.output(3)))
    assert box.send(1, tagged(3)) == {}
    assert box.ports[1].counters().rx_drops == {"no_group": 1}  # not the output, which the set has, too


def test_packets_without_room_for_their_program() -> None:
    """Long programs fill the arena's largest class; those behind are executed from the walk, and all is as before."""
    slots, box = 1024, SwitchBox(2, emc_entries=4096)
    actions = pack((dp.set_field("ETH_SRC", 9),) * 700 + (dp.pop_vlan(),))
    apply = (dp.pop_vlan(),) * 701  # only their number
    keys = [pack_match((("ETH_SRC", i, 2**48 - 1),)) for i in range(slots + 3)]
    rules = [box.bridge.add_packed(dp.RuleSpec(0, 1, apply=apply, goto=1), *key, actions) for key in keys]
    last = box.rule(1, (("VLAN2_TCI", 0x1003, 0xFFFF),), dp.output(2), table=1)
    frame, want = tagged(1, 2, 3), bytes.fromhex("020000000002000000000009") + tagged(2, 3)[12:]
    for i in range(slots + 3):
        assert box.send(1, frame[:6] + i.to_bytes(6, "big") + frame[12:]) == {2: [want]}
    (core,) = box.dp.core_stats()
    assert core.programs_refused == 3
    n = len(frame)
    assert counts(box, *rules, last) == [(1, n)] * (slots + 3) + [(slots + 3, n * (slots + 3))]
    box.assert_ledgers()
    box.close()
