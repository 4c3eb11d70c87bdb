"""An OpenFlow switch in memory: a fake datapath, a clock that tests move, controllers that talk in bytes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # tests/, for fakes

from fakes.fake_dp import FakeBridge, FakeDatapath, FakePortHandle

from vswitchd.ofproto import channel  # noqa: F401  # registers all handlers
from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.codec import decode, encode, frame, join
from vswitchd.ofproto.connection import Connection, Ready, Request
from vswitchd.ofproto.errors10 import error_name10
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.messages import BarrierReply, BarrierRequest, Error, FlowMod, Hello
from vswitchd.ofproto.multipart import FlowStatsReply, FlowStatsRequest, MultipartReply
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.session import Session
from vswitchd.ofproto.structures import Port


class Clock:
    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def messages(data, version=4):
    """Decode a stream into (xid, message) pairs."""
    found = []
    while data:
        length = frame(data)
        found.append(decode(data[:length], version))
        data = data[length:]
    return found


class Peer:
    """A controller: `ask` sends messages and returns what comes back; `heard` what came unasked."""

    def __init__(self, switch, *, primary=True, version=4):
        self.switch = switch
        self.version = version
        self.connection = Connection(switch.clock)
        self.xid = 100
        self.unasked = []
        self.connection.receive(encode(Hello(frozenset({version}), version), 1))
        assert self.connection.next() == Ready(version)
        self.session = Session(self.connection, "test", primary=primary, budget=switch.agent.bundle_budget)
        switch.agent.sessions.append(self.session)
        switch.agent.watch_punts()
        self.heard()

    def ask(self, *asked):
        data = b""
        for message in asked:
            self.xid += 1
            data += encode(message, self.xid, self.version)
        return self.feed(data)

    def feed(self, data):
        self.connection.receive(data)
        out = b""
        agent, event = self.switch.agent, None
        while agent.run_flow_mods(self.session) or (event := self.connection.next()) is not None:
            if isinstance(event, Request):
                job = agent.request(self.session, event)
                out += self.connection.take_output() + b"".join(job or ())
            event = None
        self.switch.agent.commit()
        found = messages(out + self.connection.take_output(), self.version)
        self.unasked += [message for xid, message in found if xid == 0]
        return [(xid, message) for xid, message in found if xid]

    def reply(self, message):
        """The one reply, parts joined; an error is one too."""
        found = self.ask(message)
        assert {xid for xid, _ in found} == {self.xid}, found
        if isinstance(found[0][1], MultipartReply):
            return join([reply for _, reply in found])
        ((_, reply),) = found
        return reply

    def do(self, message):
        """Send a message that is not answered, then a barrier; None, or the name of the error."""
        found = self.ask(message, BarrierRequest())
        assert isinstance(found[-1][1], BarrierReply)
        if len(found) == 1:
            return None
        ((xid, error), _) = found
        assert isinstance(error, Error)
        assert xid == self.xid - 1
        assert error.data == encode(message, xid, self.version)[:64]
        return error.name if self.version == 4 else error_name10(error.type, error.code)

    def heard(self):
        found, self.unasked = self.unasked, []
        return found + [message for _, message in messages(self.connection.take_output(), self.version)]


class Switch:
    def __init__(self):
        self.clock = Clock()
        self.bridge = FakeBridge()
        self.datapath = FakeDatapath()
        self.agent = Agent(self.bridge, self.datapath, self.clock, Identity(0xABCDEF, "br0", software="1"))
        self.handles = {}
        for number in (1, 2):
            self.handles[number] = FakePortHandle(number)
            self.agent.add_port(port(number), self.handles[number])

    def peer(self, **kwargs):
        return Peer(self, **kwargs)

    def flows(self, peer):
        reply = peer.reply(FlowStatsRequest())
        assert isinstance(reply, FlowStatsReply)
        return reply.entries

    def rule(self, **wanted):
        """The id of the one visible rule with these attributes."""
        found = [
            rule
            for rule, spec in self.bridge.visible().items()
            if all(getattr(spec, name) == value for name, value in wanted.items())
        ]
        assert len(found) == 1, found
        return found[0]


def port(number, **more):
    return Port(number, bytes([2, 0, 0, 0, 0, number & 255]), f"p{number}", **more)


def flow(priority=10, *, out=1, actions=None, **more):
    """A flow-mod: `match` is a dict of fields; output to `out` unless actions or instructions are given."""
    match = Match.named(**more.pop("match", {}))
    done = (Output(out),) if actions is None else tuple(actions)
    instructions = more.pop("instructions", (ApplyActions(done),))
    return FlowMod(priority=priority, match=match, instructions=instructions, **more)
