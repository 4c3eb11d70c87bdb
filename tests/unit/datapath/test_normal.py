"""NORMAL over all port modes, tags and memberships, against a small oracle; then learning and its corners."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from vswitchd.datapath.dp import ffi, lib

SRC, DST = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
BROADCAST = b"\xff" * 6
KEEP, STRIP, ADD, SET = lib.VS_TAG_KEEP, lib.VS_TAG_STRIP, lib.VS_TAG_ADD, lib.VS_TAG_SET


@dataclass(frozen=True)
class Port:
    """mode as in the Port table; tag; trunks (empty: all VLANs)."""

    mode: str
    tag: int = 0
    trunks: tuple[int, ...] = ()


MODES = {
    "trunk": lib.VS_VLAN_TRUNK,
    "access": lib.VS_VLAN_ACCESS,
    "native-tagged": lib.VS_VLAN_NATIVE_TAGGED,
    "native-untagged": lib.VS_VLAN_NATIVE_UNTAGGED,
}
PORTS = [
    Port("trunk"),
    Port("trunk", trunks=(10,)),
    Port("trunk", trunks=(0, 20)),
    Port("access", 10),
    Port("access", 20),
    Port("access", 0),
    Port("native-tagged", 10),
    Port("native-tagged", 10, (20,)),
    Port("native-untagged", 10),
    Port("native-untagged", 20, (30, 4095)),
]
TAGS = [None, 0x0000, 0xA000, 0x600A, 0x0014, 0x001E, 0xEFFF]


def frame(tci: int | None, dst: bytes = DST, src: bytes = SRC) -> bytes:
    tag = b"" if tci is None else b"\x81\x00" + tci.to_bytes(2, "big")
    return dst + src + tag + b"\x88\xb5" + bytes(46)


def run(macs: Any, ports: list[Port], in_port: int, data: bytes, *, bpdu: int = 0, now: int = 100) -> Any:
    """A drop's label, or {port index: (operation, TCI)}."""
    vlans = ffi.new("struct vs_port_vlan[]", len(ports))
    for vlan, port in zip(vlans, ports, strict=True):
        vlan.mode, vlan.tag = MODES[port.mode], port.tag
        for vid in port.trunks:
            vlan.trunks[vid // 8] |= 1 << vid % 8
    ops, tcis = ffi.new("uint8_t[16]"), ffi.new("uint16_t[16]")
    drop = lib.vs_normal_try(macs, data, len(data), vlans, len(ports), in_port, bpdu, now, ops, tcis)
    if drop >= 0:
        return ffi.string(lib.vs_drop_label(drop)).decode()
    return {i: (ops[i], tcis[i]) for i in range(len(ports)) if ops[i] != 255}


@pytest.fixture
def macs() -> Any:
    return ffi.gc(lib.vs_mac_table_new(1024, 300), lib.vs_mac_table_free)


def carries(port: Port, vlan: int) -> bool:
    if port.mode == "access":
        return vlan == port.tag
    return not port.trunks or vlan in port.trunks or (port.mode != "trunk" and vlan == port.tag)


def oracle(ports: list[Port], in_port: int, tci: int | None) -> Any:
    """What the frame looks like where it leaves: {port index: VID and priority of its tag, None for untagged}."""
    port, vid = ports[in_port], (tci or 0) & 0xFFF
    if port.mode == "access" and vid:
        return "vlan_not_allowed"
    vlan = vid or (0 if port.mode == "trunk" else port.tag)
    if not carries(port, vlan):
        return "vlan_not_allowed"
    out: dict[int, int | None] = {}
    for i, to in enumerate(ports):
        if i != in_port and carries(to, vlan):
            native = to.mode == "native-untagged" and to.tag == vlan
            plain = vlan == 0 or to.mode == "access" or native
            out[i] = None if plain else vlan | ((tci or 0) & 0xE000)
    return out


def applied(tci: int | None, op: int, new: int) -> int | None:
    """The outer tag after the operation; an operation that does not fit the frame is a failure."""
    if op == KEEP:
        return tci
    if op == ADD:
        assert tci is None
        return int(new)
    assert tci is not None
    return None if op == STRIP else int(new)


@pytest.mark.parametrize("tci", TAGS, ids=lambda t: "untagged" if t is None else f"{t:04x}")
@pytest.mark.parametrize(
    "in_port", range(len(PORTS)), ids=lambda i: f"{PORTS[i].mode}-{PORTS[i].tag}-{PORTS[i].trunks}"
)
def test_every_mode_and_tag(macs: Any, in_port: int, tci: int | None) -> None:
    got = run(macs, PORTS, in_port, frame(tci))
    if isinstance(got, dict):
        got = {i: applied(tci, op, new) for i, (op, new) in got.items()}
    assert got == oracle(PORTS, in_port, tci)


def test_learns_and_sends_to_one_port(macs: Any) -> None:
    ports = [Port("trunk")] * 3
    assert run(macs, ports, 0, frame(None)) == {1: (KEEP, 0), 2: (KEEP, 0)}
    assert run(macs, ports, 2, frame(None, dst=SRC, src=DST)) == {0: (KEEP, 0)}
    assert run(macs, ports, 1, frame(None, src=b"\x02" * 6)) == {2: (KEEP, 0)}
    assert run(macs, ports, 0, frame(5)) == {1: (KEEP, 5), 2: (KEEP, 5)}, "not learned in VLAN 5"
    assert run(macs, ports, 0, frame(None, dst=BROADCAST)) == {1: (KEEP, 0), 2: (KEEP, 0)}
    assert run(macs, ports, 0, frame(None), now=401) == {1: (KEEP, 0), 2: (KEEP, 0)}, "aged"


def test_destination_behind_the_input(macs: Any) -> None:
    ports = [Port("trunk")] * 2
    run(macs, ports, 0, frame(None, src=DST))
    assert run(macs, ports, 0, frame(None)) == "same_port"


def test_access_ports_share_a_vlan_with_a_trunk(macs: Any) -> None:
    ports = [Port("access", 10), Port("trunk"), Port("access", 20)]
    assert run(macs, ports, 0, frame(None)) == {1: (ADD, 10)}
    assert run(macs, ports, 1, frame(0x600A, dst=SRC, src=DST)) == {0: (STRIP, 0x600A)}
    assert run(macs, ports, 0, frame(0xA000)) == {1: (SET, 0xA00A)}, "priority tag: keeps its priority"


def test_learned_port_that_left_the_vlan_or_the_bridge(macs: Any) -> None:
    run(macs, [Port("trunk")] * 3, 2, frame(10, src=DST))
    assert run(macs, [Port("trunk")] * 3, 0, frame(10)).keys() == {2}
    moved = [Port("trunk"), Port("trunk"), Port("access", 20)]
    assert run(macs, moved, 0, frame(10)).keys() == {1}, "flooded, and not into VLAN 20"
    assert run(macs, moved[:2], 0, frame(10)).keys() == {1}


def test_a_port_that_refuses_the_vlan_teaches_nothing(macs: Any) -> None:
    ports = [Port("access", 10), Port("trunk")]
    assert run(macs, ports, 0, frame(10)) == "vlan_not_allowed"
    assert lib.vs_mac_lookup(macs, SRC, 10, 100) == 0


@pytest.mark.parametrize("last", [0x00, 0x02, 0x0F])
def test_reserved_addresses(macs: Any, last: int) -> None:
    reserved = bytes.fromhex("0180c20000") + bytes([last])
    assert run(macs, [Port("trunk")] * 2, 0, frame(None, dst=reserved)) == "reserved_mac"
    assert lib.vs_mac_lookup(macs, SRC, 0, 100) == 0
    assert run(macs, [Port("trunk")] * 2, 0, frame(None, dst=reserved), bpdu=1) == {1: (KEEP, 0)}


@pytest.mark.parametrize("text", ["0180c2000010", "0180c2000100", "0180c3000000"])
def test_other_multicast_is_flooded(macs: Any, text: str) -> None:
    assert run(macs, [Port("trunk")] * 2, 0, frame(None, dst=bytes.fromhex(text))) == {1: (KEEP, 0)}


def test_runt(macs: Any) -> None:
    assert run(macs, [Port("trunk")] * 2, 0, bytes(13)) == "runt"


def test_all_ones_are_all_vlans(macs: Any) -> None:
    """Two ways to say "every VLAN"; the ones are the fast one."""
    ones = Port("trunk", trunks=tuple(range(4096)))
    for vid, (a, b) in itertools.product((None, 1, 4095), ((ones, Port("trunk")), (Port("trunk"), ones))):
        assert run(macs, [a, b], 0, frame(vid)).keys() == {1}
