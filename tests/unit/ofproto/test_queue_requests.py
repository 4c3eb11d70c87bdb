"""Queues as controllers see them: statistics, rates, errors (7.3.5.8, 7.3.6); on the real datapath, virtual clock."""

import pytest
from fakes.switchbox import SwitchBox
from of_peer import Peer, flow, port

from vswitchd.datapath.qos_spec import QosSpec, QueueSpec
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.constants import OFPP, OFPQ_ALL
from vswitchd.ofproto.queue_requests import MAX_CONFIG
from vswitchd.ofproto.structures import QueueMaxRate, QueueMinRate

FRAME = bytes.fromhex("02000000000202000000000188b5") + bytes(986)
M = 1_000_000


class World:
    """Port 1 of 100 Mb/s, port 2 of unknown speed, port 3."""

    def __init__(self):
        self.box = SwitchBox(3)
        self.ms = 1000
        self.sleep(0)
        self.agent = Agent(self.box.bridge, self.box.dp, self.clock, Identity(1))
        for number, handle in self.box.ports.items():
            self.agent.add_port(port(number, curr_speed=100_000 if number == 1 else 0), handle)

    def clock(self):
        return self.ms / 1000

    def sleep(self, ms):
        self.ms += ms
        self.box.dp.set_time_ms(self.ms)

    def qos(self, number, *queues, rate=0):
        self.box.ports[number].set_qos(QosSpec(rate, queues))


@pytest.fixture
def world():
    made = World()
    yield made
    made.box.close()


@pytest.fixture
def peer(world):
    return Peer(world)


def stats(peer, number=int(OFPP.ANY), queue=OFPQ_ALL):
    return [(q.port_no, q.queue_id) for q in peer.reply(mp.QueueStatsRequest(number, queue)).entries]


def test_packets_bytes_overruns_and_age(world, peer):
    world.qos(2, QueueSpec(5, max_rate=8 * M, limit_packets=10))
    assert peer.do(flow(actions=[act.SetQueue(5), act.Output(2)])) is None
    for _ in range(20):
        world.box.feed(1, FRAME)
    world.box.dp.poll()
    world.sleep(1500)
    world.box.dp.poll()
    (entry,) = peer.reply(mp.QueueStatsRequest(2, 5)).entries
    assert (entry.port_no, entry.queue_id) == (2, 5)
    assert (entry.tx_packets, entry.tx_bytes, entry.tx_errors) == (10, 10_000, 10)
    assert (entry.duration_sec, entry.duration_nsec) == (1, 500_000_000)


def test_a_queue_keeps_its_age_and_counts_while_it_is_there(world, peer):
    world.qos(2, QueueSpec(5))
    world.sleep(1000)
    world.qos(2, QueueSpec(5, max_rate=M), QueueSpec(6))
    world.sleep(500)
    ages = {q.queue_id: q.duration_sec * 1000 + q.duration_nsec // M for q in queues(peer)}
    assert ages == {5: 1500, 6: 500}


def queues(peer):
    return peer.reply(mp.QueueStatsRequest()).entries


def test_which_queues(world, peer):
    assert stats(peer) == []
    world.qos(1, QueueSpec(0), QueueSpec(7))
    world.qos(3, QueueSpec(7))
    assert stats(peer) == [(1, 0), (1, 7), (3, 7)]
    assert stats(peer, 1) == [(1, 0), (1, 7)]
    assert stats(peer, int(OFPP.ANY), 7) == [(1, 7), (3, 7)]
    assert stats(peer, 2) == []
    assert peer.reply(mp.QueueStatsRequest(9)).name == "OFPQOFC_BAD_PORT"
    assert peer.reply(mp.QueueStatsRequest(2, 7)).name == "OFPQOFC_BAD_QUEUE"
    assert peer.reply(mp.QueueStatsRequest(int(OFPP.ANY), 8)).name == "OFPQOFC_BAD_QUEUE"


def test_rates_are_parts_of_the_speed(world, peer):
    world.qos(
        1, QueueSpec(0), QueueSpec(7, min_rate=10 * M, max_rate=33_390_000), QueueSpec(8, max_rate=10**12)
    )
    world.qos(2, QueueSpec(1, min_rate=M, max_rate=2 * M))
    reply = peer.reply(m.QueueGetConfigRequest(1))
    assert reply.port == 1
    assert [(q.port, q.queue_id, q.properties) for q in reply.queues] == [
        (1, 0, ()),
        (1, 7, (QueueMinRate(100), QueueMaxRate(333))),
        (1, 8, (QueueMaxRate(1000),)),
    ]
    (unknown,) = peer.reply(m.QueueGetConfigRequest(2)).queues
    assert unknown.properties == (QueueMinRate(0xFFFF), QueueMaxRate(0xFFFF))
    everywhere = peer.reply(m.QueueGetConfigRequest(int(OFPP.ANY)))
    assert (everywhere.port, [q.port for q in everywhere.queues]) == (OFPP.ANY, [1, 1, 1, 2])
    assert peer.reply(m.QueueGetConfigRequest(9)).name == "OFPQOFC_BAD_PORT"


def test_a_reply_holds_what_a_message_holds(world, peer):
    world.qos(1, *(QueueSpec(i, min_rate=10, max_rate=10) for i in range(2000)))
    assert len(peer.reply(m.QueueGetConfigRequest(1)).queues) == MAX_CONFIG
    assert len(stats(peer, 1)) == 2000


def test_1_0_knows_minimum_rates(world):
    world.qos(1, QueueSpec(7, min_rate=10 * M, max_rate=33 * M))
    old = Peer(world, version=1)
    (queue,) = old.reply(m.QueueGetConfigRequest(1)).queues
    assert (queue.queue_id, queue.properties) == (7, (QueueMinRate(100),))
    assert stats(old, 1) == [(1, 7)]


@pytest.mark.parametrize("queue", [0, 7, 0xFFFFFFFF])
def test_any_queue_may_be_set(world, peer, queue):
    assert peer.do(flow(actions=[act.SetQueue(queue), act.Output(2)])) is None
    world.box.feed(1, FRAME)
    world.box.dp.poll()
    assert world.box.take() == {2: [FRAME]}
