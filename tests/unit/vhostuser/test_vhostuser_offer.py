"""What a port offers over a real socket: as configured, and to a peer that was here before what it had then."""

import asyncio
import logging
import socket
import struct

from fakes import front_end as fe
from vhostuser_world import check_echo, run, until

from vswitchd.ports.base import PortConfig
from vswitchd.ports.vhostuser import SERVER, memo
from vswitchd.ports.vhostuser.features import DEFAULT, SUPPORTED, Protocol, Virtio
from vswitchd.ports.vhostuser.messages import Request


async def ask(front, request):
    return struct.unpack("=Q", await asyncio.to_thread(front.ask, request))[0]


async def offered(front):
    """What this front-end hears now: both words and the number of queue pairs."""
    words = (Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_QUEUE_NUM)
    return [await ask(front, request) for request in words]


def connect(world):
    """A front-end that has said nothing yet."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(world.dir / "vh0"))
    world.fronts.append(fe.FrontEnd(sock))
    return world.fronts[-1]


async def gone(world, port, front):
    world.fronts.remove(front)
    front.close()
    await until(lambda: port._connection is None)


FEW = {
    "features-off": "in_order event_idx",
    "protocol-features-off": "reset_device,status",
    "vhost-max-queue-pairs": "2",
}
TOGETHER = {key.replace("-", "_"): value for key, value in FEW.items()}


def test_what_is_offered_follows_the_options(tmp_path):
    async def main(world):
        world.port(options=TOGETHER)
        front = connect(world)
        front.send(fe.message(Request.SET_PROTOCOL_FEATURES, fe.u64(1 << Protocol.MQ)))
        off = 1 << Virtio.IN_ORDER | 1 << Virtio.EVENT_IDX
        off_protocol = 1 << Protocol.RESET_DEVICE | 1 << Protocol.STATUS
        assert await offered(front) == [DEFAULT.virtio & ~off, DEFAULT.protocol & ~off_protocol, 2]

    run(tmp_path, main)


def test_what_is_not_offered_is_refused(tmp_path):
    async def main(world):
        port = world.port(options=TOGETHER)
        connect(world).send(fe.message(Request.SET_FEATURES, fe.u64(1 << Virtio.IN_ORDER)))
        await until(lambda: port._connects == 1 and port._connection is None)

    run(tmp_path, main)


def test_a_change_is_for_the_next_front_end(tmp_path, caplog, monkeypatch):
    """A connected one keeps what it has and so does its next connection; another process gets what is configured."""
    caplog.set_level(logging.INFO)

    async def main(world):
        port = world.port()
        front = await world.front(features=fe.MODERN | 1 << Virtio.IN_ORDER, pairs=3)
        before = await offered(front)
        assert port.reconfigure(PortConfig("vh0", SERVER, FEW))
        said = [r.message for r in caplog.records if "take effect" in r.message]
        assert said == ["vh0: the changed features take effect when the front-end connects again"]
        assert await offered(front) == before
        check_echo(front, port)
        await gone(world, port, front)

        front = await world.front(features=fe.MODERN | 1 << Virtio.IN_ORDER, pairs=3)
        again = await offered(front)
        assert again[0] >> Virtio.IN_ORDER & 1
        assert again[1] >> Protocol.STATUS & 1
        assert again[2] == 3
        (line,) = [r.message for r in caplog.records if "was here before" in r.message]
        assert line.endswith("keeps what it negotiated: in_order reset_device status 3 queue pairs")
        check_echo(front, port)
        await gone(world, port, front)

        monkeypatch.setattr(memo, "find_peer", lambda _sock: memo.Peer(1, 1))
        front = connect(world)
        front.send(fe.message(Request.SET_PROTOCOL_FEATURES, fe.u64(1 << Protocol.MQ)))
        now = await offered(front)
        assert not now[0] >> Virtio.IN_ORDER & 1
        assert now[2] == 2

    run(tmp_path, main)


def test_another_switch_offers_the_same(tmp_path):
    """The switch is restarted with other options while the guest runs: the port object is a new one."""

    async def main(world):
        port = world.port()
        front = await world.front(features=fe.MODERN | 1 << Virtio.IN_ORDER)
        taken = front.features
        port.stop()
        world.fronts.remove(front)
        front.close()
        heir = world.port(options=TOGETHER)
        front = await world.front(features=fe.MODERN | 1 << Virtio.IN_ORDER)
        assert (await ask(front, Request.GET_FEATURES)) & taken == taken
        check_echo(front, heir)

    run(tmp_path, main)


def test_what_the_code_cannot_do_is_not_offered_again(tmp_path):
    """An older switch may know less than the one that wrote the file. And post-copy takes trust."""
    past = memo.Offer((1 << 64) - 1, (1 << 64) - 1)

    async def main(world):
        port = world.port()
        me, other = socket.socketpair()
        with me, other:
            port._memo.remember(memo.Memo(memo.find_peer(me), past, past))
        front = connect(world)
        able = SUPPORTED.without([Protocol.PAGEFAULT])
        assert await ask(front, Request.GET_FEATURES) == able.virtio
        assert await ask(front, Request.GET_PROTOCOL_FEATURES) == able.protocol

    run(tmp_path, main)


def test_a_front_end_that_negotiates_nothing_is_not_remembered(tmp_path):
    async def main(world):
        port = world.port()
        front = connect(world)
        await until(lambda: port._connects == 1)
        await gone(world, port, front)

    run(tmp_path, main)
    assert not (tmp_path / memo.DIRECTORY).exists()
