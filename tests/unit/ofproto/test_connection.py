"""The connection without its socket: hello and versions, echo, probes, framing, bounds (6.3.1, 6.3.4)."""

import pytest
from of_peer import Clock, messages

from vswitchd.ofproto import connection as conn
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.codec import decode, encode
from vswitchd.ofproto.connection import Connection, Ready, Refused, Request
from vswitchd.ofproto.errors import OFPBRC

HELLO = encode(m.Hello(frozenset({4})), 1)


@pytest.fixture
def clock():
    return Clock()


def ready(clock, **kwargs):
    c = Connection(clock, **kwargs)
    c.receive(HELLO)
    assert c.next() == Ready(4)
    c.take_output()
    return c


def events(c):
    found = []
    while (event := c.next()) is not None:
        found.append(event)
    return found


def test_we_say_hello_first_with_our_versions(clock):
    ((_, hello),) = messages(Connection(clock).take_output())
    assert hello == m.Hello(frozenset({1, 4}), 4)


@pytest.mark.parametrize(
    "hello",
    [
        m.Hello(frozenset({4}), 4),
        m.Hello(frozenset({1, 4, 5, 6}), 6),
        m.Hello(frozenset(), 4),
        m.Hello(frozenset(), 6),
        m.Hello(frozenset({1, 4}), 1),
    ],
)
def test_versions_that_agree(clock, hello):
    c = Connection(clock)
    c.receive(encode(hello, 1))
    assert c.next() == Ready(4)
    assert c.closed is None


@pytest.mark.parametrize(
    "hello", [m.Hello(frozenset(), 1), m.Hello(frozenset({1, 5}), 5), m.Hello(frozenset({1}), 4)]
)
def test_versions_that_agree_on_1_0(clock, hello):
    c = Connection(clock)
    c.receive(encode(hello, 1))
    assert c.next() == Ready(1)
    c.take_output()
    c.receive(encode(m.BarrierRequest(), 9, 1) + encode(m.BarrierRequest(), 10, 4))
    assert isinstance(c.next().message, m.BarrierRequest)
    assert isinstance(c.next(), Refused)
    data = c.take_output()
    assert data[0] == 1
    assert decode(data, 1)[1].code == OFPBRC.BAD_VERSION


@pytest.mark.parametrize(
    "hello", [m.Hello(frozenset(), 1), m.Hello(frozenset({1, 5}), 5), m.Hello(frozenset({1}), 4)]
)
def test_versions_that_do_not_agree(clock, hello):
    c = Connection(clock, versions=frozenset({4}))
    c.take_output()
    c.receive(encode(hello, 99))
    assert isinstance(c.next(), Refused)
    data = c.take_output()
    xid, error = decode(data)
    assert (xid, error.name) == (99, "OFPHFC_INCOMPATIBLE")
    assert b"version negotiation failed" in error.data
    assert data[0] == min(4, hello.version)
    assert "version negotiation failed" in c.closed


def test_the_first_message_must_be_a_hello(clock):
    c = Connection(clock)
    c.take_output()
    c.receive(encode(m.FeaturesRequest(), 7) + HELLO)
    assert isinstance(c.next(), Refused)
    ((xid, error),) = messages(c.take_output())
    assert (xid, error.name) == (7, "OFPBRC_BAD_TYPE")
    assert c.closed == "message type 5 before hello"
    assert c.next() is None


def test_an_error_instead_of_a_hello_is_not_answered(clock):
    c = Connection(clock)
    c.take_output()
    c.receive(encode(m.Error(0, 0, b"no"), 7))
    assert c.next() is None
    assert c.take_output() == b""
    assert c.closed == "the peer refused our hello"


def test_no_hello_in_time(clock):
    c = Connection(clock, probe=0)
    clock.now += conn.HELLO_SECONDS - 0.1
    c.tick()
    assert c.closed is None
    clock.now += 0.1
    c.tick()
    assert c.closed == "no hello within 10 s"


