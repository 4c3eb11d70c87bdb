"""Edits of frames: the field changes, checksums stay right, nothing else moves; and keys follow packets."""

from __future__ import annotations

from typing import Any

from checksum_reference import sums
from frame_strategies import frames
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from parse_reference import TAGS, Reading, be16, read

from vswitchd.datapath.dp import ffi, lib

SET, PUSH, POP, DEC, TTL = (
    getattr(lib, f"VS_ACT_{n}") for n in ("SET_FIELD", "PUSH_VLAN", "POP_VLAN", "DEC_TTL", "SET_TTL")
)
COVERING = [
    lib.VS_ACT_PUSH_MPLS, lib.VS_ACT_POP_MPLS, lib.VS_ACT_PUSH_PBB, lib.VS_ACT_POP_PBB, lib.VS_ACT_SET_MPLS_TTL,
    lib.VS_ACT_DEC_MPLS_TTL, lib.VS_ACT_COPY_TTL_OUT, lib.VS_ACT_COPY_TTL_IN,
]  # fmt: skip
SETTABLE = [
    "ETH_DST", "ETH_SRC", "VLAN_VID", "VLAN_PCP", "IP_DSCP", "IP_ECN", "IP_TTL",
    "IPV4_SRC", "IPV4_DST", "TP_SRC", "TP_DST", "ICMP_TYPE", "ICMP_CODE", "ARP_OP",
    "ARP_SPA", "ARP_TPA", "ARP_SHA", "ARP_THA", "IPV6_SRC", "IPV6_DST", "IPV6_FLABEL",
    "ND_TARGET", "ND_SLL", "ND_TLL", "MPLS_LABEL", "MPLS_TC", "MPLS_BOS", "PBB_ISID",
]  # fmt: skip
INFO = {n: lib.vs_field_info(getattr(lib, f"VS_F_{n}")) for n in SETTABLE}
KEY_SIZE = ffi.sizeof("struct vs_key")
key_bytes = st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE)
MEMBER_AT = {m.offset: n for n, m in ffi.typeof("struct vs_key").fields}


def member_of(name: str) -> str:
    return MEMBER_AT[INFO[name].offset]


@st.composite
def set_fields(draw: Any) -> tuple[str, bytes, bytes]:
    """A field, and value and mask as wide as its member."""
    name = draw(st.sampled_from(SETTABLE))
    size = INFO[name].size
    mask = draw(st.one_of(st.just(b"\xff" * size), st.binary(min_size=size, max_size=size)))
    return name, draw(st.binary(min_size=size, max_size=size)), mask


def action(kind: int, name: str = "", value: bytes = b"", mask: bytes = b"", arg: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": kind,
        "arg": arg,
        "value": value.ljust(16, b"\0"),
        "mask": mask.ljust(16, b"\0"),
    }
    return made | ({"field": getattr(lib, f"VS_F_{name}")} if name else {})


def edit(frame: bytes, actions: list[dict[str, Any]]) -> bytes | None:
    room = len(frame) + 18
    buffer = ffi.new("uint8_t[]", room)
    ffi.memmove(buffer, frame, len(frame))
    n = lib.vs_edit_frame(buffer, len(frame), room, ffi.new("struct vs_action[]", actions), len(actions))
    if n < 0:
        assert bytes(buffer)[: len(frame)] == frame
        return None
    return bytes(buffer)[:n]


def own_mask(name: str, mask: bytes) -> int:
    """The mask's bits of the field that can be set in a packet (a tag's present bit is none)."""
    info = INFO[name]
    own = ((1 << info.bits) - 1) << info.shift
    return int.from_bytes(mask, "big") & own & ~(0x1000 if name.startswith("VLAN") else 0)


def has_field(name: str, r: Reading) -> bool:
    m = r.members
    kind, proto = m.get("eth_type", b"").hex(), m.get("ip_proto", b"\0")[0]
    if r.l3 == 0xFFFF and name[:3] not in ("ETH", "VLA"):
        return False
    ip = kind in ("0800", "86dd")
    nd = kind == "86dd" and "nd_target" in m
    by_name = {"ND_TARGET": nd, "ND_SLL": nd and "arp_sha" in m, "ND_TLL": nd and "arp_tha" in m}
    by_prefix = {
        "ETH": "eth_dst" in m,
        "VLA": r.tags > 0,
        "IP_": ip,
        "IPV4": kind == "0800",
        "IPV6": kind == "86dd",
        "ARP": kind in ("0806", "8035"),
        "TP_": ip and r.l4 != 0xFFFF and (proto in (6, 17) or (proto == 132 and not m["ip_frag"][0] & 1)),
        "MPL": kind in ("8847", "8848"),
        "PBB": kind == "88e7",
        "ICM": r.l4 != 0xFFFF and proto in (1, 58),
    }
    return by_name.get(name, by_prefix.get(name[:3], by_prefix.get(name[:4], False)))


def checksum_bytes(r: Reading) -> set[int]:
    """Where the checksums of the frame stand."""
    at = {6: 16, 17: 6, 1: 2, 58: 2}.get(r.members.get("ip_proto", b"\0")[0])
    spots = [r.l3 + 10] if r.members.get("eth_type") == b"\x08\x00" else []
    spots += [r.l4 + at] if at and r.l4 != 0xFFFF else []
    if r.l4 != 0xFFFF and r.members["ip_proto"] == b"\x84":
        spots += [r.l4 + 8, r.l4 + 10]
    return {s + i for s in spots for i in (0, 1)}


