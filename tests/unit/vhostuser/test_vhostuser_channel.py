"""The back-end channel over real sockets: calls, errors and misses reach the front-end, and what it does there costs only itself."""

import asyncio
import os
import socket
import struct

from fakes import front_end as fe
from fakes.back_channel import VRING_CALL, VRING_ERR
from fakes.mock_guest import MODERN, bits
from vhostuser_line import run
from vhostuser_peer import OFFER, QUIET
from vhostuser_world import FRAME, bounce, until

from vswitchd.ports.vhostuser.messages import HEADER, Request

IOMMU = MODERN | bits(33)
PAGE = 4096


async def start_inband(line, front):
    """Rings without any descriptor: they start with the first kick."""
    for data, fds in fe.set_up(front.guest, front.rings, front.features, front.events, OFFER.protocol):
        number = HEADER.unpack_from(data)[0]
        if number not in (Request.SET_VRING_KICK, Request.SET_VRING_CALL):
            await line.talk(front.send, data, fds)
    await line.talk(front.open_channel)
    for index in front.rings:
        assert await line.talk(front.kick_inband, index) == 0
    assert line.session.running == {0, 1}
    told = [await line.talk(front.channel.wait) for _ in range(2)]  # each start calls once
    assert sorted(told) == [(VRING_CALL, fe.state(0, 0)), (VRING_CALL, fe.state(1, 0))]


def test_inband_kicks_calls_and_errors():
    async def main(line, front):
        await start_inband(line, front)
        front.rings[0].post(2000)
        front.rings[1].send(FRAME)
        assert bounce(line) == 1
        told = [await line.talk(front.channel.wait) for _ in range(2)]
        assert sorted(told) == [(VRING_CALL, fe.state(0, 0)), (VRING_CALL, fe.state(1, 0))]
        front.rings[1].publish(9999)
        assert bounce(line) == 0
        assert await line.talk(front.channel.wait) == (VRING_ERR, fe.state(1, 0))

    run(main, protocol=OFFER.protocol)


def test_a_packed_ring_stands_where_get_vring_base_says():
    async def main(line, front):
        await line.talk(front.start)
        for number in range(5):
            front.rings[0].post(2000)
            front.rings[1].send(bytes([number]) * 60)
        assert bounce(line) == 5
        base = await line.talk(front.stop, 1)
        assert base == 5 | 0x8000 | (5 | 0x8000) << 16
        front.rings[0].post(2000)
        front.rings[1].send(FRAME)
        await line.talk(front.restart, 1, base)
        assert bounce(line) == 1
        assert [f for _, f in front.rings[0].received()][5:] == [FRAME]

    run(main, features=MODERN | bits(34), protocol=QUIET)


def test_own_eventfds_go_when_the_front_end_brings_its_own():
    async def main(line, front):
        await start_inband(line, front)
        for index, (kick, call) in front.events.items():
            await line.talk(front.send, fe.message(Request.SET_VRING_KICK, fe.u64(index)), [kick])
            await line.talk(front.send, fe.message(Request.SET_VRING_CALL, fe.u64(index)), [call])
            await line.talk(front.send, fe.message(Request.SET_VRING_ERR, fe.u64(index | 1 << 8)))
        await line.talk(front.sync)
        assert line.session.own_events == {}
        front.channel.requests()
        assert os.eventfd_read(front.events[0][1]) > 0  # a new descriptor is signalled, too
        front.rings[0].post(2000)
        front.rings[1].send(FRAME)
        assert bounce(line) == 1
        assert os.eventfd_read(front.events[0][1]) == 1
        await line.talk(front.sync)
        assert front.channel.requests() == []

    run(main, protocol=OFFER.protocol)


