"""The session over the real datapath: negotiation, starting and stopping rings, memory changes, nothing leaked."""

import os
import struct

import pytest
from fakes import front_end as fe
from fakes.mock_guest import MODERN, Guest, Region, Ring, bits

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.features import DEFAULT
from vswitchd.ports.vhostuser.messages import HEADER, Request
from vswitchd.ports.vhostuser.session import Session

FEATURES = MODERN | bits(30)


def open_fds():
    return len(os.listdir("/proc/self/fd"))


def mappings():
    with open("/proc/self/maps") as lines:
        return sum("memfd:guest" in line for line in lines)


class Bench:
    """A session on a real port, and a guest."""

    def __init__(self, guest=None, size=64):
        self.others = mappings()
        self.handle = lib.vs_vhost_new(b"bench")
        self.device = CoreDevice("bench", self.handle)
        self.session = Session(self.device, DEFAULT)
        self.guest = guest or Guest()
        self.rings = {i: Ring(self.guest, size) for i in (0, 1)}
        self.counters = ffi.new("struct vs_port_counters *")
        self.frames, self.lens = ffi.new("uint8_t[]", 32 * 2048), ffi.new("uint32_t[32]")
        self.eventfds = {i: (os.eventfd(0), os.eventfd(0)) for i in self.rings}

    def send(self, data, fds=()):
        """Feed a message with copies of the descriptors, as the kernel would hand them over."""
        out, copies = b"", [os.dup(fd) for fd in fds]
        while data:
            n = self.session.wanted
            out += self.session.receive(data[:n], copies)
            data, copies = data[n:], []
        return out

    def ask(self, request, payload=b"", fds=(), flags=1):
        return self.send(fe.message(request, payload, flags=flags), fds)

    def start(self, features=FEATURES):
        for data, fds in fe.set_up(self.guest, self.rings, features, self.eventfds):
            assert self.send(data, fds) == b""

    def rx(self):
        got = lib.vs_port_test_rx(self.handle, 0, 32, self.frames, 2048, self.lens, self.counters)
        return [bytes(ffi.buffer(self.frames + 2048 * i, self.lens[i])) for i in range(got)]

    def mappings(self):
        return mappings() - self.others

    def close(self):
        self.session.close()
        lib.vs_port_destroy(self.handle)
        self.guest.close()
        for pair in self.eventfds.values():
            for fd in pair:
                os.close(fd)


@pytest.fixture
def bench():
    before = open_fds(), mappings()
    made = []

    def make(**how):
        made.append(Bench(**how))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert (open_fds(), mappings()) == before


def value(answer):
    assert HEADER.unpack_from(answer)[1:] == (5, 8)
    return struct.unpack_from("=Q", answer, 12)[0]


def test_questions(bench):
    b = bench()
    assert value(b.ask(Request.GET_FEATURES)) == DEFAULT.virtio
    assert value(b.ask(Request.GET_PROTOCOL_FEATURES)) == DEFAULT.protocol
    b.ask(Request.SET_PROTOCOL_FEATURES, fe.u64(DEFAULT.protocol))
    assert value(b.ask(Request.GET_QUEUE_NUM)) == 64
    assert value(b.ask(Request.GET_MAX_MEM_SLOTS)) == 32
    assert value(b.ask(Request.SET_STATUS, fe.u64(15), flags=9)) == 0
    assert value(b.ask(Request.GET_STATUS)) == 15


def test_frames_pass_once_all_is_set(bench):
    """What waits on a ring that was not enabled yet waits on: after a restart of ours it must not be lost."""
    b = bench()
    b.rings[1].send(b"w" * 60)
    for data, fds in fe.set_up(b.guest, b.rings, FEATURES, b.eventfds):
        assert b.rx() == []
        assert b.session.discarding == set()
        b.send(data, fds)
    assert b.session.running == {0, 1}
    b.rings[1].send(b"x" * 60)
    assert b.rx() == [b"w" * 60, b"x" * 60]


def test_without_protocol_features_rings_are_enabled_at_once(bench):
    b = bench()
    b.start(MODERN)
    assert b.session.running == {0, 1}
    with pytest.raises(ProtocolError, match="PROTOCOL_FEATURES was not negotiated"):
        b.ask(Request.SET_VRING_ENABLE, fe.state(0, 1))


