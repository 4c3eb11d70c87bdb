"""Groups when packets run through them (5.6, 6.7): who is chosen, who is live, and what it may cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

ALL, SELECT, INDIRECT, FF = range(4)
IN, FIRST, SECOND, THIRD = 1, 2, 3, 4
PORT_DOWN = 1
ETH = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
FRAME = bytes(ETH / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2))


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(4)
    b.rule(1, (("IN_PORT", IN, 0xFFFFFFFF),), dp.group(1))
    yield b
    b.assert_ledgers()
    b.close()


def to(port: int, **more: int) -> dp.BucketSpec:
    return dp.BucketSpec((dp.output(port),), **more)


def group(box: SwitchBox, kind: int, *buckets: dp.BucketSpec, number: int = 1) -> None:
    box.bridge.set_group(number, kind, buckets)
    box.bridge.commit()


def way(box: SwitchBox, frame: bytes) -> int:
    """The one port that a frame came out of."""
    (port,) = box.send(IN, frame)
    return port


def flows(n: int) -> list[bytes]:
    return [FRAME[:28] + i.to_bytes(2, "big") + FRAME[30:] for i in range(n)]  # other low halves of ipv4_src


# ---- SELECT: the hash


def ends(make: object) -> list[tuple[bytes, bytes]]:
    """Forty connections: a packet there and one back."""
    return [(bytes(make(i, back=False)), bytes(make(i, back=True))) for i in range(40)]  # type: ignore[operator]


def ether(i: int, *, back: bool) -> Ether:
    pair = (f"02:00:00:00:01:{i:02x}", "02:00:00:00:00:77")
    return Ether(src=pair[back], dst=pair[not back])


def ip4(i: int, *, back: bool) -> Packet:
    pair = (f"10.0.0.{i}", "10.7.7.7")
    return ETH / IP(src=pair[back], dst=pair[not back])


def ip6(i: int, *, back: bool) -> Packet:
    pair = (f"fd00::{i:x}", "fd00::7777")
    return ETH / IPv6(src=pair[back], dst=pair[not back])


def ports(i: int, *, back: bool) -> dict[str, int]:
    pair = (1000 + i, 80)
    return {"sport": pair[back], "dport": pair[not back]}


KINDS = {
    "tcp": lambda i, *, back: ip4(1, back=back) / TCP(**ports(i, back=back)),
    "udp6": lambda i, *, back: ip6(1, back=back) / UDP(**ports(i, back=back)),
    "sctp": lambda i, *, back: ip4(1, back=back) / SCTP(**ports(i, back=back)),
    "behind options": lambda i, *, back: (
        ip6(1, back=back) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / TCP(**ports(i, back=back))
    ),
    "icmp": lambda i, *, back: ip4(i, back=back) / ICMP(type=0 if back else 8),
    "tagged": lambda i, *, back: (
        Ether(src="02:00:00:00:00:01") / Dot1Q(vlan=1 + back) / ip4(i, back=back)[IP] / UDP()
    ),
    "two tags": lambda i, *, back: (
        Ether(src="02:00:00:00:00:01") / Dot1Q(vlan=1 + back) / Dot1Q(vlan=3 - back) / ip6(i, back=back)[IPv6]
    ),
    "snap": lambda i, *, back: (
        Ether(src="02:00:00:00:00:01", type=100 - back)
        / LLC(dsap=0xAA, ssap=0xAA, ctrl=3)
        / SNAP(code=0x800)
        / ip4(1, back=back)[IP]
        / UDP(**ports(i, back=back))
    ),
    "802.3": lambda i, *, back: (
        Ether(src=ether(i, back=back).src, dst=ether(i, back=back).dst, type=60 + back) / Raw(bytes(80))
    ),
    "arp": lambda i, *, back: ether(i, back=back) / ARP(op=1 + back),
    "unknown": lambda i, *, back: ether(i, back=back) / Raw(bytes([back]) * 50),
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_of_a_connection_go_one_way_and_connections_go_many(
    box: SwitchBox, kind: str
) -> None:
    group(box, SELECT, *(to(port, weight=1) for port in (FIRST, SECOND, THIRD)))
    seen = set()
    for there, back in ends(KINDS[kind]):
        seen.add(way(box, there))
        assert way(box, there) == way(box, back)
    assert seen == {FIRST, SECOND, THIRD}


def test_all_fragments_of_a_datagram_go_one_way(box: SwitchBox) -> None:
    group(box, SELECT, *(to(port, weight=1) for port in (FIRST, SECOND, THIRD)))
    seen = set()
    for i in range(12):
        whole = ip4(i, back=False) / UDP(**ports(i, back=False)) / Raw(bytes(100))
        parts = [bytes(part) for part in fragment(whole, fragsize=40)]
        six = ip6(i, back=False)
        parts6 = [
            bytes(six / IPv6ExtHdrFragment(nh=17, m=1) / UDP(**ports(i, back=False)) / Raw(bytes(32))),
            bytes(six / IPv6ExtHdrFragment(nh=17, offset=5) / Raw(bytes(range(40)))),
        ]
        assert len(parts) > 2
        assert len({way(box, part) for part in parts}) == 1
        assert len({way(box, part) for part in parts6}) == 1
        seen.add(way(box, parts[0]))
    assert len(seen) > 1


def test_what_is_pushed_over_ip_counts_as_if_it_had_come_so(box: SwitchBox) -> None:
    group(box, SELECT, *(to(port, weight=1) for port in (FIRST, SECOND, THIRD)))
    pushes = (dp.push_mpls(0x8847), dp.push_vlan(), dp.group(1))
    box.rule(2, (("IN_PORT", IN, 0xFFFFFFFF), ("IP_DSCP", 1, 0x3F), ("ETH_TYPE", 0x800, 0xFFFF)), *pushes)
    ways = {}
    for i in range(20):
        ((port, (out,)),) = box.send(IN, bytes(ETH / IP(src=f"10.0.0.{i}", tos=4) / UDP(sport=i))).items()
        assert way(box, out) == port
        ways[port] = out
    assert len(ways) == 1  # under MPLS: by the Ethernet addresses


def test_weights_are_shares_and_zero_is_never_chosen(box: SwitchBox) -> None:
    group(box, SELECT, to(FIRST, weight=1), to(SECOND, weight=0), to(THIRD, weight=3))
    out = Counter(way(box, frame) for frame in flows(3000))
    assert set(out) == {FIRST, THIRD}
    assert out[FIRST] == pytest.approx(750, abs=75)  # three standard deviations are 71
    counts = box.bridge.group_stats(1, 3)
    assert [packets for packets, _ in counts] == [3000, out[FIRST], 0, out[THIRD]]


def test_a_group_behind_a_group_spreads_what_it_gets(box: SwitchBox) -> None:
    group(box, SELECT, to(FIRST, weight=1), to(SECOND, weight=1), number=7)
    group(box, SELECT, dp.BucketSpec((dp.group(7),), 1), to(THIRD, weight=1))
    out = Counter(way(box, frame) for frame in flows(1200))
    assert out[THIRD] == pytest.approx(600, abs=55)
    assert out[FIRST] == pytest.approx(300, abs=50)


def test_only_the_flows_of_a_dead_bucket_move_and_they_come_back(box: SwitchBox) -> None:
    group(box, SELECT, *(to(port, weight=2, watch_port=port) for port in (FIRST, SECOND, THIRD)))
    before = {frame: way(box, frame) for frame in flows(300)}
    box.ports[SECOND].set_link(False)
    after = {frame: way(box, frame) for frame in before}
    moved = [after[frame] for frame, port in before.items() if port == SECOND]
    assert len(moved) > 60
    assert set(moved) == {FIRST, THIRD}
    assert all(after[frame] == port for frame, port in before.items() if port != SECOND)
    box.ports[SECOND].set_link(True)
    assert {frame: way(box, frame) for frame in before} == before


def test_the_last_live_bucket_of_many_takes_all(box: SwitchBox) -> None:
    dead = [to(SECOND, weight=100, watch_port=SECOND)] * 50
    group(box, SELECT, *dead, to(FIRST, weight=1, watch_port=FIRST), *dead, to(THIRD, watch_port=THIRD))
    box.ports[SECOND].set_link(False)
    assert {way(box, frame) for frame in flows(100)} == {FIRST}


# ---- FF and liveness


def test_fast_failover_takes_the_first_live_bucket_at_once(box: SwitchBox) -> None:
    group(box, FF, *(to(port, watch_port=port) for port in (FIRST, SECOND, THIRD)))
    assert way(box, FRAME) == FIRST
    box.ports[FIRST].set_link(False)
    assert way(box, FRAME) == SECOND
    box.ports[SECOND].set_config(PORT_DOWN)
    assert way(box, FRAME) == THIRD
    box.ports[FIRST].set_link(True)
    assert way(box, FRAME) == FIRST


def test_a_port_that_is_not_there_is_dead_and_one_that_comes_is_live(box: SwitchBox) -> None:
    group(box, FF, to(9, watch_port=9), to(FIRST, watch_port=FIRST))
    assert way(box, FRAME) == FIRST
    box.add_port(9)
    assert way(box, FRAME) == 9


def test_a_watched_group_is_live_while_one_of_its_buckets_is(box: SwitchBox) -> None:
    group(box, FF, to(FIRST, watch_port=FIRST), to(SECOND, watch_port=SECOND), number=7)
    group(box, FF, dp.BucketSpec((dp.group(7),), watch_group=7), to(THIRD, watch_port=THIRD))
    box.ports[FIRST].set_link(False)
    assert way(box, FRAME) == SECOND
    box.ports[SECOND].set_link(False)
    assert way(box, FRAME) == THIRD
    group(box, ALL, to(THIRD), number=7)  # it watches nothing: live
    assert box.bridge.group_stats(1, 2)[2][0] == 1
    way(box, FRAME)
    assert box.bridge.group_stats(1, 2)[2][0] == 1
    box.bridge.remove_group(7)
    box.bridge.commit()
    assert way(box, FRAME) == THIRD


@pytest.mark.parametrize("kind", [SELECT, FF])
def test_without_a_live_bucket_packets_are_dropped_by_name(box: SwitchBox, kind: int) -> None:
    group(box, kind, *(to(port, weight=kind == SELECT, watch_port=port) for port in (FIRST, SECOND)))
    box.ports[FIRST].set_link(False)
    box.ports[SECOND].set_link(False)
    assert box.send(IN, FRAME) == {}
    group(box, SELECT, to(FIRST), to(SECOND))  # without weights
    assert box.send(IN, FRAME) == {}
    group(box, SELECT)
    assert box.send(IN, FRAME) == {}
    assert box.ports[IN].counters().rx_drops == {"no_live_bucket": 2, "no_group": 1}


# ---- what it may cost


def test_groups_that_multiply_are_bounded(box: SwitchBox) -> None:
    group(box, ALL, *([dp.BucketSpec(())] * 200), number=2)
    group(box, ALL, *([dp.BucketSpec((dp.group(2),))] * 200), number=3)
    group(box, ALL, dp.BucketSpec((dp.group(3),)))
    assert box.send(IN, FRAME) == {}
    assert box.ports[IN].counters().rx_drops == {"pipeline_limit": 1}
    packets = [row[0] for row in box.bridge.group_stats(2, 200)]
    assert sum(packets[1:]) < 1024


def test_watching_that_multiplies_ends_as_dead(box: SwitchBox) -> None:
    group(box, FF, *([dp.BucketSpec((), watch_port=SECOND)] * 200), number=2)
    for number in (3, 4, 5, 6):
        group(box, FF, *([dp.BucketSpec((), watch_group=number - 1)] * 200), number=number)
    group(box, FF, to(FIRST, watch_group=6), to(THIRD, watch_port=THIRD))
    box.ports[SECOND].set_link(False)
    assert way(box, FRAME) == THIRD


def test_counters_of_a_batch_are_whole_when_it_ends(box: SwitchBox) -> None:
    group(box, ALL, to(FIRST), to(SECOND))
    box.send(IN, *[FRAME] * 50)
    assert box.bridge.group_stats(1, 2) == [(50, 50 * len(FRAME))] * 3
