"""Lists of actions: later ones see the headers that earlier ones made or uncovered, with and without offloads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from fakes.offload_frames import Wish, partial, segmentable, segments
from fakes.packet_zoo import ZOO
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitchd.datapath import dp
from vswitchd.datapath.action import actions_array
from vswitchd.datapath.dp import ffi, lib

ETHERTYPES = [0x0800, 0x86DD, 0x8847, 0x8848, 0x8100, 0x88E7, 0x0806]
actions = st.one_of(
    st.sampled_from([dp.push_mpls(0x8847), dp.push_mpls(0x8848), dp.push_vlan(), dp.pop_vlan(), dp.pop_pbb()]),
    st.sampled_from(ETHERTYPES).map(dp.pop_mpls),
    st.sampled_from(
        [dp.dec_ttl(), dp.set_ttl(3), dp.dec_mpls_ttl(), dp.set_mpls_ttl(9), dp.copy_ttl_in(), dp.copy_ttl_out()]
    ),
    st.just(dp.push_pbb()),
    st.sampled_from(
        [
            ("ETH_DST", 1), ("VLAN_VID", 7), ("VLAN_PCP", 5), ("MPLS_LABEL", 0x77777), ("MPLS_TC", 2), ("MPLS_BOS", 1),
            ("PBB_ISID", 0x123456), ("IP_DSCP", 9), ("IPV4_DST", 0x01020304), ("IPV6_SRC", 5), ("TP_DST", 0xABCD),
        ]
    ).map(lambda pair: dp.set_field(*pair)),
)  # fmt: skip


def edit(frame: bytes, *todo: dp.Action) -> bytes | None:
    room = len(frame) + 64
    buffer = ffi.new("uint8_t[]", room)
    ffi.memmove(buffer, frame, len(frame))
    n = lib.vs_edit_frame(buffer, len(frame), room, actions_array(todo), len(todo))
    return bytes(buffer)[:n] if n >= 0 else None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ZOO)), st.lists(actions, min_size=2, max_size=8))
def test_a_list_does_what_its_actions_do_one_by_one(name: str, todo: list[dp.Action]) -> None:
    """Each on a frame that is parsed anew. What does not fit the frame is left out: a pop in vain ends a list."""
    frame, fitting = bytes(ZOO[name]), []
    for action in todo:
        done = edit(frame, action)
        pushed = {lib.VS_ACT_PUSH_MPLS: 4, lib.VS_ACT_PUSH_VLAN: 4, lib.VS_ACT_PUSH_PBB: 18}
        room = lib.VS_HEADROOM - sum(pushed.get(a.type, 0) for a in fitting)
        if done is not None and pushed.get(action.type, 0) <= room:
            frame, fitting = done, [*fitting, action]
    assert edit(bytes(ZOO[name]), *fitting) == frame


# ---- offloads

MPLS, PBB, VLAN = dp.push_mpls(0x8847), dp.push_pbb(), dp.push_vlan()
SEQUENCES: dict[str, tuple[dp.Action | str, ...]] = {
    "mpls": (MPLS,),
    "mpls, edited": (MPLS, dp.set_mpls_ttl(3), dp.set_field("MPLS_LABEL", 5), dp.copy_ttl_in(), VLAN),
    "labels": (MPLS, MPLS, dp.pop_mpls(0x8847), dp.dec_mpls_ttl()),
    "mpls and back": (MPLS, "pop", dp.set_field("ETH_DST", 5)),
    "pbb": (PBB, dp.set_field("PBB_ISID", 7)),
    "pbb and back": (PBB, dp.set_field("ETH_SRC", 3), dp.pop_pbb(), dp.dec_ttl()),
    "all": (VLAN, MPLS, PBB, VLAN),
    "all and back": (
        dp.dec_ttl(),
        MPLS,
        PBB,
        VLAN,
        dp.pop_vlan(),
        dp.pop_pbb(),
        "pop",
        dp.set_field("TP_DST", 3),
    ),
}
OFFLOADED = ("udp", "vlan", "long tcp", "long tcp6", "qinq", "three tags", "source route")


def packet(frame: bytes, wish: Wish) -> Any:
    p = ffi.new("struct vs_packet *")
    lib.vs_packet_fill(p, frame, len(frame))
    p.csum = lib.VS_CSUM_PARTIAL
    p.csum_start, p.csum_offset, p.gso_type, p.gso_size = (
        wish.csum_start, wish.csum_offset, wish.gso_type, wish.gso_size,
    )  # fmt: skip
    lib.vs_parse(p, 0, ffi.new("struct vs_key *"), ffi.new("uint8_t *", 6))
    assert lib.vs_offload_check(p) == 0
    return p


def finished(p: Any) -> list[bytes]:
    out = []

    @ffi.callback("int(void *, const uint8_t *, uint32_t)")
    def emit(_ctx: Any, frame: Any, length: int) -> int:
        out.append(bytes(ffi.buffer(frame, length)))
        return 0

    n = lib.vs_offload_finish(p, ffi.new("uint8_t[]", 65600), 65600, emit, ffi.NULL)
    assert n == len(out)
    return out


@pytest.mark.parametrize("kind", ["sum", "segments"])
@pytest.mark.parametrize("name", OFFLOADED)
def test_offloads_behind_pushed_headers(name: str, kind: str) -> None:
    """Software finishes the edited packet to what edits make of the finished frames."""
    stack = ZOO[name]
    for sequence in SEQUENCES.values():
        plain = bytes(stack)
        back = dp.pop_mpls(int.from_bytes(plain[12:14], "big"))
        todo = [back if action == "pop" else action for action in sequence]
        frame, wish = segmentable(stack, 500) if kind == "segments" else partial(stack)
        complete = segments(stack, 500) if kind == "segments" else [plain]
        want = [edit(f, *todo) for f in complete]
        p = packet(frame, wish)
        fits = all(lib.vs_edit_apply(p, actions_array((action,))) == 0 for action in todo)
        assert fits == (None not in want)  # a tag is right behind the label: no TTL of IP
        if fits:
            assert finished(p) == want
            assert (p.gso_l3_ofs != 0) == (kind == "segments" and covered(todo))


def covered(todo: list[dp.Action]) -> bool:
    """Whether a header stays that does not say what follows it."""
    push = (lib.VS_ACT_PUSH_MPLS, lib.VS_ACT_PUSH_PBB)
    pop = (lib.VS_ACT_POP_MPLS, lib.VS_ACT_POP_PBB)
    return sum((a.type in push) - (a.type in pop) for a in todo) > 0


def test_a_pop_does_not_uncover_what_a_received_checksum_would_change() -> None:
    """The sum would be stored over an address that tables match on: refused, and nothing changed."""
    frame = bytes(ZOO["mpls ip"])
    for start, offset, done in ((38, 6, 0), (38, 16, -1), (18, 16, -1)):
        p = packet(frame, Wish(1, csum_start=start, csum_offset=offset))
        assert lib.vs_edit_apply(p, actions_array((dp.pop_mpls(0x0800),))) == done
        if done != 0:
            assert bytes(ffi.buffer(p.data, p.head_len)) == frame
            assert (p.csum_start, p.l3_ofs, p.n_tags) == (start, 14, 0)
    pbb = bytes(ZOO["pbb"])
    p = packet(pbb, Wish(1, csum_start=46, csum_offset=16))
    assert lib.vs_edit_apply(p, actions_array((dp.pop_pbb(),))) == -1
    assert (bytes(ffi.buffer(p.data, p.head_len)), p.csum_start) == (pbb, 46)
