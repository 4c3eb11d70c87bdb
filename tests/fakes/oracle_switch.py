"""The real switch, asked by the oracle's values: its agent and codec over a manual datapath with test ports.

Requests go in as bytes of OpenFlow, answers, packet-ins and flow-removed messages come out as bytes and are decoded. Beyond
the codec nothing of the control plane is called.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.fakes import oracle_model as o
from tests.fakes.switchbox import SwitchBox
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import channel  # noqa: F401  # registers all handlers
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import decode, encode, frame, join
from vswitchd.ofproto.connection import Connection, Ready, Request
from vswitchd.ofproto.constants import OFPBCT, OFPFC, OFPGC, OFPGT, OFPMC
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.multipart import MultipartReply
from vswitchd.ofproto.oxm import FieldMatch, Match
from vswitchd.ofproto.session import Session
from vswitchd.ofproto.structures import Bucket, DropBand, DscpRemarkBand, Port

EPOCH_MS = 1_000_000


class RealSwitch:
    """A bridge of test ports 1..n, and one controller. Time stands still unless `advance()` is called."""

    def __init__(self, ports: int, *, emc_entries: int, cores: int = 1) -> None:
        self.box = SwitchBox(ports, emc_entries=emc_entries)
        self.ms = EPOCH_MS
        self.box.dp.set_time_ms(self.ms)
        self.box.dp.set_cores([-1 - i for i in range(cores)])
        self.agent = Agent(self.box.bridge, self.box.dp, lambda: self.ms / 1000, Identity(1))
        for number, handle in self.box.ports.items():
            self.agent.add_port(Port(number, hw_addr(number), f"p{number}"), handle)
        self.connection = Connection(lambda: self.ms / 1000, probe=0)
        self.session = Session(self.connection, "oracle", primary=True)
        self.xid = 1
        self.connection.receive(encode(m.Hello(frozenset({4})), 1))
        assert isinstance(self.connection.next(), Ready)
        self.agent.sessions.append(self.session)
        self.unasked: list[tuple[int, Any]] = []
        self.connection.take_output()
        self.ask(m.SetAsync(7, 0, 0, 0, 15, 0))

    def close(self) -> None:
        self.box.close()

    # ---- messages

    def ask(self, message: Any) -> Any:
        """The answer to a message: a reply with its parts joined, an error, or None."""
        self.xid += 1
        self.connection.receive(encode(message, self.xid))
        found = []
        while (event := self.connection.next()) is not None:
            data = b""
            if isinstance(event, Request):
                job = self.agent.request(self.session, event)
                data = self.connection.take_output() + b"".join(job or ())
            found += self._read(data)
        self.agent.commit()
        found += self._read(b"")
        answers = [answer for xid, answer in found if xid == self.xid]
        self.unasked += [(xid, answer) for xid, answer in found if xid != self.xid]
        if answers and isinstance(answers[0], MultipartReply):
            return join(answers)
        assert len(answers) <= 1, answers
        return answers[0] if answers else None

    def _read(self, data: bytes) -> list[tuple[int, Any]]:
        data += self.connection.take_output()
        found = []
        while data:
            length = frame(data)
            assert length
            found.append(decode(data[:length]))
            data = data[length:]
        return found

    def request(self, mod: o.Request, buffer: int | None = None) -> str | None:
        """Send a request, about a buffered packet or none; the name of the error, if it was refused."""
        message = message_of(mod)
        if buffer is not None:
            message = replace(
                message, buffer_id=buffer, **({"data": b""} if isinstance(mod, o.PacketOut) else {})
            )
        answer = self.ask(message)
        assert answer is None or isinstance(answer, m.Error), answer
        return None if answer is None else answer.name

    def bundle(self, mods: tuple[o.Request, ...]) -> tuple[list[str | None], str | None]:
        """Put requests in a bundle and commit it; what was said of each, and of the commit."""
        said: list[str | None] = []
        number, places = self.xid, {}
        assert isinstance(self.ask(BundleControl(number, OFPBCT.OPEN_REQUEST)), BundleControl)
        for i, mod in enumerate(mods):
            bundled = Bundled(self.xid + 1, message_of(mod))
            places[self.xid + 1] = i
            answer = self.ask(BundleAdd(number, 0, bundled))
            assert answer is None or isinstance(answer, m.Error), answer
            said.append(None if answer is None else answer.name)
        answer = self.ask(BundleControl(number, OFPBCT.COMMIT_REQUEST))
        for xid, error in [(xid, error) for xid, error in self.unasked if xid in places]:
            said[places[xid]] = error.name
            self.unasked.remove((xid, error))
        return said, answer.name if isinstance(answer, m.Error) else None

    def told(self) -> tuple[list[tuple[o.PacketIn, int]], list[o.Removed]]:
        """Packet-ins with their buffers and flow-removed messages since the last time."""
        for punt in self.box.dp.take_punts():
            self.agent.punt(punt)
        found = [message for _, message in self.unasked + self._read(b"")]
        self.unasked.clear()
        packets = [
            (packet_in_of(message), message.buffer_id) for message in found if isinstance(message, m.PacketIn)
        ]
        removed = [removed_of(message) for message in found if isinstance(message, m.FlowRemoved)]
        return packets, removed

    # ---- packets and time

    def packets(self, in_port: int, frames: list[bytes]) -> dict[int, list[bytes]]:
        """Receive frames in one batch; {port: frames} of what was sent."""
        return self.box.send(in_port, *frames)

    def forwarded(self, port: int) -> int:
        """Packets of a port that were handed on at least once."""
        return int(self.box.ports[port].counters().rx_forwarded)

    def advance(self, seconds: int) -> None:
        self.ms += seconds * 1000
        self.box.dp.set_time_ms(self.ms)
        self.settle()

    def settle(self) -> None:
        """Let timeouts be seen and removed flows be told."""
        for _ in range(2):
            self.agent.tick()
            self.box.dp.poll()
            self.box.retire()
        self.agent.tick()


def hw_addr(number: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, number])


# ---- the oracle's values as messages


def message_of(mod: o.Request) -> Any:
    if isinstance(mod, o.FlowMod):
        return m.FlowMod(
            mod.cookie, mod.cookie_mask, mod.table, OFPFC[mod.command.upper()], mod.idle, mod.hard, mod.priority,
            out_port=mod.out_port, out_group=mod.out_group, flags=mod.flags, match=match_of(mod.match),
            instructions=instructions_of(mod.instructions),
        )  # fmt: skip
    if isinstance(mod, o.GroupMod):
        buckets = tuple(
            Bucket(b.weight, b.watch_port, b.watch_group, actions_of(b.actions)) for b in mod.buckets
        )
        return m.GroupMod(OFPGC[mod.command.upper()], OFPGT[mod.type.upper()], mod.group, buckets)
    if isinstance(mod, o.MeterMod):
        bands = tuple(
            DropBand(b.rate, b.burst) if b.type == "drop" else DscpRemarkBand(b.rate, b.burst, b.level)
            for b in mod.bands
        )
        return m.MeterMod(OFPMC[mod.command.upper()], mod.flags, mod.meter, bands)
    if isinstance(mod, o.PortMod):
        return m.PortMod(mod.port, mod.hw_addr or hw_addr(mod.port & 0xFF), mod.config, mod.mask)
    return m.PacketOut(in_port=mod.in_port, actions=actions_of(mod.actions), data=mod.data)


def match_of(match: o.Match) -> Match:
    """The entries stay in their order and are not checked: that is for the switch."""
    return Match(
        tuple(
            FieldMatch(BY_NAME[n], v, None if mask == o.ones(n) else mask) for n, (v, mask) in match.items()
        )
    )


def plain_match(match: Match) -> tuple:
    return tuple(
        sorted((e.field.name, e.value, o.ones(e.field.name) if e.mask is None else e.mask) for e in match)
    )


def instructions_of(todo: dict) -> tuple[Any, ...]:
    found: list[Any] = []
    if "meter" in todo:
        found.append(ins.Meter(todo["meter"]))
    if "apply" in todo:
        found.append(ins.ApplyActions(actions_of(todo["apply"])))
    if todo.get("clear"):
        found.append(ins.ClearActions())
    if "write" in todo:
        found.append(ins.WriteActions(actions_of(todo["write"])))
    if "metadata" in todo:
        found.append(ins.WriteMetadata(*todo["metadata"]))
    if "goto" in todo:
        found.append(ins.GotoTable(todo["goto"]))
    return tuple(found)


ACTIONS = {
    "output": act.Output, "group": act.Group, "set_queue": act.SetQueue, "push_vlan": act.PushVlan,
    "pop_vlan": act.PopVlan, "push_mpls": act.PushMpls, "pop_mpls": act.PopMpls, "push_pbb": act.PushPbb,
    "pop_pbb": act.PopPbb, "set_mpls_ttl": act.SetMplsTtl, "dec_mpls_ttl": act.DecMplsTtl,
    "set_nw_ttl": act.SetNwTtl, "dec_nw_ttl": act.DecNwTtl, "copy_ttl_out": act.CopyTtlOut,
    "copy_ttl_in": act.CopyTtlIn,
    "set_field": lambda name, value: act.SetField(BY_NAME[name], value),
}  # fmt: skip


def actions_of(actions: Any) -> tuple[Any, ...]:
    return tuple(ACTIONS[a[0]](*a[1:]) for a in actions)


def packet_in_of(message: m.PacketIn) -> o.PacketIn:
    have = {e.field.name: e.value for e in message.match}
    assert have.pop("in_phy_port", have["in_port"]) == have["in_port"]
    return o.PacketIn(
        message.reason, message.table_id, message.cookie, have.pop("in_port"), have.pop("metadata", 0),
        have.pop("tunnel_id", 0), message.total_len, message.data,
    )  # fmt: skip


def removed_of(message: m.FlowRemoved) -> o.Removed:
    return o.Removed(
        message.reason, message.table_id, message.priority, message.cookie, message.idle_timeout,
        message.hard_timeout, message.packet_count, message.byte_count, message.duration_sec,
        plain_match(message.match),
    )  # fmt: skip


# ---- statistics, as the oracle holds them


def flow_stats(real: RealSwitch) -> list[tuple]:
    """(table, priority, match, cookie, flags, idle, hard, seconds, packets, bytes, instructions)."""
    return sorted(
        (
            (
                e.table_id, e.priority, plain_match(e.match), e.cookie, e.flags, e.idle_timeout, e.hard_timeout,
                e.duration_sec, e.packet_count, e.byte_count, repr(e.instructions),
            )
            for e in real.ask(mp.FlowStatsRequest()).entries
        ),
        key=repr,
    )  # fmt: skip


def oracle_flow_stats(s: Any) -> list[tuple]:
    return sorted(
        (
            (
                f.table, f.priority, o.plain(f.match), f.cookie, f.flags, f.idle, f.hard, int(s.now - f.created),
                f.packets, f.bytes, repr(instructions_of(f.instructions)),
            )
            for f in s.flows
        ),
        key=repr,
    )  # fmt: skip


def table_stats(real: RealSwitch) -> dict[int, tuple[int, int, int]]:
    entries = real.ask(mp.TableStatsRequest()).entries
    return {
        e.table_id: (e.active_count, e.lookup_count, e.matched_count)
        for e in entries
        if e.active_count or e.matched_count
    }


def oracle_table_stats(s: Any) -> dict[int, tuple[int, int, int]]:
    found = {}
    for table in range(254):
        active = sum(f.table == table for f in s.flows)
        lookups, matches = s.tables.get(table, (0, 0))
        if active or matches:
            found[table] = (active, lookups, matches)
    return found


def port_stats(real: RealSwitch) -> dict[int, tuple[int, ...]]:
    entries = real.ask(mp.PortStatsRequest()).entries
    return {e.port_no: (e.rx_packets, e.rx_bytes, e.tx_packets, e.tx_bytes) for e in entries}


def group_stats(real: RealSwitch) -> dict[int, tuple]:
    return {
        e.group_id: (
            e.ref_count, e.packet_count, e.byte_count,
            tuple((c.packet_count, c.byte_count) for c in e.bucket_stats),
        )
        for e in real.ask(mp.GroupStatsRequest(o.GROUP_ALL)).entries
    }  # fmt: skip


def oracle_group_stats(s: Any) -> dict[int, tuple]:
    found = {}
    for number, group in s.groups.items():
        uses = ("group", number)
        flows = sum(uses in f.actions() for f in s.flows)
        groups = sum(any(uses in b.actions for b in other.buckets) for other in s.groups.values())
        counts = tuple(tuple(c) for c in group.counts)
        found[number] = (flows + groups, group.packets, group.bytes, counts)
    return found


def meter_stats(real: RealSwitch) -> dict[int, tuple]:
    return {
        e.meter_id: (
            e.flow_count, e.packet_in_count, e.byte_in_count,
            tuple((c.packet_count, c.byte_count) for c in e.band_stats),
        )
        for e in real.ask(mp.MeterStatsRequest(o.METER_ALL)).entries
    }  # fmt: skip


def oracle_meter_stats(s: Any) -> dict[int, tuple]:
    return {
        number: (
            sum(f.instructions.get("meter") == number for f in s.flows), meter.packets, meter.bytes,
            tuple(tuple(c) for c in meter.counts),
        )
        for number, meter in s.meters.items()
    }  # fmt: skip
