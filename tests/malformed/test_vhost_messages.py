"""Malformed vhost-user messages, generated from the message table.

Invariant: a bad message ends in ProtocolError (or a refusal, when one was asked for), the state is the same object as before, and
no descriptor that came with it stays open.
"""

import os
import socket
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contextlib

from fakes import front_end as fe
from fakes.mock_guest import MODERN, Guest, Region, Ring, bits
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.features import DEFAULT, Protocol, Virtio, mask
from vswitchd.ports.vhostuser.frames import MAX_FDS
from vswitchd.ports.vhostuser.messages import HEADER, MAX_PAYLOAD, TABLE, Answer, Fds, Payload, Request
from vswitchd.ports.vhostuser.session import Session
from vswitchd.ports.vhostuser.state import MAX_RINGS

BASE = 0x7F0000000000
SIZE = 8 << 20
ROWS = list(TABLE.values())
IDS = [row.request.name for row in ROWS]
NEED_REPLY = 8
# Every feature that a row needs, whether ports offer it or not.
NEEDED = {feature for row in ROWS for feature in (row.feature, row.protocol) if feature is not None}
OFFER = DEFAULT.plus({*NEEDED, Virtio.LOG_ALL, Virtio.RING_PACKED})


def valid_payload(row, index=0):
    """A payload that the row accepts; GET_* of rings included."""
    special = {
        Request.NET_SET_MTU: fe.u64(1500),
        Request.SET_FEATURES: fe.u64(bits(30, 32)),
        Request.SET_PROTOCOL_FEATURES: fe.u64(OFFER.protocol),
        Request.SET_STATUS: fe.u64(4),
        Request.SEND_RARP: b"\x02\0\0\0\0\1\0\0",
        Request.VRING_KICK: fe.state(index, 0),
        Request.GET_INFLIGHT_FD: fe.inflight_area(0, 0, 2, 64),
        Request.ADD_MEM_REG: fe.region(1 << 32, SIZE, 1 << 45, 0),  # beside the one that is there
        Request.REM_MEM_REG: fe.region(0, SIZE, BASE, 0),  # the one that is there
    }
    common = {
        Payload.EMPTY: b"",
        Payload.STATE: fe.state(index, 1),
        Payload.ADDR: struct.pack("=IIQQQQ", index, 0, BASE + 0x10000, BASE + 0x30000, BASE + 0x20000, 0),
        Payload.VRING_FD: fe.u64(index),
        Payload.MEMORY: struct.pack("=IIQQQQ", 1, 0, 0, SIZE, BASE, 0),
        Payload.LOG: fe.log_area(4096),
        Payload.IOTLB: fe.iotlb(fe.INVALIDATE, 0, 4096),
        Payload.INFLIGHT: fe.inflight_area(65536, 0, 2, 64),
    }
    return special[row.request] if row.request in special else common[row.payload]


def valid_fds(row):
    return {Fds.ONE: 1, Fds.UNLESS_NOFD: 1, Fds.PER_REGION: 1}.get(row.fds, 0)


class Victim:
    """A session with running rings, on a real port."""

    def __init__(self):
        self.handle = lib.vs_vhost_new(b"victim")
        self.session = Session(CoreDevice("victim", self.handle), OFFER)
        self.guest = Guest([Region(0, BASE, SIZE)])
        self.rings = {i: Ring(self.guest, 64) for i in (0, 1)}
        self.events = {i: (os.eventfd(0), os.eventfd(0)) for i in self.rings}
        self.socks = socket.socketpair()
        for data, fds in fe.set_up(self.guest, self.rings, MODERN | bits(30), self.events, OFFER.protocol):
            self.feed(data, fds)
        assert self.session.running == {0, 1}

    def file(self, row):
        """A descriptor of the kind that the row wants."""
        if row.request is Request.SET_BACKEND_REQ_FD:
            return self.socks[1].fileno()
        shared = (Payload.MEMORY, Payload.REGION, Payload.LOG, Payload.INFLIGHT)
        return self.guest.regions[0].fd if row.payload in shared else self.events[0][0]

    def negotiate(self, row):
        """Take the feature that the row needs, if it is not there; and what must come before it."""
        if (
            row.request in (Request.POSTCOPY_LISTEN, Request.POSTCOPY_END)
            and self.session.state.postcopy is None
        ):
            self.feed(fe.message(Request.POSTCOPY_ADVISE))
        if row.feature is not None and not self.session.state.negotiated(row.feature):
            self.feed(fe.message(Request.SET_FEATURES, fe.u64(MODERN | bits(30, row.feature))))

    def feed(self, data, fds=(), step=None):
        out, copies = b"", [os.dup(fd) for fd in fds]
        while data:
            n = min(self.session.wanted, step or len(data))
            out += self.session.receive(data[:n], copies)
            data, copies = data[n:], []
        return out

    def close(self):
        self.session.close()
        for sock in self.socks:
            sock.close()
        lib.vs_port_destroy(self.handle)
        self.guest.close()
        for pair in self.events.values():
            for fd in pair:
                os.close(fd)


