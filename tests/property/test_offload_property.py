"""Any TCP or UDP packet, any wishes, any edits, any receiver: what arrives is what a path without offloads would have made.

Oracle: scapy makes the frame complete, or each segment of it; the same edits are applied to that (vs_edit_frame, held against
checksums from scratch in test_edit_property.py). A receiver without offloads must get those bytes; one with offloads must get a packet
that becomes those bytes when its own stack finishes it. Checksums are compared by computing them anew, as zero has two forms.
"""

from __future__ import annotations

import functools
import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checksum_reference import sums
from fakes.guest_box import GuestBox
from fakes.guest_pair import BASE, SENDS, TAKES
from fakes.mock_guest import WRITE, Ring
from fakes.offload_frames import Wish, finish, partial, segmentable, segments
from fakes.packed_ring import PackedRing
from frame_strategies import ipv4s, ipv6s, macs, u8, u16, u20
from hypothesis import given, settings
from hypothesis import strategies as st
from parse_reference import read
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from vswitchd.datapath import dp

SENDER, WITH, WITHOUT = 1, 2, 3
DATA = random.Random(7).randbytes(9000)
FIELDS = {
    "ETH_DST": 48, "ETH_SRC": 48, "VLAN_VID": 12, "IP_DSCP": 6, "IP_ECN": 2, "IP_TTL": 8,
    "IPV4_SRC": 32, "IPV4_DST": 32, "IPV6_SRC": 128, "IPV6_DST": 128, "IPV6_FLABEL": 20, "TP_SRC": 16, "TP_DST": 16,
}  # fmt: skip

tags = st.lists(
    st.one_of(st.builds(Dot1Q, vlan=st.integers(0, 4095)), st.builds(Dot1AD, vlan=st.integers(0, 4095))),
    max_size=2,
)
options4 = st.sampled_from([b"", b"\x01" * 4, b"\x01" * 40])
extensions = st.lists(
    st.one_of(
        st.builds(lambda n: IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(n))]), st.sampled_from([0, 4])),
        st.builds(lambda n: IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(n))]), st.sampled_from([4, 12])),
        st.builds(lambda a, n: IPv6ExtHdrRouting(addresses=[a], segleft=n), ipv6s, st.integers(0, 1)),
    ),
    max_size=2,
    unique_by=type,  # with two routing headers, opinions differ on the final destination
)
tcps = st.builds(
    lambda s, d, q, f, o: TCP(sport=s, dport=d, seq=q, flags=f, options=[("NOP", None)] * o),
    u16,
    u16,
    st.sampled_from([0, 7, 0xFFFFFF00]),
    st.integers(0, 255),
    st.sampled_from([0, 4, 12, 40]),
)
udps = st.builds(lambda s, d: UDP(sport=s, dport=d), u16, u16)
v4s = st.builds(
    lambda s, d, tos, ttl, i, o: IP(src=s, dst=d, tos=tos, ttl=ttl, id=i, options=o),
    ipv4s,
    ipv4s,
    u8,
    u8,
    u16,
    options4.map(lambda o: o or []),
)
v6s = st.builds(
    lambda s, d, tc, fl, hl, ext: functools.reduce(
        lambda a, b: a / b, ext, IPv6(src=s, dst=d, tc=tc, fl=fl, hlim=hl)
    ),
    ipv6s,
    ipv6s,
    u8,
    u20,
    u8,
    extensions,
)


@st.composite
def stacks(draw: Any) -> Packet:
    """A frame that scapy completes."""
    stack = Ether(dst=draw(macs), src=draw(macs))
    for tag in draw(tags):
        stack /= tag
    stack = stack / draw(st.one_of(v4s, v6s)) / draw(st.one_of(tcps, udps))
    length = draw(st.one_of(st.integers(0, 300), st.sampled_from([0, 1, 1399, 1400, 1401, 4001, 8999])))
    return stack / Raw(DATA[:length]) if length else stack


@st.composite
def edits(draw: Any) -> dp.Action:
    """One editing action."""
    kind = draw(st.sampled_from(["set", "set", "set", "push", "pop", "dec"]))
    if kind == "push":
        return dp.push_vlan(draw(st.sampled_from([0x8100, 0x88A8])))
    if kind != "set":
        return dp.pop_vlan() if kind == "pop" else dp.dec_ttl()
    name = draw(st.sampled_from(list(FIELDS)))
    value, mask = (draw(st.integers(0, 2 ** FIELDS[name] - 1)) for _ in range(2))
    mask = draw(st.sampled_from([2 ** FIELDS[name] - 1, mask]))
    return dp.set_field(name, value & mask, mask)


def edited(frame: bytes, actions: list[dp.Action]) -> bytes | None:
    """The frame with all edits, or None when one does not fit it."""
    room = len(frame) + 32
    buffer = dp.ffi.new("uint8_t[]", room)
    dp.ffi.memmove(buffer, frame, len(frame))
    rows = [
        {"type": a.type, "field": a.field, "arg": a.arg, "value": a.value, "mask": a.mask} for a in actions
    ]
    n = dp.lib.vs_edit_frame(buffer, len(frame), room, dp.ffi.new("struct vs_action[]", rows), len(actions))
    return None if n < 0 else bytes(buffer)[:n]


def untagged(frame: bytes) -> bytes:
    """The frame without its tags: the reference parser knows two at most."""
    while frame[12:14] in (b"\x81\x00", b"\x88\xa8"):
        frame = frame[:12] + frame[16:]
    return frame


