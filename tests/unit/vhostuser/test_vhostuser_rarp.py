"""SEND_RARP as a front-end sees it: over a real socket to a real port, one request as if the guest had sent it."""

import asyncio

from fakes import front_end as fe
from fakes.mock_guest import bits
from vhostuser_world import bounce, check_echo, run

from vswitchd.ports.vhostuser.features import Protocol

MAC = bytes.fromhex("02aabbccddee")


def test_the_guest_is_announced_once(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front(protocol=fe.ALL_PROTOCOL | bits(Protocol.RARP))
        assert await asyncio.to_thread(front.send_rarp, MAC) == 0
        front.rings[0].post(2000)
        assert bounce(port) == 1
        ((_, frame),) = front.rings[0].received()
        # RFC 903: to all, from the guest, ether type 0x8035, operation 3, both addresses the guest's
        assert frame[:14] == b"\xff" * 6 + MAC + b"\x80\x35"
        assert frame[14:22] == bytes.fromhex("0001080006040003")
        assert (frame[22:28], frame[32:38]) == (MAC, MAC)
        assert bounce(port) == 0
        check_echo(front, port)

    run(tmp_path, main)