@pytest.fixture
def victim():
    before = set(os.listdir("/proc/self/fd"))
    one = Victim()
    yield one
    one.close()
    assert set(os.listdir("/proc/self/fd")) == before


def refused(victim, data, fds=(), *, nak=None):
    """The message must be refused, alone: by closing, or (nak: its number) by an answer."""
    state, running = victim.session.state, victim.session.running
    open_before = len(os.listdir("/proc/self/fd"))
    if nak is None:
        with pytest.raises(ProtocolError):
            victim.feed(data, fds)
    else:
        answer = victim.feed(data, fds)
        assert answer == HEADER.pack(nak, 5, 8) + fe.u64(1)
    assert victim.session.state is state
    assert victim.session.running == running
    assert len(os.listdir("/proc/self/fd")) == open_before


def refused_both_ways(victim, row, payload, fds):
    """Refused by an answer when one is asked for (or always given), and by closing when not."""
    if row.answer.may_refuse(asked=True):
        refused(victim, fe.message(row.request, payload, flags=1 | NEED_REPLY), fds, nak=row.request)
    nak = row.request if row.answer.may_refuse(asked=False) else None
    refused(victim, fe.message(row.request, payload), fds, nak=nak)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_valid_message_is_taken(victim, row):
    """What the other cases change is right to begin with."""
    victim.negotiate(row)
    fds = [victim.file(row)] * valid_fds(row)
    answer = victim.feed(fe.message(row.request, valid_payload(row)), fds)
    fixed = {
        Answer.ACK: b"",
        Answer.EMPTY: HEADER.pack(row.request, 5, 0),
        Answer.RESULT: HEADER.pack(row.request, 5, 8) + fe.u64(0),
    }
    assert answer == fixed.get(row.answer, answer)
    assert bool(answer) == (row.answer is not Answer.ACK)
    if row.answer in (Answer.ACK, Answer.EMPTY, Answer.RESULT):
        again = fe.message(row.request, valid_payload(row), flags=1 | NEED_REPLY)
        once = (Request.ADD_MEM_REG, Request.REM_MEM_REG, Request.RESET_DEVICE, Request.POSTCOPY_END)
        if row.request not in once:
            assert victim.feed(again, fds) == HEADER.pack(row.request, 5, 8) + fe.u64(0)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_wrong_size(victim, row):
    victim.negotiate(row)
    payload, fds = valid_payload(row), [victim.file(row)] * valid_fds(row)
    wrong = {payload + b"\0", payload + bytes(64), payload[:-1], payload[:4], b""} - {payload}
    for bad in sorted(wrong):
        refused_both_ways(victim, row, bad, fds)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("flags", [0, 2, 3, 1 | 4, 1 | 16, 1 | 1 << 31])
def test_wrong_flags(victim, row, flags):
    refused(
        victim, fe.message(row.request, valid_payload(row), flags=flags), [victim.file(row)] * valid_fds(row)
    )


