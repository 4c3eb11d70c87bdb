"""The exact-match cache: it grows when it is needed, gives way slowly once it cannot, and never mixes up keys."""

import struct
from collections.abc import Iterator

import pytest
from fakes.switchbox import SwitchBox

from vswitchd.datapath import dp

UDP, WAYS, SMALLEST = 17, 16, 1 << 13
ETHER = bytes.fromhex("020000000002 020000000001 0800")


def udp(flow: int) -> bytes:
    """A datagram to 10.0.0.0 + flow."""
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 46, 0, 0, 64, UDP, 0, 0x0A000001, 0x0A000000 + flow)
    return ETHER + ip + struct.pack(">HHHH", 1000, 1001, 26, 0) + bytes(18)


def udp6(source: int, target: int) -> bytes:
    """A datagram over IPv6."""
    ip = struct.pack(">IHBB", 6 << 28, 8, UDP, 64) + source.to_bytes(16, "big") + target.to_bytes(16, "big")
    return ETHER[:12] + b"\x86\xdd" + ip + struct.pack(">HHHH", 1000, 1001, 8, 0)


@pytest.fixture
def boxes() -> Iterator[list[SwitchBox]]:
    made: list[SwitchBox] = []
    yield made
    for box in made:
        box.close()


def each_flow_its_entry(boxes: list[SwitchBox], entries: int) -> SwitchBox:
    """A switch whose rules look at the IPv4 destination."""
    box = SwitchBox(3, emc_entries=entries)
    boxes.append(box)
    box.rule(1, (("ETH_TYPE", 0x800, 0xFFFF), ("IPV4_DST", 1, 0xFFFFFFFF)), dp.output(3))
    box.rule(0, (), dp.output(2))
    return box


def hits_of(box: SwitchBox, flows: range) -> int:
    """Send one packet of each; how many were known."""
    before = box.dp.core_stats()[0].emc_hits
    for at in range(flows.start, flows.stop, 256):
        part = range(at, min(at + 256, flows.stop))
        assert len(box.send(1, *map(udp, part))[2]) == len(part)
    return box.dp.core_stats()[0].emc_hits - before


def test_more_flows_than_it_began_with_get_a_larger_cache(boxes: list[SwitchBox]) -> None:
    box = each_flow_its_entry(boxes, 4 * SMALLEST)
    flows = range(SMALLEST * 3 // 2)
    assert hits_of(box, flows) == 0
    hits_of(box, flows)
    assert hits_of(box, flows) > 0.9 * len(flows)
    box.assert_ledgers()


def test_a_full_cache_keeps_what_it_has_against_flows_that_come_once(boxes: list[SwitchBox]) -> None:
    box = each_flow_its_entry(boxes, WAYS)
    hits_of(box, range(WAYS))
    assert hits_of(box, range(WAYS)) == WAYS
    hits_of(box, range(100, 107))  # one less than it takes
    assert hits_of(box, range(WAYS)) == WAYS
    assert box.dp.core_stats()[0].emc_evicted == 0
    hits_of(box, range(200, 200 + 8 * WAYS))
    stats = box.dp.core_stats()[0]
    assert (stats.emc_used, stats.emc_evicted) == (WAYS, WAYS)


def test_a_flow_that_keeps_coming_gets_into_a_full_cache(boxes: list[SwitchBox]) -> None:
    box = each_flow_its_entry(boxes, WAYS)
    hits_of(box, range(WAYS))
    assert sum(hits_of(box, range(100, 101)) for _ in range(10)) == 2  # it got in at the eighth


def test_entries_that_are_too_old_to_be_judged_do_not_stand_in_the_way(boxes: list[SwitchBox]) -> None:
    box = each_flow_its_entry(boxes, WAYS)
    hits_of(box, range(WAYS))
    box.bridge.set_punt_miss(True)
    assert [hits_of(box, range(100, 101)) for _ in range(2)] == [0, 1]
    assert box.dp.core_stats()[0].emc_evicted == 0


def test_keys_that_differ_in_their_ipv6_addresses_only(boxes: list[SwitchBox]) -> None:
    box = SwitchBox(3)
    boxes.append(box)
    box.rule(1, (("ETH_TYPE", 0x86DD, 0xFFFF), ("IPV6_DST", 5, (1 << 128) - 1)), dp.output(2))
    box.rule(0, (), dp.output(3))
    for _ in range(2):
        out = box.send(1, udp6(1, 5), udp6(1, 6), udp6(2, 5), udp(5))
        assert {port: len(frames) for port, frames in out.items()} == {2: 2, 3: 2}
    stats = box.dp.core_stats()[0]
    assert (stats.emc_hits, stats.emc_used) == (5, 3)  # nobody asks for the source


def test_two_switches_do_not_hash_alike(boxes: list[SwitchBox]) -> None:
    """Which flows are without an entry in a full cache depends on a secret."""

    def known() -> list[int]:
        box = each_flow_its_entry(boxes, 4 * WAYS)
        hits_of(box, range(4 * WAYS))
        return [hits_of(box, range(flow, flow + 1)) for flow in range(4 * WAYS)]

    assert any(known() != known() for _ in range(5))
