"""SELECT over many flows: each keeps its bucket, the shares are those of the weights, a dead bucket's flows alone move (5.6.1)."""

from __future__ import annotations

import random

import pytest

from tests.fakes import oracle_model as o
from tests.fakes.oracle_packet import checksums
from tests.fakes.oracle_switch import RealSwitch

WEIGHTS = {1: 1, 2: 2, 3: 5}
FLOWS = 2000


def flows(r: random.Random, kind: str) -> list[bytes]:
    """One frame of each of many flows."""
    found = []
    for _ in range(FLOWS):
        ends = r.randbytes(4) if kind == "ports" else b"\x01\xbb\x00\x50"
        body = ends + b"\x00\x0c\xff\xff" + b"data"
        if kind == "ipv6":
            head = b"\x60\0\0\0\0\x0c\x11\x40" + b"\xfd" + r.randbytes(31)
            found.append(b"\x02" + bytes(10) + b"\x01\x86\xdd" + head + body)
        else:
            hosts = r.randbytes(8) if kind == "hosts" else b"\x0a\0\0\x01\x0a\0\0\x02"
            head = b"\x45\0\0\x20\0\0\0\0\x40\x11\0\0" + hosts
            found.append(b"\x02" + bytes(10) + b"\x01\x08\x00" + head + body)
    return [checksums(f) for f in found]


def turned(f: bytes) -> bytes:
    """The way back."""
    at, size = (26, 4) if f[12:14] == b"\x08\0" else (22, 16)
    hosts, ports = f[at : at + 2 * size], f[at + 2 * size : at + 2 * size + 4]
    back = hosts[size:] + hosts[:size] + ports[2:] + ports[:2]
    return checksums(f[:at] + back + f[at + 2 * size + 4 :])


@pytest.fixture
def real():
    switch = RealSwitch(4, emc_entries=256)
    buckets = [o.Bucket((("output", p, o.WHOLE),), weight, watch_port=p) for p, weight in WEIGHTS.items()]
    assert switch.request(o.GroupMod("add", 1, "select", tuple(buckets))) is None
    assert switch.request(o.FlowMod("add", instructions={"apply": (("group", 1),)})) is None
    yield switch
    switch.close()


def taken(real: RealSwitch, frames: list[bytes]) -> dict[bytes, int]:
    """The port that each frame went to."""
    found: dict[bytes, int] = {}
    for i in range(0, len(frames), 64):
        for port, sent in real.packets(4, frames[i : i + 64]).items():
            found |= dict.fromkeys(sent, port)
    assert set(found) == set(frames)
    return found


@pytest.mark.parametrize("kind", ["hosts", "ports", "ipv6"])
def test_shares_are_those_of_the_weights_and_flows_stay(real: RealSwitch, kind: str) -> None:
    frames = flows(random.Random(kind), kind)
    first = taken(real, frames)
    for port, weight in WEIGHTS.items():
        share = sum(p == port for p in first.values()) / len(first)
        want = weight / sum(WEIGHTS.values())
        deviation = (want * (1 - want) / len(first)) ** 0.5
        assert abs(share - want) < 4 * deviation, (port, share)
    assert taken(real, frames) == first
    back = taken(real, [turned(f) for f in frames])
    assert {f: back[turned(f)] for f in frames} == first


def test_flows_of_a_dead_bucket_alone_move_and_come_back(real: RealSwitch) -> None:
    frames = flows(random.Random(7), "hosts")
    first = taken(real, frames)
    real.box.ports[3].set_link(False)
    second = taken(real, frames)
    assert {second[f] for f in frames if first[f] == 3} == {1, 2}
    assert all(second[f] == first[f] for f in frames if first[f] != 3)
    moved = [second[f] for f in frames if first[f] == 3]
    assert abs(moved.count(2) / len(moved) - 2 / 3) < 0.06
    assert real.request(o.PortMod(2, o.PORT_DOWN, o.PORT_DOWN)) is None
    assert set(taken(real, frames).values()) == {1}
    real.box.ports[3].set_link(True)
    assert real.request(o.PortMod(2, 0, o.PORT_DOWN)) is None
    assert taken(real, frames) == first
