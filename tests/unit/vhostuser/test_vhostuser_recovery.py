"""Where rings stood, remembered by a port: for whom it counts, when it is forgotten, and the files that it takes."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.lasting_guest import LastingGuest
from fakes.packed_ring import FRESH
from vhostuser_world import run

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.memo import DIRECTORY, find_peer
from vswitchd.ports.vhostuser.recovery import Recovery


async def connect(world, guest):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(world.dir / "vh0"))
    await asyncio.to_thread(guest.connect, sock)


async def hang_up(guest):
    """As a front-end sees a switch that was killed, and as we see a front-end whose connection broke."""
    guest.front.sock.close()
    for _ in range(20):
        await asyncio.sleep(0)


def traffic(port, guest, turns=30):
    packets, counters = ffi.new("uint64_t *"), ffi.new("struct vs_port_counters[2]")
    for _ in range(turns):
        guest.turn()
        lib.vs_port_test_forward(
            port.handle, 0, port.handle, 0, 8, packets, counters, ffi.addressof(counters, 1)
        )
    assert packets[0] > 0


def files(directory):
    return sorted((directory / DIRECTORY).glob("*.ring"))


def make(**how):
    return LastingGuest(7, **{"packed": True, "inflight": False, "mergeable": True, **how})


@pytest.mark.parametrize("inflight", [False, True], ids=["own-file", "inflight"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_rings_go_on_after_a_lost_connection(tmp_path, packed, inflight):
    async def main(world):
        port, guest = world.port(), make(packed=packed, inflight=inflight)
        try:
            for _ in range(5):
                await connect(world, guest)  # with the base of the very first start
                traffic(port, guest)
                await hang_up(guest)
            await connect(world, guest)
            traffic(port, guest)
            while guest.offered[1]:
                traffic(port, guest, 1)
                guest.listen()
                if len(guest.offered[1]) < 10:
                    break
            assert guest.arrived > 100
            assert len(files(tmp_path)) == (2 if packed and not inflight else 0)
        finally:
            guest.close()

    run(tmp_path, main)


def test_what_the_front_end_was_told_counts(tmp_path):
    """After GET_VRING_BASE, a guest that is reset makes new rings in the same place."""

    async def main(world):
        port, guest = world.port(), make()
        try:
            await connect(world, guest)
            traffic(port, guest)
            for index in (0, 1):
                await asyncio.to_thread(guest.front.stop, index)
            await asyncio.sleep(0)
            for ring in (
                guest.rx,
                guest.tx,
            ):  # flags stay as they are: nothing here says that the ring is new
                ring.idx = ring.seen = FRESH
                flags = [(ring.flags_of(i) & 0x8000) for i in range(ring.size)]
                assert any(flags)
            await hang_up(guest)
            await connect(world, guest)
            bases = [await asyncio.to_thread(guest.front.stop, index) for index in (0, 1)]
            assert [base & 0xFFFF for base in bases] == [guest.bases[0], guest.bases[1]]
        finally:
            guest.close()

    run(tmp_path, main)


def test_a_record_of_somebody_else_does_not_count(tmp_path):
    async def main(world):
        port, guest = world.port(), make()
        try:
            await connect(world, guest)
            traffic(port, guest)
            await hang_up(guest)
            for path in files(tmp_path):  # another process at the same addresses
                data = bytearray(path.read_bytes())
                data[8:16] = (1).to_bytes(8, "little")
                path.write_bytes(data)
            await connect(world, guest)
            assert (await asyncio.to_thread(guest.front.stop, 0)) & 0xFFFF == guest.bases[0]
        finally:
            guest.close()

    run(tmp_path, main)


@pytest.mark.parametrize("damage", ["empty", "short", "noise", "directory"])
def test_damaged_files(tmp_path, damage, caplog):
    async def main(world):
        port, guest = world.port(), make()
        try:
            await connect(world, guest)
            traffic(port, guest)
            for index in (0, 1):
                guest.bases[index] = await asyncio.to_thread(guest.front.stop, index)
            guest.front.sock.close()
            for path in files(tmp_path):
                if damage == "directory":
                    path.unlink()
                    path.mkdir()
                else:
                    size = path.stat().st_size
                    path.write_bytes({"empty": b"", "short": b"x" * 20, "noise": os.urandom(size)}[damage])
            await connect(world, guest)
            traffic(port, guest)
        finally:
            guest.close()

    run(tmp_path, main)
    said = [r for r in caplog.records if "after a crash" in r.getMessage()]
    assert len(said) == (1 if damage == "directory" else 0)


def test_files_of_ended_processes_go(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ours, theirs = socket.socketpair()
    peer = find_peer(ours)
    assert peer is not None
    ours.close()
    theirs.close()
    directory = tmp_path / DIRECTORY
    directory.mkdir()
    start = int(Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    for name, pid, began in (("a.0.ring", child.pid, start), ("b.0.ring", child.pid, start + 1)):
        header = b"vsring1\n" + pid.to_bytes(8, "little") + began.to_bytes(8, "little") + bytes(40)
        (directory / name).write_bytes(header)
    (directory / "c.0.ring").write_bytes(b"")
    Recovery("x", tmp_path)
    assert [path.name for path in files(tmp_path)] == ["a.0.ring"]
    child.communicate(b"\n")
    Recovery("x", tmp_path).close()
    assert files(tmp_path) == []