@settings(max_examples=200, deadline=None)
@given(
    frames,
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.booleans(),
    st.booleans(),
)
def test_set_field(frame: bytes, value: bytes, mask: bytes, whole: bool, no_udp_checksum: bool) -> None:
    before = read(frame, 0)
    if no_udp_checksum and before.l4 != 0xFFFF and before.members["ip_proto"] == b"\x11":
        frame = frame[: before.l4 + 6] + b"\0\0" + frame[before.l4 + 8 :]
    for name in SETTABLE:
        size = INFO[name].size
        check_set_field(frame, before, name, value[:size], b"\xff" * size if whole else mask[:size])


def check_set_field(frame: bytes, before: Reading, name: str, value: bytes, mask: bytes) -> None:
    after = edit(frame, [action(SET, name, value, mask)])
    assert (after is not None) == has_field(name, before), frame.hex()
    if after is None:
        return
    now = read(after, 0)
    size, bits = INFO[name].size, own_mask(name, mask)
    old = int.from_bytes(before.members.get(member_of(name), bytes(size)), "big")
    want = ((old & ~bits) | (int.from_bytes(value, "big") & bits)).to_bytes(size, "big")
    assert now.members.get(member_of(name), bytes(size)) == want
    if not name.startswith(("ICMP", "ND")):
        assert now.members == before.members | {member_of(name): want}
    assert (now.l3, now.l4, now.tags) == (before.l3, before.l4, before.tags)
    assert sums(after, now) == sums(frame, before)
    assert len(after) == len(frame)
    changed = {i for i, (a, b) in enumerate(zip(frame, after, strict=True)) if a != b} - checksum_bytes(
        before
    )
    assert len(changed) <= size + (name in ("IP_DSCP", "IP_ECN"))


@st.composite
def edits(draw: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from([SET, SET, SET, SET, PUSH, POP, DEC, TTL, *COVERING]))
    if kind == SET:
        return action(SET, *draw(set_fields()))
    if kind in COVERING:
        return action(kind, arg=draw(st.sampled_from([0x8847, 0x8848, 0x800, 0x86DD])))
    return action(kind, arg=draw(st.integers(0, 255)) if kind == TTL else draw(st.sampled_from(TAGS)))


def parse(frame: bytes) -> Any:
    key = ffi.new("struct vs_key *")
    lib.vs_parse_frame(frame, len(frame), 0, key, ffi.new("uint16_t[3]"))
    return key


@settings(max_examples=200, deadline=None)
@given(frames, st.lists(edits(), min_size=1, max_size=5))
def test_key_follows_the_packet(frame: bytes, actions: list[dict[str, Any]]) -> None:
    """After any edits the mirrored key is the key of the edited frame; checksums are as right as before."""
    before = read(frame, 0)
    key = parse(frame)
    frame0 = frame
    assume(be16(frame, 12 + 4 * before.tags) not in TAGS)
    for a in actions:
        done = edit(frame, [a])
        if done is None:
            continue
        frame = done
        made = ffi.new("struct vs_action *", a)
        if lib.vs_edit_needs_parse(key, made):
            key = parse(frame)
        else:
            lib.vs_edit_key(key, made)
    now = read(frame, 0)
    assume((now.l4 == 0xFFFF) == (before.l4 == 0xFFFF))  # tags moved a header across the end of the head
    assert bytes(ffi.buffer(key)).hex() == bytes(ffi.buffer(parse(frame))).hex()
    if not any(a["type"] in COVERING for a in actions):
        assert sums(frame, now) == sums(frame0, before)


@settings(max_examples=200, deadline=None)
@given(frames, st.lists(edits(), min_size=1, max_size=4), key_bytes, key_bytes)
def test_sources_name_all_that_a_result_depends_on(
    frame: bytes, actions: list[Any], noise: bytes, matched: bytes
) -> None:
    """Packets that agree in the sources and in the bits of a later match agree in those bits after edits."""
    size = KEY_SIZE
    looked = bytearray(matched)
    ttl = ffi.offsetof("struct vs_key", "ip_ttl")
    looked[ttl] = 0xFF if looked[ttl] & 1 else 0  # never matched in part
    mask = ffi.new("struct vs_key *")
    ffi.memmove(mask, bytes(looked), size)
    made = ffi.new("struct vs_action[]", actions)
    for i in range(len(actions)):
        lib.vs_edit_key_sources(mask, made + i)
    one, other = parse(frame), ffi.new("struct vs_key *")
    held = bytes(ffi.buffer(mask))
    mixed = bytes(
        (a & m) | (n & ~m & 0xFF) for a, n, m in zip(bytes(ffi.buffer(one)), noise, held, strict=True)
    )
    ffi.memmove(other, mixed, size)
    for i in range(len(actions)):
        again = lib.vs_edit_needs_parse(one, made + i)
        assert again == lib.vs_edit_needs_parse(other, made + i)
        if again:
            break
        lib.vs_edit_key(one, made + i)
        lib.vs_edit_key(other, made + i)
    seen = [
        bytes(v & m for v, m in zip(bytes(ffi.buffer(k)), looked, strict=True)).hex() for k in (one, other)
    ]
    assert seen[0] == seen[1]
