"""The session without a datapath: what it asks of the device, in which order, for each message that came with the whole protocol."""

import os
import struct

import pytest
from fakes import front_end as fe
from fakes.back_channel import VRING_CALL
from fakes.mock_guest import bits
from vhostuser_peer import BASE, OFFER, PACKED, PLAIN, SIZE, addr

from vswitchd.ports.vhostuser.features import Virtio, mask
from vswitchd.ports.vhostuser.messages import HEADER, Request

# Migration log


def log_fd():
    fd = os.memfd_create("log")
    os.ftruncate(fd, 4096)
    return fd


def set_log(peer):
    fd = log_fd()
    try:
        return peer.ask(Request.SET_LOG_BASE, fe.log_area(4096), [fd])
    finally:
        os.close(fd)


def test_log_base_is_answered_without_payload_and_acknowledged_when_asked(peer):
    peer.start()
    assert set_log(peer) == b""
    fd = log_fd()
    assert peer.result(Request.SET_LOG_BASE, fe.log_area(4096), [fd]) == 0
    os.close(fd)


def test_migration_restarts_rings_with_the_log_and_back(peer):
    """QEMU: SET_LOG_BASE, SET_FEATURES with LOG_ALL, SET_VRING_ADDR with the flag; and the other way round."""
    peer.start()
    set_log(peer)
    assert "stop" not in peer.device.names()
    peer.device.bases = {0: 7, 1: 9}
    peer.tell(Request.SET_FEATURES, fe.u64(PLAIN | bits(26)))
    assert peer.device.log("stop") == [[0, 1]]
    for index, spec, ring in peer.device.log("start"):
        assert spec.log is peer.session.state.log
        assert not spec.log_used
        assert ring.base == {0: 7, 1: 9}[index]
    peer.device.calls.clear()
    peer.tell(Request.SET_VRING_ADDR, addr(1, flags=1, log=0x5000))
    ((index, spec, ring),) = peer.device.log("start")
    assert (index, spec.log_used, ring.addr.log, ring.base) == (1, True, 0x5000, 9)
    peer.device.calls.clear()
    peer.tell(Request.SET_FEATURES, fe.u64(PLAIN))
    assert [spec.log for _, spec, _ in peer.device.log("start")] == [None, None]


def test_a_new_log_replaces_the_old_one_when_rings_have_left_it(peer):
    peer.start()
    set_log(peer)
    peer.tell(Request.SET_FEATURES, fe.u64(PLAIN | bits(26)))
    old = peer.session.state.log.handle
    peer.device.calls.clear()
    set_log(peer)
    names = peer.device.names()
    assert names.index("stop") < names.index("start") < names.index("free log")
    assert peer.device.log("free log") == [old]


def test_rings_that_must_be_logged_wait_for_the_log(peer):
    """QEMU sends it after the rings when it starts a device during a migration."""
    peer.start(PLAIN | bits(26))
    assert peer.session.running == set()
    set_log(peer)
    assert peer.session.running == {0, 1}


# Rings that are disabled; packed rings


def test_disabled_transmit_rings_of_the_guest_are_drained(peer):
    peer.start()
    for index in (0, 1):
        peer.tell(Request.SET_VRING_ENABLE, fe.state(index, 0))
    assert (peer.session.running, peer.session.discarding) == (set(), {1})
    ((index, spec, _),) = peer.device.log("start")
    assert (index, spec.discard) == (1, True)
    peer.tell(Request.GET_VRING_BASE, fe.state(1, 0))
    assert peer.session.discarding == set()


def test_without_protocol_features_nothing_is_discarded(peer):
    peer.tell(Request.SET_FEATURES, fe.u64(mask(Virtio.VERSION_1)))
    peer.tell(Request.SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, SIZE, BASE, 0), [peer.memory])
    peer.tell(Request.SET_VRING_NUM, fe.state(1, 64))
    peer.tell(Request.SET_VRING_ADDR, addr(1))
    peer.tell(Request.SET_VRING_KICK, fe.u64(1), [peer.eventfd()])
    assert (peer.session.running, peer.session.discarding) == ({1}, set())


def test_base_of_packed_rings(peer):
    """Available place and wrap counter below, used ones above (they are equal when a ring stands); only the lower are read."""
    peer.start(PACKED)
    peer.device.bases = {1: 0x80058005}
    assert peer.ask(Request.GET_VRING_BASE, fe.state(1, 0)) == fe.state(1, 0x80058005)
    peer.tell(Request.SET_VRING_BASE, fe.state(1, 0x00078003))
    assert peer.ask(Request.GET_VRING_BASE, fe.state(1, 0)) == fe.state(1, 0x80038003)
    peer.device.calls.clear()
    peer.tell(Request.SET_VRING_KICK, fe.u64(1), [peer.eventfd()])
    ((_, _, ring),) = peer.device.log("start")
    assert ring.base == 0x8003


@pytest.mark.parametrize("size", [1, 3, 1000, 32767, 32768])
def test_packed_rings_of_any_size(peer, size):
    peer.start(PACKED)
    assert peer.result(Request.SET_VRING_NUM, fe.state(0, size)) == 0
    peer.tell(Request.SET_FEATURES, fe.u64(PLAIN))
    assert peer.result(Request.SET_VRING_NUM, fe.state(0, size)) == (size & (size - 1) != 0)


@pytest.mark.parametrize("size", [0, 32769])
def test_packed_rings_of_no_size(peer, size):
    peer.start(PACKED)
    assert peer.result(Request.SET_VRING_NUM, fe.state(0, size)) == 1