def test_requests_keep_their_xid_and_head(clock):
    c = ready(clock)
    data = (
        encode(m.EchoRequest(b"x" * 100), 5)
        + encode(m.BarrierRequest(), 6)
        + encode(m.PacketOut(data=bytes(200)), 7)
    )
    c.receive(data)
    barrier, out = events(c)
    assert barrier == Request(6, m.BarrierRequest(), encode(m.BarrierRequest(), 6))
    assert (out.xid, out.data) == (7, encode(m.PacketOut(data=bytes(200)), 7))
    assert messages(c.take_output()) == [(5, m.EchoReply(b"x" * 100))]


@pytest.mark.parametrize("step", [1, 3, 7, 64, 1000])
def test_any_split_of_the_stream_gives_the_same(clock, step):
    data = HELLO + b"".join(
        encode(message, xid)
        for xid, message in enumerate(
            [m.FeaturesRequest(), m.EchoRequest(b"abc"), m.FlowMod(), m.BarrierRequest()], 10
        )
    )
    c = Connection(clock)
    c.take_output()
    found = []
    for at in range(0, len(data), step):
        c.receive(data[at : at + step])
        found += events(c)
    assert [getattr(e, "xid", None) for e in found] == [None, 10, 12, 13]
    assert messages(c.take_output()) == [(11, m.EchoReply(b"abc"))]
    assert c.unread == 0


def test_probe_then_close(clock):
    c = ready(clock, probe=5.0)
    clock.now += 4.9
    c.tick()
    assert c.take_output() == b""
    clock.now += 0.1
    c.tick()
    c.tick()
    ((_, probe),) = messages(c.take_output())
    assert probe == m.EchoRequest()
    assert c.idle
    clock.now += 4.9
    c.tick()
    assert c.closed is None
    clock.now += 0.1
    c.tick()
    assert c.closed == "no response to inactivity probe after 5 s"


def test_anything_received_answers_a_probe(clock):
    c = ready(clock, probe=5.0)
    clock.now += 5
    c.tick()
    c.take_output()
    c.receive(encode(m.EchoReply(), 1)[:4])
    assert not c.idle
    clock.now += 4.9
    c.tick()
    assert c.closed is None
    assert c.take_output() == b""


def test_no_probe_when_off(clock):
    c = ready(clock, probe=0)
    clock.now += 1e6
    c.tick()
    assert c.take_output() == b""
    assert c.closed is None


def test_packet_ins_are_dropped_first_then_the_connection_ends(clock):
    waiting = 0
    c = ready(clock, backlog=lambda: waiting)
    waiting = conn.SOFT_BACKLOG
    assert c.admits()
    waiting += 1
    assert not c.admits()
    assert not c.admits()
    assert c.dropped == 2
    assert c.send(m.BarrierReply(), 8)
    waiting = conn.HARD_BACKLOG
    c.send(m.BarrierReply(), 9)
    assert "does not read" in c.closed
    assert c.take_output() == b""
    assert not c.send(m.BarrierReply(), 10)
    assert not c.admits()


def test_wake_is_called_once_until_output_is_taken(clock):
    c = ready(clock)
    calls = []
    c.wake = lambda: calls.append(1)
    c.send(m.BarrierReply(), 1)
    c.send(m.BarrierReply(), 2)
    assert len(calls) == 1
    c.take_output()
    c.send(m.BarrierReply(), 3)
    assert len(calls) == 2


def test_nothing_is_read_after_the_end(clock):
    c = ready(clock)
    c.close("first")
    c.close("second")
    c.receive(encode(m.BarrierRequest(), 6))
    assert c.next() is None
    assert c.closed == "first"


def test_our_own_xids_differ(clock):
    c = ready(clock)
    c.send(m.EchoRequest())
    c.send(m.EchoRequest())
    (one, _), (two, _) = messages(c.take_output())
    assert one != two