@pytest.mark.parametrize("size", [MAX_PAYLOAD + 1, 0x2000, 2**31, 2**32 - 1])
@pytest.mark.parametrize("row", ROWS[:6], ids=IDS[:6])
def test_impossible_size_is_refused_with_the_header(victim, row, size):
    refused(victim, fe.message(row.request, size=size), [victim.file(row)])


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_wrong_number_of_descriptors(victim, row):
    victim.negotiate(row)
    right = {valid_fds(row)} | ({1} if row.fds is Fds.ONE_OR_NONE else set())
    for n in sorted({0, 1, 2, 8, 9, MAX_FDS} - right):
        refused_both_ways(victim, row, valid_payload(row), [victim.file(row)] * n)


def test_more_descriptors_than_any_message_has(victim):
    refused(victim, fe.message(Request.GET_FEATURES), [victim.events[0][0]] * (MAX_FDS + 1))


@pytest.mark.parametrize("row", [r for r in ROWS if r.fds is Fds.UNLESS_NOFD], ids=lambda r: r.request.name)
def test_nofd_with_descriptor_and_unknown_ring_bits(victim, row):
    refused_both_ways(victim, row, fe.u64(1 << 8), [victim.file(row)])
    refused_both_ways(victim, row, fe.u64(0), [])
    for bit in (9, 16, 32, 63):
        refused_both_ways(victim, row, fe.u64(1 << bit), [victim.file(row)])


@pytest.mark.parametrize("row", [r for r in ROWS if r.names_ring], ids=lambda r: r.request.name)
@pytest.mark.parametrize("index", [MAX_RINGS, MAX_RINGS + 1, 255, 1 << 16, 2**32 - 1])
def test_ring_out_of_range(victim, row, index):
    """CVE-2020-10723 was an index cut to 16 bits."""
    fds = [victim.file(row)] * valid_fds(row)
    refused_both_ways(victim, row, valid_payload(row, index), fds)


@pytest.mark.parametrize("row", [r for r in ROWS if r.protocol is not None], ids=lambda r: r.request.name)
def test_protocol_feature_not_negotiated(victim, row):
    left = OFFER.without([row.protocol]).protocol
    victim.feed(fe.message(Request.SET_PROTOCOL_FEATURES, fe.u64(left)))
    refused_both_ways(victim, row, valid_payload(row), [victim.file(row)] * valid_fds(row))


@pytest.mark.parametrize("row", [r for r in ROWS if r.feature is not None], ids=lambda r: r.request.name)
def test_feature_not_negotiated(victim, row):
    victim.feed(fe.message(Request.SET_FEATURES, fe.u64(MODERN)))
    refused_both_ways(victim, row, valid_payload(row), [victim.file(row)] * valid_fds(row))


@pytest.mark.parametrize("request_", [*sorted({*range(64)} - {*TABLE}), 1000, 2**32 - 1])
def test_unknown_request(victim, request_):
    fds = [victim.events[0][0]]
    refused(victim, fe.message(request_, b"abcd", flags=9), fds, nak=request_)
    refused(victim, fe.message(request_, b"abcd"), fds)


@pytest.mark.parametrize(
    ("request_", "payload"),
    [
        *[(Request.SET_FEATURES, fe.u64(1 << n)) for n in range(64) if not OFFER.virtio >> n & 1],
        (Request.SET_FEATURES, fe.u64(mask(Virtio.RING_PACKED))),  # without VERSION_1
        *[(Request.SET_PROTOCOL_FEATURES, fe.u64(1 << n)) for n in range(64) if not OFFER.protocol >> n & 1],
        (Request.SET_PROTOCOL_FEATURES, fe.u64(2**64 - 1)),
        *[(Request.SET_VRING_NUM, fe.state(0, n)) for n in (0, 3, 255, 32769, 65536, 2**31, 2**32 - 1)],
        *[(Request.SET_VRING_BASE, fe.state(0, n)) for n in (65536, 2**32 - 1)],
        *[(Request.SET_VRING_ENABLE, fe.state(0, n)) for n in (2, 2**32 - 1)],
        *[(Request.NET_SET_MTU, fe.u64(n)) for n in (0, 67, 65536, 2**64 - 1)],
        (Request.SET_STATUS, fe.u64(256)),
        *[
            (Request.SEND_RARP, bytes.fromhex(mac) + bytes(2))
            for mac in ("000000000000", "ffffffffffff", "010000000001")
        ],
        *[(Request.VRING_KICK, fe.state(0, n)) for n in (1, 2**32 - 1)],
        (Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 2, BASE, BASE, BASE, 0)),
        (Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, BASE + 8, BASE, BASE, 0)),
        (Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, BASE, BASE + 2, BASE, 0)),
        (Request.SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, BASE, BASE, BASE + 1, 0)),
        (Request.REM_MEM_REG, fe.region(0, SIZE, BASE + 4096, 0)),
        (Request.POSTCOPY_LISTEN, b""),  # without POSTCOPY_ADVISE
        (Request.POSTCOPY_END, b""),
        # what confirms a memory table in post-copy, when there is none to confirm
        (Request.SET_MEM_TABLE, fe.u64(0)),
        (Request.ADD_MEM_REG, fe.u64(0)),
        (Request.REM_MEM_REG, fe.u64(0)),
    ],
)
def test_values_out_of_range(victim, request_, payload):
    refused_both_ways(victim, TABLE[request_], payload, [])


