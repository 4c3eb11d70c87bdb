"""Malformed vhost-user messages, generated from the message table.

Invariant: a bad message ends in ProtocolError (or a refusal, when one was asked for), the state is the same object as before, and
no descriptor that came with it stays open.
"""

import os
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import contextlib

from fakes import front_end as fe
from fakes.mock_guest import MODERN
from fakes.vhost_victim import (
    BASE,
    IDS,
    NEED_REPLY,
    OFFER,
    ROWS,
    SIZE,
    Victim,
    other_file,
    refused,
    refused_both_ways,
    valid_fds,
    valid_payload,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.features import Protocol, Virtio, mask
from vswitchd.ports.vhostuser.frames import MAX_FDS
from vswitchd.ports.vhostuser.messages import HEADER, MAX_PAYLOAD, TABLE, Answer, Fds, Request
from vswitchd.ports.vhostuser.state import MAX_RINGS


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