def test_rings_and_buffers_are_asked_for_and_come():
    async def main(line, front):
        front.map_guest()
        await line.talk(front.start)
        assert line.session.running == set()
        await line.talk(front.open_channel)
        await until(lambda: line.session.requests.outgoing() == b"")
        line.session.ask_again()  # what was asked before there was a channel
        line.session.ask_again()
        line.connection._channel.sync()
        asked = await line.talk(front.serve_misses)
        assert line.session.running == {0, 1}
        assert {iova for iova, _ in asked} >= {ring.desc // PAGE * PAGE for ring in front.rings.values()}
        front.rings[0].post(2000)
        front.rings[1].send(FRAME)
        for _ in range(4):  # the frame waits for its own page, then for that of the buffer it goes to
            bounce(line)
            await line.talk(front.serve_misses)
        assert [f for _, f in front.rings[0].received()] == [FRAME]

    run(main, features=IOMMU, protocol=QUIET)


def test_an_invalidation_is_in_force_when_it_is_acknowledged():
    async def main(line, front):
        front.map_guest()
        await line.talk(front.start)
        await line.talk(front.open_channel)
        first = front.guest.regions[0]
        assert await line.talk(front.update, 0, first.size, first.uva) == 0
        assert line.session.running == {0, 1}
        front.rings[1].send(FRAME)
        front.rings[0].post(2000)
        assert bounce(line) == 1
        assert await line.talk(front.invalidate, 0, 2**64 - 1) == 0
        assert line.session.running == set()
        front.rings[1].send(FRAME)
        assert bounce(line) == 0
        front.map_guest()
        assert await line.talk(front.serve_misses)
        assert line.session.running == {0, 1}

    run(main, features=IOMMU, protocol=QUIET)


def test_a_front_end_that_reads_nothing_keeps_its_connection():
    async def main(line, front):
        await start_inband(line, front)
        for _ in range(3000):
            line.session.requests.call(0)
            line.session.requests.receive(b"")
            line.connection._channel.sync()
        assert await line.talk(front.ask, Request.GET_FEATURES)
        assert not line.ended

    run(main, protocol=OFFER.protocol)


def test_nonsense_on_the_channel_ends_only_the_channel(caplog):
    async def main(line, front):
        await start_inband(line, front)
        front.channel.sock.sendall(b"\xff" * 100)
        await until(lambda: caplog.records)
        await line.talk(front.sync)
        assert line.session.running == {0, 1}
        front.rings[0].post(2000)
        front.rings[1].send(FRAME)
        assert bounce(line) == 1
        line.session.requests.call(0)
        assert line.session.requests.outgoing() == b""

    run(main, protocol=OFFER.protocol)
    text = "line: the back-end channel is lost: answer to request 4294967295 that was not made"
    assert [r.message for r in caplog.records] == [text]


def test_a_channel_that_is_closed_is_replaced(caplog):
    async def main(line, front):
        await start_inband(line, front)
        front.channel.close()
        await until(lambda: caplog.records)
        await line.talk(front.open_channel)
        line.session.requests.call(1)
        line.connection._channel.sync()
        assert await line.talk(front.channel.wait) == (VRING_CALL, fe.state(1, 0))
        old = front.channel
        await line.talk(front.open_channel)
        assert old.sock.recv(1) == b""  # the switch has let go of it
        old.close()

    run(main, protocol=OFFER.protocol)
    assert [r.message for r in caplog.records] == [
        "line: the back-end channel is lost: the front-end closed it"
    ]


def test_descriptors_come_with_an_answer():
    async def main(line, front):
        await line.talk(front.start)
        area, fd = await line.talk(front.get_inflight, 2, 64)
        size, offset, queues, queue_size = struct.unpack("=QQHH4x", area)
        assert (os.fstat(fd).st_size, offset, queues, queue_size) == (size, 0, 2, 64)
        assert await line.talk(front.set_inflight, (area, fd)) == 0
        try:
            os.ftruncate(fd, 0)  # cut under our mapping: not to be had
        except PermissionError:
            os.close(fd)
        else:
            raise AssertionError("the record is not sealed")

    run(main, protocol=QUIET)


def test_a_replaced_channel_is_not_watched_any_more():
    """Also when the front-end keeps a copy of our end, and makes it readable for ever."""

    async def main(line, front):
        await start_inband(line, front)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for sock in (theirs, front.channel.sock):  # the second one replaces the first
                await line.talk(front.result, Request.SET_BACKEND_REQ_FD, b"", [sock.fileno()])
            ours.sendall(b"x")
            selector = asyncio.get_running_loop()._selector
            watched = selector.get_map().keys()
            assert [event for event in selector._selector.poll(0) if event[0] not in watched] == []
            await line.talk(front.sync)
            assert not line.ended

    run(main, protocol=OFFER.protocol)