TOP = 2**64


@pytest.mark.parametrize(
    "area",
    [
        (0, 0),
        (0, 4096),
        (SIZE + 1, 0),
        (SIZE, 1),
        (1, SIZE),
        (4096, TOP - 4096),
        (TOP - 1, 1),
        (TOP - 1, TOP - 1),
    ],
)
def test_areas_outside_their_file(victim, area):
    """CVE-2020-10722 again: the sum of size and offset of the log wrapped."""
    fd = victim.guest.regions[0].fd
    refused_both_ways(victim, TABLE[Request.SET_LOG_BASE], fe.log_area(*area), [fd])
    refused_both_ways(victim, TABLE[Request.SET_INFLIGHT_FD], fe.inflight_area(*area, 2, 64), [fd])


@pytest.mark.parametrize(
    "shape", [(0, 64), (MAX_RINGS + 1, 64), (0xFFFF, 64), (2, 0), (2, 32769), (2, 0xFFFF), (128, 32768)]
)
def test_impossible_records_of_chains_in_flight(victim, shape):
    if shape != (MAX_RINGS, 32768):  # that one is only too long for this file
        refused_both_ways(victim, TABLE[Request.GET_INFLIGHT_FD], fe.inflight_area(0, 0, *shape), [])
    fd = victim.guest.regions[0].fd
    refused_both_ways(victim, TABLE[Request.SET_INFLIGHT_FD], fe.inflight_area(SIZE, 0, *shape), [fd])


def test_a_record_too_short_for_its_rings(victim):
    fd = victim.guest.regions[0].fd
    refused_both_ways(victim, TABLE[Request.SET_INFLIGHT_FD], fe.inflight_area(64, 0, 2, 64), [fd])


@pytest.mark.parametrize(
    "payload",
    [
        *[fe.iotlb(kind, 0, 4096, BASE, 3) for kind in (0, 1, 4, 5, 255)],
        *[fe.iotlb(fe.UPDATE, 0, 4096, BASE, perm) for perm in (0, 4, 7, 255)],
        fe.iotlb(fe.UPDATE, 0, 0, BASE, 3),
        fe.iotlb(fe.UPDATE, TOP - 4096, 8192, BASE, 3),
        fe.iotlb(fe.UPDATE, 0, 8192, TOP - 4096, 3),
        fe.iotlb(fe.UPDATE, 0, TOP - 1, BASE, 3),
        fe.iotlb(fe.UPDATE, 0, 4096, BASE - 1, 3),
        fe.iotlb(fe.UPDATE, 0, 4096, BASE + SIZE - 1, 3),
        fe.iotlb(fe.UPDATE, 0, SIZE + 1, BASE, 3),
        fe.iotlb(fe.UPDATE, 0, 4096, 0, 3),
    ],
)
def test_bad_translations(victim, payload):
    row = TABLE[Request.IOTLB_MSG]
    victim.negotiate(row)
    refused_both_ways(victim, row, payload, [])