def test_disable_and_enable_keep_the_place(bench):
    b = bench()
    b.start()
    b.rings[1].send(b"a" * 60)
    assert b.rx() == [b"a" * 60]
    b.ask(Request.SET_VRING_ENABLE, fe.state(1, 0))
    assert (b.session.running, b.session.discarding) == ({0}, {1})
    b.rings[1].send(b"b" * 60)
    assert b.rx() == []
    assert b.rings[1].used_idx() == 2
    b.ask(Request.SET_VRING_ENABLE, fe.state(1, 1))
    b.rings[1].send(b"c" * 60)
    assert b.rx() == [b"c" * 60]
    b.rings[0].post(2000)
    b.ask(Request.SET_VRING_ENABLE, fe.state(0, 0))
    assert (b.session.running, b.session.discarding) == ({1}, set())


def test_get_vring_base_stops_exactly(bench):
    b = bench()
    b.start()
    for i in range(5):
        b.rings[1].send(bytes([i]) * 60)
    assert len(b.rx()) == 5
    b.rings[1].send(b"c" * 60)
    answer = b.ask(Request.GET_VRING_BASE, fe.state(1, 0))
    assert struct.unpack_from("=II", answer, 12) == (1, 5)
    assert b.session.running == {0}
    assert b.rx() == []
    assert b.rings[1].used_idx() == 5
    b.ask(Request.SET_VRING_BASE, fe.state(1, 5))
    b.ask(Request.SET_VRING_KICK, fe.u64(1), [b.eventfds[1][0]])
    assert b.rx() == [b"c" * 60]


def test_kick_without_descriptor_means_polling(bench):
    b = bench()
    b.start()
    b.ask(Request.SET_VRING_KICK, fe.u64(1 | 1 << 8))
    assert b.session.running == {0, 1}
    assert lib.vs_port_test_rx_fd(b.handle, 0) == -1
    assert lib.vs_port_test_arm(b.handle, 0) == 1


def test_call_is_swapped_while_running(bench):
    b = bench()
    b.start()
    fresh = os.eventfd(0, os.EFD_NONBLOCK)
    b.ask(Request.SET_VRING_CALL, fe.u64(1), [fresh])
    assert os.eventfd_read(fresh) == 1  # in case that the old one was heard by nobody
    b.rings[1].send(b"x" * 60)
    b.rx()
    assert os.eventfd_read(fresh) == 1
    b.ask(Request.SET_VRING_CALL, fe.u64(1 | 1 << 8))
    b.rings[1].send(b"x" * 60)
    b.rx()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fresh)
    os.close(fresh)


def test_features_change_the_header(bench):
    b = bench()
    b.start()
    b.ask(Request.SET_FEATURES, fe.u64(bits(30)))
    b.rings[1].send(b"x" * 60, header=bytes(10))
    assert b.rx() == [b"x" * 60]


def test_new_memory_table_restarts_rings(bench):
    b = bench()
    b.start()
    b.rings[1].send(b"x" * 60)
    assert b.rx() == [b"x" * 60]
    b.rings[1].send(b"y" * 60)
    assert b.mappings() == 2  # the guest's and ours
    b.ask(Request.SET_MEM_TABLE, fe.memory(b.guest), [r.fd for r in b.guest.regions])
    assert b.mappings() == 2
    assert b.rx() == [b"y" * 60]


def test_slots_are_added_and_removed(bench):
    b = bench(
        guest=Guest([Region(0, 0x10000000, 1 << 20), Region(1 << 20, 0x20000000, 1 << 20, offset=8192)])
    )
    b.start()
    extra = Region(1 << 30, 0x30000000, 1 << 20)
    payload = fe.region(extra.gpa, extra.size, extra.uva, 0)
    assert value(b.ask(Request.ADD_MEM_REG, payload, [extra.fd], flags=9)) == 0
    b.guest.regions.append(extra)
    assert b.session.running == {0, 1}
    b.guest.write(extra.gpa, bytes(12) + b"z" * 60)
    b.rings[1].set_desc(9, extra.gpa, 72)
    b.rings[1].offer(9)
    assert b.rx() == [b"z" * 60]
    assert value(b.ask(Request.REM_MEM_REG, payload, flags=9)) == 0
    b.rings[1].offer(9)
    assert b.rx() == []
    assert value(b.ask(Request.REM_MEM_REG, payload, flags=9)) == 1
    first = fe.region(0, 1 << 20, 0x10000000, 0)
    b.ask(Request.REM_MEM_REG, first)
    assert b.session.running == set()  # the rings were in there
    b.ask(Request.ADD_MEM_REG, first, [b.guest.regions[0].fd])
    assert b.session.running == {0, 1}


