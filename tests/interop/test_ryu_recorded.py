"""Every message that Ryu recorded, of 1.0 and 1.3: read and written again byte for byte, and read by Ryu as it noted."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import ryu_recorded

from vswitchd.ofproto.codec import decode, encode
from vswitchd.ofproto.errors import OFPBAC, OFPBMC, OFPBRC, OFError

pytestmark = pytest.mark.interop

# What Ryu can write but not read: messages that go to a switch (flow-mods it can read too).
TO_SWITCH = {1: {5, 13}, 4: {5, 7, 9, 13, 15, 16, 17, 18, 20, 22, 24, 26, 28, 29}}

PBB = (OFPBAC.BAD_ARGUMENT, "push_pbb with ethertype 0x1234, which is no PBB ethertype (5.12)")
ORDER = (OFPBMC.BAD_PREREQ, "ip_dscp is before eth_type, its prerequisite (7.2.3.6)")
ALIGNMENT = (
    OFPBRC.BAD_LEN,
    "queue properties of 17 and 18 bytes; our codec takes multiples of 8, as in all other lists",
)
NICIRA = (OFPBMC.BAD_FIELD, "a field of Nicira's (OXM class 0x0001), which is a later issue")
# Refused: name -> error code and why.
REFUSED = {
    "4-2-ofp_flow_mod.packet": PBB,
    "4-12-ofp_flow_stats_reply.packet": PBB,
    "4-36-ofp_queue_get_config_reply.packet": ALIGNMENT,
    "4-59-ofp_packet_in.packet": ORDER,
    "4-60-ofp_flow_mod.packet": ORDER,
    "libofproto-OFP13-flow_mod.packet": NICIRA,  # tun_ipv4_src
    "libofproto-OFP13-flow_mod_conjunction.packet": NICIRA,
    "libofproto-OFP13-flow_mod_match_conj.packet": NICIRA,  # conj_id
    "libofproto-OFP13-flow_removed.packet": NICIRA,
    "libofproto-OFP13-packet_in.packet": NICIRA,
    "ovs-ofctl-of13-action_conjunction.packet": NICIRA,
    "ovs-ofctl-of13-action_ct.packet": NICIRA,  # ct_state
    "ovs-ofctl-of13-action_ct_clear.packet": NICIRA,
    "ovs-ofctl-of13-action_ct_exec.packet": NICIRA,
    "ovs-ofctl-of13-action_learn.packet": NICIRA,
    "ovs-ofctl-of13-action_resubmit.packet": NICIRA,
    "ovs-ofctl-of13-match_conj.packet": NICIRA,
    "ovs-ofctl-of13-match_load_nx_register.packet": NICIRA,  # reg0
    "ovs-ofctl-of13-match_move_nx_register.packet": NICIRA,
    "ovs-ofctl-of13-match_pkt_mark.packet": NICIRA,  # pkt_mark
    "ovs-ofctl-of13-match_pkt_mark_masked.packet": NICIRA,
}
# Taken, with the same meaning, and written otherwise: name -> the one key of Ryu's dictionary that differs, and why.
REWRITTEN = {
    "1-2-ofp_flow_mod.packet": (
        "wildcards",
        "prefix lengths above 32 mean 32 (1.0.2, 5.2.3), and we write 32",
    ),
    "1-6-ofp_switch_features.packet": (
        "state",
        "spanning-tree states of ports are of 1.0 alone; we have no STP",
    ),
}


@pytest.fixture(scope="module")
def recorded():
    return ryu_recorded.need_recorded()


def outcome(message):
    """What our codec makes of a message: its error code, or the bytes it writes for what it read."""
    try:
        xid, msg = decode(message.wire, message.version)
    except OFError as error:
        return error.code
    return encode(msg, xid, message.version)


def test_all_messages_come_back_byte_for_byte_but_those_listed(recorded):
    refused, rewritten = {}, set()
    for message in recorded:
        got = outcome(message)
        if not isinstance(got, bytes):
            refused[message.name] = got
        elif got != message.wire:
            rewritten.add(message.name)
    assert refused == {name: code for name, (code, _why) in REFUSED.items()}
    assert rewritten == set(REWRITTEN)
    assert len(recorded) == 13 + 104


def test_what_is_rewritten_means_the_same(recorded):
    for message in recorded:
        if message.name in REWRITTEN:
            assert decode(outcome(message), message.version) == decode(message.wire, message.version), (
                message.name
            )


def without(node, key):
    """A dictionary of Ryu's without a key, at any depth."""
    if isinstance(node, dict):
        return {name: without(value, key) for name, value in node.items() if name != key}
    return [without(item, key) for item in node] if isinstance(node, list) else node


def test_ryu_reads_what_we_write_as_it_noted(recorded, ryu):
    seen = 0
    for message in recorded:
        ours = outcome(message)
        if isinstance(ours, bytes) and ours[1] not in TO_SWITCH[message.version]:
            reply = ryu.ask(parse=ours.hex(), version=message.version)
            key = REWRITTEN[message.name][0] if message.name in REWRITTEN else None
            assert (reply.get("json") != message.json) == (key is not None), (message.name, reply)
            assert without(reply["json"], key) == without(message.json, key), message.name
            seen += 1
    assert seen == 59


def test_what_ryu_writes_for_its_note_we_write_too(recorded, ryu):
    seen = 0
    for message in recorded:
        if message.wire[1] in TO_SWITCH[message.version]:
            reply = ryu.ask(write=message.json, version=message.version)
            wire = bytes.fromhex(reply.get("hex") or pytest.fail(f"{message.name}: {reply}"))
            _xid, msg = decode(wire, message.version)
            assert msg == decode(message.wire, message.version)[1], message.name
            assert encode(msg, 1, message.version) == wire, message.name
            seen += 1
    assert seen == 37  # with those above: all but the refused ones
