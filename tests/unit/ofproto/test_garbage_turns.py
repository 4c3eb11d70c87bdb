"""A hundred connections of garbage, or of requests: one turn of the loop stays as short as with one of them.

Time is counted in requests: the clock moves with each one that a connection decodes.
"""

import asyncio
import random

import pytest
from of_peer import flow
from of_world import Controller, world

from vswitchd.ofproto import messages as m
from vswitchd.ofproto import turns
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.connection import Connection

PEERS = 100
COST = 0.0001
"""Seconds of the counted clock for each message."""
ALLOWED = turns.TURN_SECONDS / COST + 2 * PEERS


def garbage(source):
    body = source.randbytes(8 * source.randrange(12))
    return (
        bytes((source.choice((4, 4, 4, 1, 9)), source.randrange(40)))
        + (8 + len(body)).to_bytes(2, "big")
        + bytes(4)
        + body
    )


def requests(source):
    return encode(
        flow(source.randrange(9), command=source.randrange(5), match={"in_port": 1 + source.randrange(9)}), 1
    )


class Counted:
    """Counts the messages that connections decode, in all and in each turn of the loop."""

    def __init__(self, monkeypatch):
        self.total = self.turn = self.worst = 0
        self.running = True
        decode = Connection.next

        def counting(connection):
            self.total += 1
            self.turn += 1
            return decode(connection)

        monkeypatch.setattr(Connection, "next", counting)
        monkeypatch.setattr("vswitchd.ofproto.channel.clock", lambda: self.total * COST)

    def watch(self):
        self.worst = max(self.worst, self.turn)
        self.turn = 0
        if self.running:
            asyncio.get_running_loop().call_soon(self.watch)


@pytest.mark.parametrize("make", [garbage, requests])
def test_a_turn_of_the_loop_does_not_grow_with_the_connections(tmp_path, monkeypatch, make):
    counted = Counted(monkeypatch)

    async def main(w):
        peers = [await Controller.to_unix(w.mgmt) for _ in range(PEERS)]
        source = random.Random(5)
        for peer in peers:
            peer.writer.write(b"".join(make(source) for _ in range(40)))
        counted.total = counted.worst = counted.turn = 0
        counted.watch()
        good = await Controller.to_unix(w.mgmt)
        for _ in range(5):
            assert isinstance(await good.ask(m.BarrierRequest()), m.BarrierReply)
        await w.until(
            lambda: (
                counted.total > 10 * PEERS and not any(c._connection.unread for c in w.of._mgmt.channels())
            )
        )
        counted.running = False
        assert 0 < counted.worst <= ALLOWED

    world(main)(tmp_path)