def test_slots_from_nothing(bench):
    b = bench()
    b.ask(Request.SET_PROTOCOL_FEATURES, fe.u64(DEFAULT.protocol))
    region = b.guest.regions[0]
    payload = fe.region(region.gpa, region.size, region.uva, region.offset)
    b.ask(Request.ADD_MEM_REG, payload, [region.fd])
    b.ask(Request.REM_MEM_REG, payload, [region.fd])  # the stray descriptor is closed
    assert b.session.state.memory is None


@pytest.mark.parametrize("request_", [Request.RESET_OWNER, Request.RESET_DEVICE, Request.SET_STATUS])
def test_resets_stop_all_rings(bench, request_):
    b = bench()
    b.start()
    b.ask(request_, fe.u64(0) if request_ is Request.SET_STATUS else b"")
    assert b.session.running == set()
    b.start()
    assert b.session.running == {0, 1}
    b.rings[1].send(b"x" * 60)
    assert b.rx() == [b"x" * 60]


def test_need_reply_is_acknowledged_only_when_negotiated(bench):
    b = bench()
    assert b.ask(Request.SET_OWNER, flags=9) == b""
    b.ask(Request.SET_PROTOCOL_FEATURES, fe.u64(DEFAULT.protocol))
    assert value(b.ask(Request.SET_OWNER, flags=9)) == 0
    assert b.ask(Request.SET_OWNER) == b""
    assert value(b.ask(Request.SET_FEATURES, fe.u64(1 << 10), flags=9)) == 1
    assert value(b.ask(999, b"abc", flags=9)) == 1
    with pytest.raises(ProtocolError, match="request 999: unknown"):
        b.ask(999, b"abc")


def test_mtu_is_noted(bench):
    b = bench()
    b.ask(Request.SET_PROTOCOL_FEATURES, fe.u64(DEFAULT.protocol))
    assert value(b.ask(Request.NET_SET_MTU, fe.u64(9000), flags=9)) == 0
    assert b.device.guest_mtu == 9000
    assert value(b.ask(Request.NET_SET_MTU, fe.u64(67), flags=9)) == 1
    assert b.device.guest_mtu == 9000


def test_close_is_idempotent(bench):
    b = bench()
    b.start()
    b.session.close()
    assert b.session.running == set()
    assert b.mappings() == 1
    b.session.close()


def test_a_broken_ring_recovers_when_set_up_anew(bench):
    b = bench()
    b.start()
    b.rings[1].publish(5000)
    assert b.rx() == []
    assert b.device.info(1).broken
    b.rings[1].publish(b.rings[1].seen)
    b.ask(Request.GET_VRING_BASE, fe.state(1, 0))
    b.ask(Request.SET_VRING_KICK, fe.u64(1), [b.eventfds[1][0]])
    b.rings[1].send(b"x" * 60)
    assert b.rx() == [b"x" * 60]


def test_reset_device_keeps_memory_and_call(bench):
    b = bench()
    b.start()
    memory, call = b.session.state.memory, b.session.state.ring(1).call
    b.ask(Request.RESET_DEVICE)
    assert b.session.state.memory is memory
    assert b.session.state.ring(1).call == call
    assert b.session.state.features is None


def test_rings_may_be_enabled_before_features_are_set(bench):
    """QEMU does so when it attaches a queue."""
    b = bench()
    b.ask(Request.SET_VRING_ENABLE, fe.state(0, 1))
    assert b.session.state.ring(0).enabled


def test_a_ring_that_does_not_translate_starts_when_its_address_is_mended(bench, caplog):
    b = bench()
    steps = list(fe.set_up(b.guest, b.rings, FEATURES, b.eventfds))
    wrong = fe.message(Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 1, 0, 4096, 4096, 4096, 0))
    for data, fds in steps:
        b.send(wrong if data[:16] == wrong[:16] else data, fds)
    b.ask(Request.GET_FEATURES)
    b.ask(Request.SET_VRING_BASE, fe.state(0, 0))
    assert b.session.running == {0}
    assert [r.message for r in caplog.records] == ["bench: ring 1 does not start: Bad address"]
    b.ask(Request.SET_VRING_ADDR, fe.addr(b.guest, 1, b.rings[1]))
    assert b.session.running == {0, 1}
