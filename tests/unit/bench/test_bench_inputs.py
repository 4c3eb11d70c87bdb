"""What the bench makes itself: access lists, routes, attack packets and flow-mods are what they say, and the same every time."""

import random
import struct

import pytest
from bench import acl, attack, channel, frames, overlay
from bench.flowmods import IP, TCP, UDP, Stencil, delete, encoded, rule
from bench.scenarios import SCENARIOS, flows, setup

from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.codec import decode
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPFC

COUNT = 300


def meets(match, packet):
    fields = {
        "eth_type": IP,
        "ipv4_src": packet.source,
        "ipv4_dst": packet.destination,
        "ip_proto": packet.protocol,
        "tcp_dst": packet.destination_port,
        "udp_dst": packet.destination_port,
    }
    pairs = (
        (name, want if isinstance(want, tuple) else (want, (1 << 32) - 1)) for name, want in match.items()
    )
    return all(fields[name] & mask == value for name, (value, mask) in pairs)


@pytest.mark.parametrize(("low", "high"), [*acl._RANGES, (0, 65535), (7, 7), (1, 65534)])
def test_masks_cover_a_range_and_nothing_else(low, high):
    found = list(acl.masks(low, high))
    covered = [port for port in range(65536) for value, mask in found if port & mask == value]
    assert covered == list(range(low, high + 1))


def test_an_access_list_comes_from_its_seed_and_has_no_entry_twice():
    first = acl.entries(COUNT, 1)
    assert first == acl.entries(COUNT, 1)
    assert first != acl.entries(COUNT, 2)
    assert len(set(first)) == COUNT
    shapes = {(entry.source[1], entry.destination[1], entry.protocol, entry.port[1]) for entry in first}
    assert len(shapes) > COUNT // 4, "one mask for all is no access list"


def test_a_packet_meets_the_entry_that_it_was_made_for():
    rng = random.Random(3)
    for entry in acl.entries(COUNT, 1):
        assert meets(entry.match(), entry.packet(rng))


def test_an_access_list_encodes():
    for data in encoded(rule(entry.match(), Output(2)) for entry in acl.entries(COUNT, 1)):
        assert len(data) == int.from_bytes(data[2:4], "big")


def differing_bit(value, allowed, width):
    return width - (value ^ allowed).bit_length()


def test_each_attack_packet_differs_from_what_is_allowed_in_its_own_three_first_bits():
    seen = set()
    for packet in attack.packets(3):
        assert len(packet) == frames.SMALLEST - 4
        source, source_port, port = struct.unpack_from("!I4xHH", packet, 26)
        seen.add(
            (
                differing_bit(port, attack.DESTINATION_PORT, 16),
                differing_bit(source, attack.SOURCE, 32),
                differing_bit(source_port, attack.SOURCE_PORT, 16),
            )
        )
    assert seen == {(a, b, c) for a in range(16) for b in range(32) for c in range(16)}
    assert len(seen) == attack.COUNT == 8192


def test_harmless_packets_are_as_many_and_alike_to_the_rules():
    packets = list(attack.harmless(3))
    assert len(set(packets)) == attack.COUNT
    assert len({struct.unpack_from("!I4xHH", packet, 26) for packet in packets}) == 1


def test_a_frame_has_right_lengths_and_a_right_checksum():
    flow = frames.Tuple5(1, 2, TCP, 3, 4)
    data = frames.frame(frames.ether(1, 2), flow, 128)
    assert len(data) == 124
    assert int.from_bytes(data[16:18], "big") == 110
    assert frames.checksum(data[14:34]) == 0
    assert data[:12] == bytes.fromhex("020000000002020000000001")


def test_a_stencil_gives_what_the_codec_gives():
    def form(value):
        return rule({"in_port": 1, "eth_type": IP, "ip_proto": UDP, "ipv4_dst": value}, Output(2))

    values = [0x0AFD0000, 0x0AFD0001, 0xFFFFFFFF]
    assert list(Stencil(form)(values)) == encoded(map(form, values))


def test_a_stencil_refuses_a_value_that_stands_twice():
    with pytest.raises(AssertionError, match="more than once"):
        Stencil(lambda value: rule({"eth_type": IP, "ipv4_src": value, "ipv4_dst": value}))


def test_one_rule_for_each_flow():
    messages = [decode(data, OFP_VERSION_13)[1] for data in flows.each(10)]
    keys = [(m.match.get("in_port").value, m.match.get("ipv4_dst").value - flows.FIRST) for m in messages]
    assert sorted(keys) == [(port, at) for port in (1, 2) for at in range(5)]


def test_a_deletion_is_strict_and_for_its_entry():
    match = {"eth_type": IP}
    assert delete(match).command == OFPFC.DELETE_STRICT
    assert (delete(match).match, delete(match).priority) == (rule(match).match, rule(match).priority)


def test_the_first_rule_of_flow_set_up_needs_24_bits_of_both_addresses():
    never = decode(setup.rules()[0], OFP_VERSION_13)[1]
    assert never.match.get("ipv4_src").mask == never.match.get("ipv4_dst").mask == 0x00FFFFFF


def test_the_overlay_has_twenty_tables_each_reached_from_the_one_before():
    rules = overlay.pipeline()
    assert {one.table_id for one in rules} == set(range(overlay.TABLES))
    reached = {0} | {step.table_id for one in rules for step in one.instructions if hasattr(step, "table_id")}
    assert reached == set(range(overlay.TABLES))
    assert all(encoded(rules))


@pytest.mark.parametrize("quick", [True, False])
def test_every_scenario_has_cases_with_names_of_their_own(tmp_path, quick):
    for scenario in SCENARIOS.values():
        if scenario.name == "pipelines" and not quick:
            continue  # a hundred thousand rules take seconds
        names = [case.name for group in scenario.groups(tmp_path, quick) for case in group.cases]
        assert names
        assert len(set(names)) == len(names)


def test_a_bundled_message_keeps_its_number():
    sent = channel.Channel.__new__(channel.Channel)
    sent._xid = 6
    data = sent._wrapped(encoded([rule({})])[0])
    xid, add = decode(data, OFP_VERSION_13)
    assert xid == add.bundled.xid == 7
    assert add.bundled.message == rule({})
