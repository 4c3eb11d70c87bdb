"""A controller that talks nonsense: its message or connection is refused; the switch and others go on."""

import random
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "ofproto"))

from of_peer import Clock, Switch, flow, messages
from of_strategies import ALL_ROWS, of_row, row_id

from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.connection import Connection, Refused, Request
from vswitchd.ofproto.errors import OFPBRC

HELLO = encode(m.Hello(frozenset({4})), 1)
HEADER = struct.Struct("!BBHI")


def talk(data, *, hello=True):
    """Everything a fresh connection says to `data`; and the connection."""
    c = Connection(Clock())
    c.take_output()
    c.receive((HELLO if hello else b"") + data)
    found = []
    while (event := c.next()) is not None:
        found.append(event)
    return c, found, messages(c.take_output())


def test_unknown_types_are_answered_one_by_one():
    data = b"".join(HEADER.pack(4, kind, 8, kind) for kind in range(30, 256))
    c, _, answers = talk(data + encode(m.BarrierRequest(), 1))
    assert c.closed is None
    assert [xid for xid, _ in answers] == list(range(30, 256))
    assert {error.name for _, error in answers} == {"OFPBRC_BAD_TYPE"}


@pytest.mark.parametrize("length", range(8))
def test_a_length_below_the_header_ends_the_connection(length):
    c, events, answers = talk(HEADER.pack(4, 5, length, 77) + encode(m.BarrierRequest(), 1))
    assert [error.name for _, error in answers] == ["OFPBRC_BAD_LEN"]
    assert answers[0][0] == 77
    assert "cannot find the end" in c.closed
    assert not any(isinstance(event, Request) for event in events)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 5, 6, 255])
def test_wrong_version_after_the_hello(version):
    data = bytes([version]) + encode(m.FeaturesRequest(), 9)[1:]
    c, events, answers = talk(data + encode(m.BarrierRequest(), 10))
    assert [(xid, error.name) for xid, error in answers] == [(9, "OFPBRC_BAD_VERSION")]
    assert answers[0][1].data == data
    assert c.closed is None
    assert [event.xid for event in events if isinstance(event, Request)] == [10]


def test_a_bad_hello_ends_the_connection():
    bad = HEADER.pack(4, 0, 12, 3) + struct.pack("!HH", 1, 2)
    c, _, answers = talk(bad, hello=False)
    assert [(xid, error.name) for xid, error in answers] == [(3, "OFPBRC_BAD_LEN")]
    assert c.closed.startswith("bad hello")


def test_errors_are_never_answered_with_errors():
    c, events, answers = talk(HEADER.pack(4, 1, 10, 5) + b"ab")
    assert isinstance(events[-1], Refused)
    assert answers == []
    assert c.closed is None


@pytest.mark.parametrize("cut", range(1, 56))
def test_a_message_cut_short_is_refused_and_the_next_is_understood(cut):
    whole = encode(m.FlowMod(), 5)
    short = whole[: len(whole) - cut]
    if len(short) < 8:
        return
    data = HEADER.pack(4, 14, len(short), 5) + short[8:]
    _, events, answers = talk(data + encode(m.BarrierRequest(), 6))
    refused = [event for event in events if isinstance(event, Refused)]
    assert len(refused) == len(answers) <= 1
    assert [event.xid for event in events if isinstance(event, Request)][-1] == 6
    if cut >= 8:
        assert answers[0][1].data == data[:64]


@pytest.mark.parametrize("row", ALL_ROWS, ids=row_id)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_every_message_gets_an_answer_or_none_and_the_switch_lives(row, data):
    """Any message that the codec can carry, also those of a switch, with any values."""
    message = data.draw(of_row(row))
    switch = Switch()
    peer = switch.peer(version=row.version)
    peer.ask(message)
    if not isinstance(message, m.Hello):
        assert peer.connection.closed is None
    other = switch.peer()
    assert other.do(flow(7, cookie=1)) is None or isinstance(message, m.RoleRequest)
    assert other.reply(mp.DescRequest()).dp_desc == "br0"
    old = switch.peer(version=1)
    assert len(old.reply(mp.FlowStatsRequest()).entries) == len(switch.flows(other))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes(data, hello):
    c, _, answers = talk(data, hello=hello)
    for _, answer in answers:
        assert isinstance(answer, (m.Error, m.EchoReply))
    assert c.closed is not None or c.unread < 65536


def test_mutated_requests_harm_nobody():
    """Flip bytes of good requests: whatever happens on that connection, another one goes on."""
    rng = random.Random(7)
    switch = Switch()
    good = b"".join(
        encode(message, 5)
        for message in (
            flow(3, match={"eth_type": 0x800, "ip_proto": 6, "tcp_dst": 80}), m.GroupMod(group_id=1),
            mp.FlowStatsRequest(), m.PacketOut(data=bytes(60)), m.RoleRequest(), m.SetAsync(),
            mp.PortStatsRequest(), mp.GroupStatsRequest(),
        )
    )  # fmt: skip
    other = switch.peer()
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        peer = switch.peer()
        peer.feed(bytes(data))
        switch.agent.sessions.remove(peer.session)
    assert other.reply(m.FeaturesRequest()).n_tables == 254
    assert other.connection.closed is None


def test_the_refused_head_is_at_least_64_bytes_of_the_request():
    switch = Switch()
    peer = switch.peer()
    ((_, error),) = peer.ask(m.PacketOut(in_port=99, data=bytes(500)))
    assert error.code == OFPBRC.BAD_PORT
    assert error.data == encode(m.PacketOut(in_port=99, data=bytes(500)), peer.xid)[:64]