@pytest.mark.parametrize(
    "left",
    [mask(Protocol.REPLY_ACK), mask(Protocol.BACKEND_REQ), 0],
    ids=["no channel", "no acks", "neither"],
)
def test_inband_notifications_need_channel_and_acks(victim, left):
    """The connection is closed, also when an answer is wanted: there is no other way to tell (In-band notifications)."""
    payload = fe.u64(left | mask(Protocol.INBAND_NOTIFICATIONS))
    refused(victim, fe.message(Request.SET_PROTOCOL_FEATURES, payload, flags=1 | NEED_REPLY))


@pytest.mark.parametrize(
    "kind", ["pipe", "null", "memory", "directory", "socket", "listening", "datagram", "tcp", "eventfd"]
)
def test_channels_that_are_none(victim, kind):
    fd = other_file(kind)
    refused_both_ways(victim, TABLE[Request.SET_BACKEND_REQ_FD], b"", [fd])
    os.close(fd)


@pytest.mark.parametrize("kind", ["pipe", "null", "socket", "directory"])
@pytest.mark.parametrize("request_", [Request.SET_LOG_BASE, Request.SET_INFLIGHT_FD])
def test_shared_areas_that_are_no_memory(victim, request_, kind):
    fd = other_file(kind)
    refused_both_ways(victim, TABLE[request_], valid_payload(TABLE[request_]), [fd])
    os.close(fd)


def test_the_channel_is_set_not_to_block(victim):
    row = TABLE[Request.SET_BACKEND_REQ_FD]
    victim.socks[1].setblocking(True)
    victim.feed(fe.message(row.request), [victim.file(row)])
    assert not os.get_blocking(victim.socks[1].fileno())


BAD_REGIONS = {
    "empty": [(0, 0, BASE, 0)],
    "guest wraps": [(TOP - 4096, SIZE, BASE, 0)],
    "guest ends at the top": [(TOP - SIZE, SIZE, BASE, 0)],
    "user wraps": [(0, SIZE, TOP - 4096, 0)],
    "file wraps": [(0, SIZE, BASE, TOP - 4096)],
    "size of everything": [(0, TOP - 1, BASE, 0)],
    "longer than the file": [(0, SIZE + 1, BASE, 0)],
    "behind the file": [(0, 4096, BASE, SIZE)],
    "offset past the file": [(0, SIZE, BASE, 4096)],
    "same twice": [(0, 4096, BASE, 0)] * 2,
    "guest overlap by a byte": [(0, 4096, BASE, 0), (4095, 4096, BASE + 8192, 0)],
    "user overlap by a byte": [(0, 4096, BASE, 0), (8192, 4096, BASE + 4095, 0)],
    "one inside another": [(0, 65536, BASE, 0), (4096, 4096, 1 << 40, 0)],
    "second one bad": [(0, 4096, BASE, 0), (8192, SIZE + 1, BASE + SIZE, 0)],
}


@pytest.mark.parametrize("rows", BAD_REGIONS.values(), ids=BAD_REGIONS)
def test_bad_regions(victim, rows):
    """CVE-2020-10722 was a wrapped offset + size; CVE-2018-1059 and others, regions longer than their file."""
    fields = [struct.pack("=QQQQ", gpa, size, uva, offset) for gpa, size, uva, offset in rows]
    payload = struct.pack("=II", len(rows), 0) + b"".join(fields)
    fds = [victim.guest.regions[0].fd] * len(rows)
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], payload, fds)
    gpa, size, uva, offset = rows[-1]
    if len(rows) == 1:
        victim.feed(fe.message(Request.REM_MEM_REG, fe.region(0, SIZE, BASE, 0)))
        refused_both_ways(victim, TABLE[Request.ADD_MEM_REG], fe.region(gpa, size, uva, offset), fds[:1])


@pytest.mark.parametrize("count", [0, 33, 255, 2**32 - 1])
def test_bad_region_count(victim, count):
    payload = struct.pack("=II", count, 0) + valid_payload(TABLE[Request.SET_MEM_TABLE])[8:]
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], payload, [victim.guest.regions[0].fd])


