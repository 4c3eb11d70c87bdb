"""Every field of the table: exact, masked, without what it needs, badly masked, of a wrong length; and set.

Through the real agent and a real datapath, with OXMs written here byte by byte. The packets are scapy's, one of each kind, and
what they hold is read by the oracle. A new row of fields.FIELDS is tested by itself; it needs a packet that has the field.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
from fakes.oracle_packet import fields as fields_of
from fakes.packet_zoo import ZOO
from fakes.switchbox import SwitchBox
from of_peer import Clock, Peer, port

from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.fields import FIELDS

IN, OUT = 1, 2
FRAMES = [bytes(packet) for packet in ZOO.values()]
PIPELINE = {"in_port": IN, "in_phy_port": IN, "metadata": 0, "tunnel_id": 0}
HELD = [fields_of(frame) | PIPELINE for frame in FRAMES]
NAMES = [row.name for row in FIELDS]
ROWS = {row.name: row for row in FIELDS}
PATTERN = 0xA5C3_96E1_7B2D_4F58_0F1E_2D3C_4B5A_6978


class Live:
    """An agent over a datapath that is polled by hand."""

    def __init__(self):
        self.clock = Clock()
        self.box = SwitchBox(2)
        self.agent = Agent(self.box.bridge, self.box.dp, self.clock, Identity(0xABC, "br0"))
        for number, handle in self.box.ports.items():
            self.agent.add_port(port(number), handle)
        self.peer = Peer(self)

    def mod(self, oxms, actions=b""):
        """Replace all flows by one: None, or the name of the error."""
        self.peer.feed(flow_mod(3, b"", b""))
        found = [message for _, message in self.peer.feed(flow_mod(0, oxms, actions))]
        return found[0].name if found else None

    def taken(self):
        """What of all frames is output by the flow."""
        return self.box.send(IN, *FRAMES).get(OUT, [])


def padded(data):
    return data + bytes(-len(data) % 8)


def flow_mod(command, oxms, actions):
    """A flow-mod (1.3.5, 7.3.4.1) of table 0: apply the actions, output to OUT."""
    match = padded(struct.pack("!HH", 1, 4 + len(oxms)) + oxms)
    actions += struct.pack("!HHIH6x", 0, 16, OUT, 0)
    apply = struct.pack("!HH4x", 4, 8 + len(actions)) + actions
    body = struct.pack("!QQBBHHHIIIH2x", 0, 0, 0, command, 0, 0, 5, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    data = body + match + apply
    return struct.pack("!BBHI", 4, 14, 8 + len(data), 7) + data


def oxm(name, value, mask=None, *, size=None):
    """7.2.3.2: class, field, has-mask, length; what the length is, whatever `size` says."""
    row = ROWS[name]
    size = row.size if size is None else size
    head = struct.pack("!I", row.experimenter) if row.experimenter else b""
    data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
    if mask is not None:
        data += mask.to_bytes(size, "big")
    return (
        struct.pack("!HBB", row.oxm_class, row.number << 1 | (mask is not None), len(head + data))
        + head
        + data
    )


def set_field(tlv):
    return padded(struct.pack("!HH", 25, len(padded(bytes(4) + tlv))) + tlv)


@pytest.fixture(scope="module")
def live():
    switch = Live()
    yield switch
    switch.box.close()


def needs(name, held):
    """The prerequisites of a field in a packet that has it, and theirs: (name, value), outermost first."""
    found = {}
    for other, _ in ROWS[name].prereqs:
        found |= {other: held[other]} | dict(needs(other, held))
    return sorted(found.items(), key=lambda pair: ROWS[pair[0]].rank)


def cases(name):
    """Packets that have the field, with different prerequisites or values: at most four."""
    found = {}
    for held in HELD:
        if name in held:
            before = tuple(needs(name, held))
            found.setdefault(
                (before, held[name]), (b"".join(oxm(*pair) for pair in before), before, held[name])
            )
    assert found, f"no packet of the zoo has {name}"
    first = {before: case for case in reversed(found.values()) for before in [case[1]]}
    return list({id(case): case for case in [*first.values(), *found.values()]}.values())[:4]


def taken_by(before, name, value, mask):
    """The frames whose fields are so."""
    return [
        frame
        for frame, held in zip(FRAMES, HELD, strict=True)
        if all(held.get(other) == wanted for other, wanted in before)
        and name in held
        and held[name] & mask == value & mask
    ]


@pytest.mark.parametrize("name", NAMES)
def test_exact(live, name):
    row = ROWS[name]
    for oxms, before, value in cases(name):
        for wanted in (value, value ^ 1, value ^ 1 << (row.bits - 1)):
            error = live.mod(oxms + oxm(name, wanted))
            assert error is None, (name, hex(wanted), error)
            want = taken_by(before, name, wanted, row.all_ones)
            assert live.taken() == want
            assert wanted != value or want


@pytest.mark.parametrize("name", NAMES)
def test_masked(live, name):
    row = ROWS[name]
    masks = {1, 1 << (row.bits - 1), PATTERN & row.all_ones, ~PATTERN & row.all_ones, row.all_ones}
    for oxms, before, value in cases(name)[:3]:
        for mask in masks - {0}:
            error = live.mod(oxms + oxm(name, value & mask, mask))
            if not row.maskable:
                assert error == "OFPBMC_BAD_MASK"
                break
            assert error is None
            want = taken_by(before, name, value, mask)
            assert live.taken() == want
            assert want
    if row.maskable:
        (oxms, _, _) = cases(name)[0]
        assert live.mod(oxms + oxm(name, 0, 0)) is None, "a mask of nothing leaves the field out (7.2.3.5)"
        assert live.mod(oxms + oxm(name, 1, row.all_ones & ~1)) == "OFPBMC_BAD_WILDCARDS"


@pytest.mark.parametrize("name", NAMES)
def test_prerequisite_missing(live, name):
    """7.2.3.6: each must be there, before the field, and have a value that is right."""
    for _, before, value in cases(name):
        here = oxm(name, value)
        direct = {other for other, _ in ROWS[name].prereqs}
        for other in direct:
            rest = [
                pair
                for pair in before
                if pair[0] != other and other not in dict(needs(pair[0], dict(before)))
            ]
            without = b"".join(oxm(*pair) for pair in rest)
            assert live.mod(without + here) == "OFPBMC_BAD_PREREQ"
            assert live.mod(without + here + oxm(other, dict(before)[other])) == "OFPBMC_BAD_PREREQ"
            if other != "in_port":  # any is right
                wrong = 0 if other == "vlan_vid" else 0x59
                bad = without + oxm(other, wrong)
                assert live.mod(bad + here) == "OFPBMC_BAD_PREREQ", other


@pytest.mark.parametrize("name", NAMES)
def test_wrong_length_and_value(live, name):
    row = ROWS[name]
    oxms, before, value = cases(name)[0]
    for size in {0, row.size - 1, row.size + 1, 2 * row.size, row.size + 4}:
        assert live.mod(oxms + oxm(name, value, size=size)) == "OFPBMC_BAD_LEN"
    if row.maskable:
        for size in {row.size - 1, row.size + 1}:
            assert live.mod(oxms + oxm(name, 0, 0, size=size)) == "OFPBMC_BAD_LEN"
    assert live.mod(oxms + oxm(name, value) + oxm(name, value)) == "OFPBMC_DUP_FIELD"
    if row.bits < 8 * row.size:
        assert live.mod(oxms + oxm(name, 1 << row.bits)) == "OFPBMC_BAD_VALUE"
    assert dict(before).keys() <= ROWS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_set_field(live, name):
    """7.2.5: through the agent into packets that the match promises; or why not."""
    row = ROWS[name]
    settable = row.settable
    for oxms, _, value in cases(name):
        known = oxms + (oxm(name, 0x1000, 0x1000) if name == "vlan_vid" and value else b"")
        new = 0x1ABC if name == "vlan_vid" else 1 if name == "icmpv4_type" else PATTERN & row.all_ones
        error = live.mod(known, set_field(oxm(name, new)))
        if not settable:
            assert error == "OFPBAC_BAD_SET_TYPE"
            break
        if name == "vlan_vid" and not value:
            assert error == "OFPBAC_MATCH_INCONSISTENT"
            continue
        assert error is None
        out = live.taken()
        assert out
        for frame in out:
            assert name in PIPELINE or fields_of(frame).get(name, new) == new
    if not settable:
        return
    oxms = cases(name)[0][0]
    assert live.mod(oxms, set_field(oxm(name, 0, row.all_ones))) == "OFPBAC_BAD_SET_ARGUMENT"
    assert live.mod(oxms, set_field(oxm(name, 0, size=row.size + 1))) == "OFPBAC_BAD_SET_LEN"
    if row.bits < 8 * row.size:
        assert live.mod(oxms, set_field(oxm(name, 1 << row.bits))) == "OFPBAC_BAD_SET_ARGUMENT"
    if row.prereqs:
        assert live.mod(b"", set_field(oxm(name, 1))) == "OFPBAC_MATCH_INCONSISTENT"
    if name == "vlan_vid":
        assert live.mod(oxm(name, 0x1000, 0x1000), set_field(oxm(name, 5))) == "OFPBAC_BAD_SET_ARGUMENT"


def test_in_phy_port_that_is_not_in_port(live):
    assert live.mod(oxm("in_port", IN) + oxm("in_phy_port", IN)) is None
    assert live.taken() == FRAMES
    assert live.mod(oxm("in_port", IN) + oxm("in_phy_port", OUT)) is None
    assert live.taken() == []