def without_sum(frame: bytes) -> bytes:
    """The frame with the checksum of TCP or UDP cleared."""
    short = untagged(frame)
    r = read(short, 0)
    at = len(frame) - len(short) + r.l4 + {6: 16, 17: 6}[r.members["ip_proto"][0]]
    return frame[:at] + b"\0\0" + frame[at + 2 :]


def same(got: list[bytes], want: list[bytes], *, sums_right: bool) -> None:
    assert [without_sum(f).hex() for f in got] == [without_sum(f).hex() for f in want]
    if sums_right:
        for frame in got:
            short = untagged(frame)
            found = sums(short, read(short, 0))
            assert set(found.values()) == {0xFFFF}, (found, frame.hex())
            assert "l4" in found


def cut(frame: bytes, wish: Wish) -> list[bytes]:
    """What the stack of a receiver with offloads makes of a packet: scapy cuts it, from the bytes alone."""
    if wish.gso_type == 0:
        return [finish(frame, wish)]
    stack = Ether(frame)
    for layer in (TCP, UDP):
        if layer in stack:
            del stack[layer].chksum
    if UDP in stack:
        del stack[UDP].len
    if IP in stack:
        del stack[IP].len, stack[IP].chksum
    else:
        del stack[IPv6].plen
    return segments(stack, wish.gso_size)


@pytest.fixture(scope="module", params=[Ring, PackedRing], ids=["split", "packed"])
def box(request: pytest.FixtureRequest) -> Any:
    """A sender, a receiver with all offloads and one with none."""
    box = GuestBox()
    for number, features in ((SENDER, SENDS), (WITH, TAKES), (WITHOUT, BASE)):
        box.seat(number, features, ring=request.param, size=256)
    yield box
    box.close()


def forward(box: GuestBox, frame: bytes, wish: Wish, actions: list[dp.Action]) -> dict[int, Any]:
    """Through a rule with the edits, to both receivers."""
    box.seats[SENDER].port.guest._next = 0x100000  # the frame of the last turn is forgotten
    for number in (WITH, WITHOUT):
        back = box.seats[number].back
        while len(back.free) > 60:  # a descriptor has a buffer of its own
            back.chain([(0x100000 + 2048 * back.free[0], 2048)], WRITE)
    rule = box.rule(1, (), *actions, dp.output(WITH), dp.output(WITHOUT))
    got = box.through(SENDER, frame, wish)
    box.bridge.remove_rule(rule)
    box.bridge.commit()
    box.retire()
    return got


@settings(max_examples=100, deadline=None)
@given(stacks(), st.lists(edits(), max_size=4), st.sampled_from(["plain", "sum", "segments"]), st.data())
def test_what_arrives_is_what_a_path_without_offloads_makes(
    box: GuestBox, stack: Packet, actions: list[dp.Action], kind: str, data: Any
) -> None:
    size = data.draw(st.sampled_from([536, 1400, 9000]))
    ecn = kind == "segments" and TCP in stack and data.draw(st.booleans())
    if kind == "segments":
        frame, wish = segmentable(stack, size, ecn=ecn)
        complete = segments(stack, size)
    else:
        frame, wish = partial(stack) if kind == "sum" else (bytes(stack), Wish())
        complete = [bytes(stack)]
    want = [edited(f, actions) for f in complete]
    got = forward(box, frame, wish, actions)
    if None in want:
        assert got == {}
        return
    same([f for _, f in got[WITHOUT]], [f for f in want if f is not None], sums_right=True)
    assert {h.but(num_buffers=0) for h, _ in got[WITHOUT]} == {Wish()}
    [(header, passed)] = got[WITH]
    same(cut(passed, header), [f for f in want if f is not None], sums_right=kind != "segments")
    assert (header.gso_type, header.gso_size, header.flags) == (wish.gso_type, wish.gso_size, wish.flags)
    if kind != "plain":
        moved = len(passed) - len(frame)
        assert header.csum_start == wish.csum_start + moved


def test_behind_mpls_segments_are_ours(box: GuestBox) -> None:
    """No receiver takes a packet to be segmented behind a label; a partial checksum, each that takes one."""
    stack = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / Raw(DATA[:3000])
    push = [dp.push_mpls(0x8847)]
    frame, wish = segmentable(stack, 1400)
    got = forward(box, frame, wish, push)
    want = [edited(f, push) for f in segments(stack, 1400)]
    for number in (WITH, WITHOUT):
        assert [f for _, f in got[number]] == want
        assert {h.but(num_buffers=0) for h, _ in got[number]} == {Wish()}
    frame, wish = partial(stack)
    got = forward(box, frame, wish, push)
    assert [f for _, f in got[WITHOUT]] == [edited(bytes(stack), push)]
    [(header, passed)] = got[WITH]
    assert (header.flags, header.csum_start, header.csum_offset) == (wish.flags, wish.csum_start + 4, 16)
    assert finish(passed, header) == edited(bytes(stack), push)


def test_a_udp_packet_without_a_checksum_stays_without(box: GuestBox) -> None:
    frame = bytes(
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2, chksum=0) / Raw(b"data")
    )
    got = forward(box, frame, Wish(), [dp.set_field("IPV4_DST", 1), dp.set_field("TP_DST", 9)])
    [(_, there)], [(_, other)] = got[WITH], got[WITHOUT]
    assert there == other
    assert there[40:42] == b"\0\0"