def test_the_33rd_slot(victim):
    fd = victim.guest.regions[0].fd
    for i in range(31):
        victim.feed(
            fe.message(Request.ADD_MEM_REG, fe.region(2**40 + i * 4096, 4096, 2**41 + i * 4096, 0)), [fd]
        )
    refused_both_ways(victim, TABLE[Request.ADD_MEM_REG], fe.region(2**42, 4096, 2**43, 0), [fd])


@pytest.mark.parametrize("kind", ["pipe", "null", "socket", "directory"])
def test_memory_that_is_no_memory(victim, kind):
    fd = other_file(kind)
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], valid_payload(TABLE[Request.SET_MEM_TABLE]), [fd])
    os.close(fd)


@pytest.mark.parametrize("kind", ["pipe", "null", "socket", "directory", "memory"])
@pytest.mark.parametrize(
    "request_", [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR, Request.SET_LOG_FD]
)
def test_events_that_are_no_eventfd(victim, request_, kind):
    """A core writes to it: it must never block, nor be a file that grows."""
    fd = other_file(kind)
    refused_both_ways(victim, TABLE[request_], valid_payload(TABLE[request_]), [fd])
    os.close(fd)


def other_file(kind):
    if kind == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        return writer
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            return os.dup(sock.fileno())
    if kind == "listening":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("")  # abstract
            sock.listen()
            return os.dup(sock.fileno())
    if kind == "datagram":
        one, other = socket.socketpair(type=socket.SOCK_DGRAM)
        other.close()
        return one.detach()
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            return socket.create_connection(server.getsockname()).detach()
    if kind == "eventfd":
        return os.eventfd(0)
    if kind == "memory":
        return os.memfd_create("x")
    return os.open("/dev/null" if kind == "null" else "/", os.O_RDONLY)


def test_memory_that_may_not_be_written(victim):
    fd = os.open(f"/proc/self/fd/{victim.guest.regions[0].fd}", os.O_RDONLY)
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], valid_payload(TABLE[Request.SET_MEM_TABLE]), [fd])
    os.close(fd)


def test_eventfds_are_set_not_to_block(victim):
    assert not os.get_blocking(victim.events[0][0])
    assert not os.get_blocking(victim.events[1][1])


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("fault", [False, True])
def test_split_at_every_byte(victim, row, fault):
    """The same outcome however the bytes arrive; descriptors come with the first."""
    victim.negotiate(row)
    payload = valid_payload(row) + (b"\0" if fault else b"")
    data, fds = fe.message(row.request, payload), [victim.file(row)] * valid_fds(row)
    if fault and row.answer.may_refuse(asked=False):
        assert victim.feed(data, fds, step=1) == HEADER.pack(row.request, 5, 8) + fe.u64(1)
    elif fault:
        with pytest.raises(ProtocolError):
            victim.feed(data, fds, step=1)
    else:
        victim.feed(data, fds, step=1)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_connection_lost_in_the_middle(victim, row):
    data, fds = fe.message(row.request, valid_payload(row)), [victim.file(row)] * valid_fds(row)
    victim.feed(data[:-1], fds)
    victim.session.close()


def test_many_descriptors_over_many_bytes(victim):
    """Descriptors trickle in with single bytes of one message: they are counted together."""
    data = fe.message(Request.GET_FEATURES)
    with pytest.raises(ProtocolError):
        for i in range(len(data)):
            victim.feed(data[i : i + 1], [victim.events[0][0]] * 4)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(ROWS), st.booleans(), st.binary(max_size=80), st.integers(0, 3)),
        max_size=30,
    )
)
def test_any_sequence_leaves_nothing_behind(steps):
    """Valid and random messages in any order: errors are ProtocolError, and closing frees everything."""
    before = len(os.listdir("/proc/self/fd"))
    victim = Victim()
    try:
        for row, valid, junk, n in steps:
            payload = valid_payload(row, n % 2) if valid else junk
            fds = [victim.file(row)] * (valid_fds(row) if valid else n)
            with contextlib.suppress(ProtocolError):
                victim.negotiate(row)
                victim.feed(fe.message(row.request, payload, flags=1 | (NEED_REPLY if n == 1 else 0)), fds)
    finally:
        victim.close()
    assert len(os.listdir("/proc/self/fd")) == before