def test_event_structures_of_packed_rings_are_aligned_to_four(peer):
    peer.start(PACKED)
    at = BASE + 0x20000
    assert peer.result(Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, at, at + 4, at + 8, 0)) == 0
    assert peer.result(Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, at, at + 4, at + 10, 0)) == 1
    peer.tell(Request.SET_FEATURES, fe.u64(PLAIN))
    assert peer.result(Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, at, at + 4, at + 10, 0)) == 0


# Small ones


def test_rarp(peer):
    peer.start()
    mac = bytes.fromhex("020000000001")
    assert peer.result(Request.SEND_RARP, mac + b"\xff\xff") == 0
    assert peer.device.log("rarp") == [mac]


def test_log_fd_is_taken_and_closed(peer):
    peer.start()
    before = len(os.listdir("/proc/self/fd"))
    assert peer.result(Request.SET_LOG_FD, fds=[peer.fds[0]]) == 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_inflight_record_is_made_and_used(peer):
    peer.start()
    payload = peer.ask(Request.GET_INFLIGHT_FD, fe.inflight_area(0, 0, 2, 64))
    (fd,) = peer.session.take_answer_fds()
    assert struct.unpack("=QQHH4x", payload) == (4096, 0, 2, 64)
    assert [spec.inflight is peer.session.state.inflight for _, spec, _ in peer.device.log("start")] == [
        True,
        True,
    ]
    peer.device.calls.clear()
    assert peer.result(Request.SET_INFLIGHT_FD, payload, [fd]) == 0
    names = peer.device.names()
    assert names.index("stop") < names.index("start") < names.index("free inflight")
    os.close(fd)


def test_inflight_payload_as_the_specification_draws_it(peer):
    """20 bytes, without the padding of QEMU's structure; the answer is as long as the question."""
    peer.start()
    answer = peer.ask(Request.GET_INFLIGHT_FD, struct.pack("=QQHH", 0, 0, 2, 64))
    assert struct.unpack("=QQHH", answer) == (4096, 0, 2, 64)


def test_answer_descriptors_nobody_took_are_closed_with_the_session(peer):
    peer.start()
    peer.ask(Request.GET_INFLIGHT_FD, fe.inflight_area(0, 0, 2, 64))  # the fixture counts descriptors


def test_rings_beyond_the_record_are_not_recorded(peer):
    peer.start(rings=(0, 1, 2, 3))
    peer.ask(Request.GET_INFLIGHT_FD, fe.inflight_area(0, 0, 2, 64))
    assert [index for index, _, _ in peer.device.log("start")] == [0, 1]


def test_device_reset_keeps_the_channel_and_drops_log_and_record(peer):
    peer.start()
    peer.channel()
    set_log(peer)
    peer.ask(Request.GET_INFLIGHT_FD, fe.inflight_area(0, 0, 2, 64))
    backend = peer.session.state.backend
    peer.tell(Request.RESET_DEVICE)
    state = peer.session.state
    assert (state.backend, state.log, state.inflight) == (backend, None, None)
    assert {"free log", "free inflight"} <= set(peer.device.names())


# In-band notifications


def test_inband_kick_starts_a_ring_and_wakes_it(peer):
    peer.start(rings=(), protocol=OFFER.protocol)
    peer.tell(Request.SET_VRING_NUM, fe.state(1, 64))
    peer.tell(Request.SET_VRING_ADDR, addr(1))
    peer.tell(Request.SET_VRING_ENABLE, fe.state(1, 1))
    assert peer.result(Request.VRING_KICK, fe.state(1, 0)) == 0
    assert peer.session.running == {1}
    ((_, spec, ring),) = peer.device.log("start")
    assert os.eventfd_read(spec.kick) == 1
    assert peer.session.own_events == {ring.call: ("call", 1), ring.err: ("err", 1)}
    peer.tell(Request.VRING_KICK, fe.state(1, 0))
    peer.tell(Request.VRING_KICK, fe.state(1, 0))
    assert os.eventfd_read(spec.kick) == 2
    assert peer.device.log("stop") == []


def test_descriptors_of_the_front_end_are_preferred_to_messages(peer):
    peer.start(protocol=OFFER.protocol)
    own = dict(peer.session.own_events)
    assert len(own) == 4
    call = peer.eventfd()
    peer.tell(Request.SET_VRING_CALL, fe.u64(1), [call])
    assert ("call", 1) not in peer.session.own_events.values()
    peer.tell(Request.SET_VRING_ERR, fe.u64(1 | 1 << 8))  # and who wants no errors gets none
    assert set(peer.session.own_events.values()) == {("call", 0), ("err", 0)}
    peer.ask(Request.GET_VRING_BASE, fe.state(1, 0))
    peer.tell(Request.VRING_KICK, fe.state(1, 0))
    assert set(peer.session.own_events.values()) == {("call", 0), ("err", 0)}


def test_calls_are_told_once_at_a_time(peer):
    peer.start(protocol=OFFER.protocol)
    peer.session.requests.call(1)  # nobody listens
    peer.channel()
    assert peer.told() == []
    for _ in range(3):
        peer.session.requests.call(1)
    peer.session.requests.call(0)
    assert peer.told() == [(VRING_CALL, 9, fe.state(1, 0)), (VRING_CALL, 9, fe.state(0, 0))]
    for _ in range(3):
        peer.session.requests.call(1)
    assert peer.told() == []  # one is under way
    peer.session.requests.receive(HEADER.pack(VRING_CALL, 5, 8) + fe.u64(0))
    assert peer.told() == [(VRING_CALL, 9, fe.state(1, 0))]
