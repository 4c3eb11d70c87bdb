"""The back-end channel without I/O: what is told, how often, and which answers end it."""

import struct

import pytest
from fakes import front_end as fe
from fakes.back_channel import IOTLB_MSG, VRING_CALL, VRING_ERR
from hypothesis import given
from hypothesis import strategies as st

from vswitchd.ports.vhostuser.backend import MAX_QUEUED, MAX_UNANSWERED, Requests
from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.memory import Iova, Miss
from vswitchd.ports.vhostuser.messages import HEADER

PAGE = 4096


def opened(*, acks=True):
    requests = Requests()
    requests.open(acks=acks)
    return requests


def take(requests):
    """All messages that may be sent now."""
    found = []
    while data := requests.outgoing():
        requests.sent(len(data))
        while data:
            number, flags, size = HEADER.unpack_from(data)
            found.append((number, flags, data[HEADER.size : HEADER.size + size]))
            data = data[HEADER.size + size :]
    return found


def answer(number, value=0):
    return HEADER.pack(number, 5, 8) + fe.u64(value)


def test_messages():
    requests = opened()
    requests.miss(Miss(Iova(0x12345678), 2))
    requests.call(3)
    requests.err(4)
    assert take(requests) == [
        (IOTLB_MSG, 9, struct.pack("=QQQBB6x", 0x12345000, 0, 0, 2, 1)),
        (VRING_CALL, 9, fe.state(3, 0)),
        (VRING_ERR, 9, fe.state(4, 0)),
    ]


def test_without_reply_ack_no_answer_is_asked_for():
    requests = opened(acks=False)
    for _ in range(2):
        requests.call(3)
        assert take(requests) == [(VRING_CALL, 1, fe.state(3, 0))]
    with pytest.raises(ProtocolError, match="answer to request 4 that was not made"):
        requests.receive(answer(VRING_CALL))


def test_nothing_is_kept_while_there_is_no_channel():
    requests = Requests()
    requests.call(1)
    assert take(requests) == []
    requests.open(acks=True)
    assert take(requests) == []
    requests.call(1)
    requests.close()
    assert take(requests) == []


def test_a_page_is_asked_for_once_per_permission():
    requests = opened()
    for iova in (0x1000, 0x1FFF, 0x1008):
        requests.miss(Miss(Iova(iova), 1))
    requests.miss(Miss(Iova(0x1000), 2))
    assert len(take(requests)) == 2
    requests.miss(Miss(Iova(0x1000), 1))
    assert take(requests) == []  # not answered yet
    requests.receive(answer(IOTLB_MSG, 1))
    assert len(take(requests)) == 1


def test_who_answers_nothing_is_asked_little():
    requests = opened()
    for i in range(10 * MAX_QUEUED):
        requests.miss(Miss(Iova(i * PAGE), 1))
    assert len(take(requests)) == MAX_UNANSWERED
    assert take(requests) == []
    for _ in range(MAX_UNANSWERED):
        requests.receive(answer(IOTLB_MSG))
    assert len(take(requests)) == MAX_UNANSWERED


def test_who_reads_nothing_costs_a_page():
    requests = opened(acks=False)
    for i in range(10 * MAX_QUEUED):
        requests.miss(Miss(Iova(i * PAGE), 1))
        assert len(requests.outgoing()) < PAGE + 64


def test_sent_in_pieces():
    requests = opened()
    requests.call(1)
    requests.call(2)
    whole, got = requests.outgoing(), b""
    while data := requests.outgoing():
        got += data[:1]
        requests.sent(1)
    assert got == whole


@pytest.mark.parametrize(
    "data",
    [
        HEADER.pack(VRING_ERR, 5, 8) + bytes(8),  # another request
        HEADER.pack(VRING_CALL, 1, 8) + bytes(8),  # no answer
        HEADER.pack(VRING_CALL, 13, 8) + bytes(8),
        HEADER.pack(VRING_CALL, 6, 8) + bytes(8),  # version
        HEADER.pack(VRING_CALL, 5, 0),
        HEADER.pack(VRING_CALL, 5, 4) + bytes(4),
        HEADER.pack(VRING_CALL, 5, 9) + bytes(9),
        HEADER.pack(VRING_CALL, 5, 2**32 - 1),
        bytes(12),
        b"\xff" * 4096,
    ],
)
@pytest.mark.parametrize("step", [1, 5, 4096])
def test_answers_that_are_none(data, step):
    requests = opened()
    requests.call(1)
    take(requests)
    with pytest.raises(ProtocolError):
        for i in range(0, len(data), step):
            requests.receive(data[i : i + step])


def test_one_answer_too_many():
    requests = opened()
    requests.call(1)
    take(requests)
    with pytest.raises(ProtocolError, match="was not made"):
        requests.receive(answer(VRING_CALL) + answer(VRING_CALL))


def test_answers_byte_by_byte():
    requests = opened()
    requests.call(1)
    requests.call(2)
    take(requests)
    requests.call(1)
    for byte in answer(VRING_CALL) + answer(VRING_CALL, 7):
        requests.receive(bytes([byte]))
    assert take(requests) == [(VRING_CALL, 9, fe.state(1, 0))]


@given(
    st.lists(
        st.one_of(st.integers(0, 5).map(lambda n: ("call", n)), st.just(("answer", 0)), st.just(("take", 0)))
    )
)
def test_every_call_is_told_after_it_was_noted(steps):
    """Whatever the order: a call that was noted last is told after that, and at most one of a ring is under way."""
    requests, under_way, wanted = opened(), [], set()
    for what, ring in steps:
        if what == "call":
            requests.call(ring)
            wanted.add(ring)
        elif what == "answer" and under_way:
            requests.receive(answer(VRING_CALL))
            under_way.pop(0)
        elif what == "take":
            for _, _, payload in take(requests):
                told = struct.unpack("=II", payload)[0]
                assert told not in under_way
                assert told in wanted
                wanted.remove(told)
                under_way.append(told)
    for _ in range(2):
        for _ in under_way:
            requests.receive(answer(VRING_CALL))
        under_way = [struct.unpack("=II", payload)[0] for _, _, payload in take(requests)]
        wanted -= set(under_way)
    assert wanted == set()
