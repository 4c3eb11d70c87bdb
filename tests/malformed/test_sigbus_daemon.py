"""A front-end cuts its memory file under the running switch: that port loses its connection, nobody else anything."""

import contextlib
import mmap
import os
import select
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes import front_end as fe
from fakes.mock_guest import MODERN, Guest, Region, Ring, bits
from fakes.talker import SIZE, Exchange, Talker, meet
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch, total
from peers.wait import until
from test_guest_daemon import BR, EVIL, World, push

from vswitchd.ports.vhostuser.messages import Request

CLOSING = f"{EVIL}: the front-end truncated its memory file"
MAC = "0200000000e4"


@pytest.fixture(scope="module")
def world():
    place = Path(tempfile.mkdtemp(prefix="vsb"))
    with namespace() if os.geteuid() == 0 else contextlib.nullcontext():
        if os.geteuid() == 0:
            run(["ip", "link", "set", "lo", "up"])
        made = World(place)
        made.maps = count_maps(made)
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def unharmed(world):
    """After each test: others forward, the port takes a guest with good memory, no descriptor or mapping is left."""
    yield
    world.check()
    assert count_maps(world) == world.maps


@pytest.fixture
def flood(world):
    """What the first guest sends is sent to the evil port as well."""
    world.switch.ofctl("add-flow", BR, "priority=10,in_port=1,actions=output:3,NORMAL")
    yield
    world.switch.ofctl("--strict", "del-flows", BR, "priority=10,in_port=1")


def count_maps(world):
    return Path(f"/proc/{world.pid}/maps").read_text().count("memfd:guest")


@contextlib.contextmanager
def closes(switch, sock):
    """The connection is closed meanwhile, which is said and counted once."""
    said, faults = switch.child.output().count(CLOSING), count_faults(switch)
    yield
    with contextlib.suppress(ConnectionResetError):  # when it had not read all we sent
        assert sock.recv(1) == b""
    until(lambda: count_faults(switch) == faults + 1, "the fault is counted")
    assert switch.child.output().count(CLOSING) == said + 1
    assert total(switch.metrics(), "vs_vhost_connected", port=EVIL) == 0


def count_faults(switch):
    return total(switch.metrics(), "vs_vhost_memory_faults_total", port=EVIL)


def page_of(guest, ring):
    """Offset of the first page that holds buffers of this ring alone, or of those behind it."""
    return -(-guest.buffers[ring, 0] // mmap.PAGESIZE) * mmap.PAGESIZE


def cut(guest, end):
    """From here on only what is below `end` may be touched in this process."""
    os.ftruncate(guest.guest.regions[0].fd, end)


def closed(sock):
    return bool(select.select([sock], [], [], 0)[0])


@pytest.mark.parametrize("end", [0, mmap.PAGESIZE])
def test_rings_are_cut_under_traffic(world, flood, end):
    for _ in range(3):
        guest = Talker(world.evil, MAC, Exchange.MACS[0])
        until(lambda guest=guest: guest.rx.used_idx() > 0, "traffic to the guest")
        guest.send(SIZE // 4)
        with closes(world.switch, guest.sock):
            cut(guest, end)
        guest.close()
        world.exchange.check()


def test_receive_buffers_are_cut_under_traffic(world, flood):
    guest = Talker(world.evil, MAC, Exchange.MACS[0])

    def post():
        guest.rx.publish(guest.rx.used_idx() + SIZE)
        guest.kick(0)
        return closed(guest.sock)

    until(lambda: post() or guest.rx.used_idx() > 2 * SIZE, "traffic to the guest")
    with closes(world.switch, guest.sock):
        cut(guest, page_of(guest, guest.rx))
        until(post, "the connection is closed")
    guest.close()


def test_sent_frames_are_cut(world):
    guest = Talker(world.evil, MAC, Exchange.MACS[0])
    publish, guest.tx.publish = guest.tx.publish, lambda _idx: None
    guest.send(SIZE // 4)
    with closes(world.switch, guest.sock):
        cut(guest, page_of(guest, guest.tx))
        publish(SIZE // 4)
        guest.kick(1)
    guest.close()


def test_the_control_thread_finds_it_cut(world):
    """No core has touched it: the ring is about to start, and reads where it stood."""
    for end in (0, mmap.PAGESIZE):
        guest = Guest()
        rings = {i: Ring(guest, SIZE) for i in (0, 1)}
        events = {i: (os.eventfd(0), os.eventfd(0)) for i in rings}
        with meet(world.evil) as sock, closes(world.switch, sock):
            for data, fds in fe.set_up(guest, rings, MODERN | bits(30), events):
                push(sock, data, fds)
                if data[0] == Request.SET_MEM_TABLE:
                    push(sock, fe.message(Request.GET_FEATURES))
                    assert len(sock.recv(20, socket.MSG_WAITALL)) == 20, "it is mapped"
                    os.ftruncate(guest.regions[0].fd, end)
        guest.close()
        for fd in (*events[0], *events[1]):
            os.close(fd)


def test_a_packet_out_to_cut_buffers(world):
    """The control thread itself copies the packet into the guest's memory."""
    guest = Talker(world.evil, MAC, Exchange.MACS[0])
    with closes(world.switch, guest.sock):
        cut(guest, page_of(guest, guest.rx))
        packet = "ffffffffffff" + MAC + "88b5" + "00" * 2000
        world.switch.ofctl("packet-out", BR, f"packet={packet},actions=output:3")
    guest.close()


class HugeRegion(Region):
    def __post_init__(self):
        self.fd = os.memfd_create("guest", os.MFD_HUGETLB)
        os.ftruncate(self.fd, self.size)
        self.map = mmap.mmap(self.fd, self.size)
        self.halves = memoryview(self.map).cast("H")


def test_huge_pages_are_cut_under_traffic(world, flood, monkeypatch):
    need.need_hugepages(8)
    monkeypatch.setattr("fakes.mock_guest.Region", HugeRegion)
    for _ in range(3):
        guest = Talker(world.evil, MAC, Exchange.MACS[0])
        assert isinstance(guest.guest.regions[0], HugeRegion)
        until(lambda guest=guest: guest.rx.used_idx() > 0, "traffic to the guest")
        with closes(world.switch, guest.sock):
            cut(guest, 0)
        guest.close()
    monkeypatch.undo()


def test_a_client_port_comes_back_with_good_memory(world):
    path = world.place / "listen"
    name = "evilc"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(30)
        world.switch.add_vhost(BR, name, 4, client=path)
        try:
            for _ in range(2):
                bad = fe.FrontEnd(listener.accept()[0])
                bad.start()
                os.ftruncate(bad.guest.regions[0].fd, 0)
                assert bad.sock.recv(1) == b""
                bad.close()
            good = fe.FrontEnd(listener.accept()[0])
            good.start()
            good.rings[1].send(bytes.fromhex("ffffffffffff" + MAC) + bytes(50))
            os.eventfd_write(good.events[1][0], 1)
            until(lambda: good.rings[1].used_idx() == 1, "the frame is taken")
            good.close()
        finally:
            world.switch.vsctl("del-port", name)
            path.unlink()


def test_a_daemon_with_faulthandler(tmp_path):
    """Python's own handler of SIGBUS is there first."""
    with Switch(tmp_path / "s", env={"PYTHONFAULTHANDLER": "1"}) as switch:
        switch.add_bridge("xgd1")
        path = switch.add_vhost("xgd1", EVIL, 1)
        for _ in range(2):
            guest = Talker(path, MAC, Exchange.MACS[0])
            with closes(switch, guest.sock):
                cut(guest, 0)
            guest.close()
        switch.child.check_alive()
