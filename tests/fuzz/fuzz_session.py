"""Any bytes and descriptors through a vhost-user session with real memory and rings: the harness.

An input is a row of records: one byte that says which descriptors come along (Files.kinds; 0 none), two bytes of length, and
so many bytes for the session. What must hold: nothing but ProtocolError is raised; after the end no descriptor and no mapping is left.

The coverage-guided run is guided_session.py. The ordinary run replays the corpus and mutations of it with fixed seeds
(test_fuzz_session.py). `python tests/fuzz/fuzz_session.py --corpus` writes the corpus anew.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes import front_end as fe
from fakes.mock_guest import MODERN, Guest, Ring, bits

from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.features import SUPPORTED
from vswitchd.ports.vhostuser.session import Session

CORPUS = Path(__file__).resolve().parent / "corpus" / "session"
RECORD = struct.Struct("<BH")


class Files:
    """Descriptors of every kind that a front-end can send."""

    def __init__(self) -> None:
        self.guest = Guest()
        self.short = os.memfd_create("short")
        os.ftruncate(self.short, 4096)
        self.event = os.eventfd(0, os.EFD_NONBLOCK)
        self.pair = socket.socketpair()
        memory = self.guest.regions[0].fd
        self.kinds: tuple[tuple[int, ...], ...] = (
            (),
            (memory,),
            (self.event,),
            (self.short,),
            (self.pair[0].fileno(),),
            (memory, memory),
            (self.event, memory, self.short),
            (self.event,) * 8,
            (memory,) * 40,
        )


FILES = Files()


def records(data: bytes) -> list[tuple[bytes, tuple[int, ...]]]:
    """The input as (bytes, descriptors of ours)."""
    out, at = [], 0
    while at + RECORD.size <= len(data):
        kind, length = RECORD.unpack_from(data, at)
        at += RECORD.size
        out.append((data[at : at + length], FILES.kinds[kind % len(FILES.kinds)]))
        at += length
    return out


def encode(rows: list[tuple[bytes, int]]) -> bytes:
    """An input from (bytes, kind of descriptors)."""
    return b"".join(RECORD.pack(kind, len(data)) + data for data, kind in rows)


def state_of_process() -> tuple[frozenset[str], int]:
    return frozenset(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("memfd:")


def run(session: Session, data: bytes) -> None:
    """Feed the input until it ends or the session does."""
    for chunk, fds in records(data):
        copies = [os.dup(fd) for fd in fds]
        rest = chunk
        if not rest:
            for fd in copies:
                os.close(fd)
            continue
        while rest:
            n = min(session.wanted, len(rest))
            try:
                session.receive(rest[:n], copies)
            except ProtocolError:
                return
            rest, copies = rest[n:], []


def one(data: bytes) -> None:
    """One input; AssertionError when an invariant is broken."""
    before = state_of_process()
    handle = lib.vs_vhost_new(b"fuzz")
    session = Session(CoreDevice("fuzz", handle), SUPPORTED)
    try:
        run(session, data)
    finally:
        session.close()
        lib.vs_port_destroy(handle)
    assert state_of_process() == before


def write_corpus() -> None:
    """Conversations that set up, change and end a device, to start from."""
    guest = Guest()
    rings = {i: Ring(guest, 64) for i in (0, 1)}
    features = MODERN | bits(30)
    start = []
    for data, fds in fe.set_up(guest, rings, features, {0: (2, 2), 1: (2, 2)}):
        start.append((data, 0 if not fds else 2 if fds == [2] else 1))
    everything = (fe.message(16, fe.u64(SUPPORTED.protocol)), 0)
    log = fe.message(6, struct.pack("=QQ", 4096, 0)), 3
    more: dict[str, list[tuple[bytes, int]]] = {
        "questions": [(fe.message(n), 0) for n in (1, 15, 17, 36, 40)],
        "start": start,
        "stop": [*start, (fe.message(11, fe.state(0, 0)), 0), (fe.message(11, fe.state(1, 0)), 0)],
        "disable": [*start, (fe.message(18, fe.state(0, 0)), 0), (fe.message(18, fe.state(0, 1)), 0)],
        "reset": [*start, everything, (fe.message(34), 0), (fe.message(39, fe.u64(0)), 0)],
        "slots": [
            *start,
            everything,
            (fe.message(37, fe.region(1 << 32, 8 << 20, 1 << 45, 0)), 1),
            (fe.message(38, fe.region(1 << 32, 8 << 20, 1 << 45, 0)), 0),
        ],
        "memory": [*start, (fe.message(5, fe.memory(guest)), 1), (fe.message(5, fe.memory(guest)), 1)],
        "log": [*start, everything, log, (fe.message(2, fe.u64(features | 1 << 26)), 0), (fe.message(7), 2)],
        "rarp": [*start, everything, (fe.message(19, fe.u64(0x665544332211)), 0)],
        "backend": [*start, everything, (fe.message(21), 4), (fe.message(22, bytes(32)), 0)],
        "iotlb": [
            everything,
            (fe.message(2, fe.u64(features | 1 << 33)), 0),
            *start,
            (fe.message(21), 4),
            (fe.message(22, struct.pack("=QQQBB6x", 0, 8 << 20, 0x7F0000000000, 3, 2)), 0),
            (fe.message(22, struct.pack("=QQQBB6x", 0, 2**64 - 1, 0, 0, 3)), 0),
        ],
        "inflight": [
            everything,
            (fe.message(31, struct.pack("=QQHH4x", 0, 0, 1, 64)), 0),
            (fe.message(32, struct.pack("=QQHH4x", 4096, 0, 1, 64)), 3),
            *start,
        ],
        "packed": [
            (fe.message(2, fe.u64(features | 1 << 34)), 0),
            *[(data, kind) for data, kind in start if data[:4] != b"\x02\0\0\0"],
        ],
        "inband": [everything, *start, (fe.message(35, fe.state(0, 0)), 0)],
        "mtu": [everything, (fe.message(20, fe.u64(9000)), 0)],
    }
    for name, rows in more.items():
        (CORPUS / name).write_bytes(encode(rows))
    guest.close()


if __name__ == "__main__" and sys.argv[1:] == ["--corpus"]:
    write_corpus()
