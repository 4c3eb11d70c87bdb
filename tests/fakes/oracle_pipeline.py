"""A packet's way through the tables, its action set, groups and meters: the oracle's pipeline (1.3.5, 5.1 to 5.12).

One packet at a time, one table at a time, parsed anew before each.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tests.fakes import oracle_model as o
from tests.fakes.oracle_edit import EDITS, Dropped, InvalidTtl, edit, remark
from tests.fakes.oracle_packet import fields, flow_key, layers, num

# 5.10: the order in which an action set runs; set_field and the setting of TTLs are one step.
ORDER = (
    "copy_ttl_in", "pop_vlan", "pop_pbb", "pop_mpls", "push_mpls", "push_pbb", "push_vlan", "copy_ttl_out",
    "dec_mpls_ttl", "dec_nw_ttl", "set_mpls_ttl", "set_nw_ttl", "set_field", "set_queue",
)  # fmt: skip
AGEING = 300  # seconds
SET_ORDER = list(o.FIELDS)


def slot(action: tuple) -> tuple:
    """Two actions of one slot replace each other in an action set. Our switch has one slot for the source ports of TCP, UDP and
    SCTP, and so on: who writes two of them has one too many for any packet."""
    if action[0] != "set_field":
        return action[:1]
    name = action[1]
    for proto in ("tcp_", "udp_", "sctp_", "icmpv4_", "icmpv6_"):
        name = name.removeprefix(proto) if proto != "tcp_" or name != "tcp_flags" else name
    return "set_field", name


def in_order(actions: list[tuple]) -> list[tuple]:
    """An action set as the list that it runs as: group, or else output, last."""
    # nw_ttl, a field of Nicira's, is what set_nw_ttl sets
    actions = [("set_nw_ttl", a[2]) if a[:2] == ("set_field", "nw_ttl") else a for a in actions]
    last = {slot(a): a for a in actions}
    done = [
        a
        for kind in ORDER
        for a in sorted(
            (a for a in last.values() if a[0] == kind),
            key=lambda a: SET_ORDER.index(a[1]) if a[0] == "set_field" else 0,
        )
    ]
    end = last.get(("group",)) or last.get(("output",))
    return [*done, end] if end else done


@dataclass
class Where:
    """From where actions run: what packet-ins tell. cookie -1: no one flow (7.4.1)."""

    table: int
    cookie: int
    reason: int = o.ACTION
    depth: int = 0


class Walk:
    """One packet in the switch `s` (oracle.Oracle). `sent`: it was handed on at least once."""

    def __init__(self, s, frame: bytes, in_port: int) -> None:
        self.s, self.frame, self.in_port = s, frame, in_port
        self.length = len(frame)
        self.metadata = self.tunnel_id = 0
        self.sent = False
        self.chosen: list[tuple[int, int, tuple]] = []  # (group, bucket, flow) of SELECT

    # ---- tables (5.1 to 5.4, 5.9)

    def run(self) -> None:
        with suppress(Dropped):
            self._tables()

    def _tables(self) -> None:
        table, action_set = 0, []
        while True:
            flow = self._lookup(table)
            if flow is None:
                return
            todo = flow.instructions
            miss = flow.priority == 0 and not o.plain(flow.match)
            where = Where(table, flow.cookie, o.NO_MATCH if miss else o.ACTION)
            if "meter" in todo:
                self._meter(todo["meter"])
            self.frame = self.actions(self.frame, todo.get("apply", ()), where)
            if todo.get("clear"):
                action_set = []
            action_set += [(a, where.reason) for a in todo.get("write", ())]
            value, mask = todo.get("metadata", (0, 0))
            self.metadata = self.metadata & ~mask | value & mask
            if "goto" not in todo:
                break
            table = todo["goto"]
        reason = next((r for a, r in reversed(action_set) if a[0] == "output"), o.ACTION)
        self.actions(self.frame, in_order([a for a, _ in action_set]), Where(table, o.NO_COOKIE, reason))

    def _lookup(self, table: int) -> o.Flow | None:
        if self.s.drop_fragments and layers(self.frame).fragment:  # seen by now, or uncovered on the way
            raise Dropped("fragment")
        have = fields(self.frame) | {"in_port": self.in_port, "in_phy_port": self.in_port}
        have |= {"metadata": self.metadata, "tunnel_id": self.tunnel_id}
        count = self.s.tables.setdefault(table, [0, 0])
        count[0] += 1
        hits = [
            flow
            for flow in self.s.flows
            if flow.table == table and all(have.get(n, 0) & m == v & m for n, (v, m) in flow.match.items())
        ]
        best = max(hits, key=lambda flow: flow.priority, default=None)
        if best is not None:
            assert sum(flow.priority == best.priority for flow in hits) == 1, "an ambiguous table"
            count[1] += 1
            best.packets += 1
            best.bytes += self.length
            best.used = self.s.now
        return best

    # ---- actions (5.11, 5.12)

    def actions(self, f: bytes, actions, where: Where) -> bytes:
        for action in actions:
            kind = action[0]
            if kind == "output":
                self.output(f, action[1], action[2], where)
            elif kind == "group":
                self.group(f, action[1], where)
            elif kind == "set_queue" or (kind == "set_field" and action[1] == "tunnel_id"):
                if kind == "set_field":
                    self.tunnel_id = action[2]
            else:
                assert kind in EDITS, action
                try:
                    f = edit(f, action)
                except InvalidTtl:
                    if self.s.wants_ttl:
                        self.punt(f, self.s.miss_send_len, Where(where.table, where.cookie, o.INVALID_TTL))
                    raise
        return f

    def output(self, f: bytes, port: int, max_len: int, where: Where) -> None:
        ports = self.s.ports
        if port in (o.ALL, o.FLOOD):  # 4.5; without OFPPC_NO_FLOOD both are all but the ingress port
            for number in sorted(ports):
                if number != self.in_port:
                    self._send(f, number)
        elif port == o.CONTROLLER:
            self.punt(f, max_len, where)
        elif port == o.NORMAL:
            self._normal(f)
        elif port == o.IN_PORT:
            self._send(f, self.in_port)
        elif port == o.TABLE:
            inner = Walk(self.s, f, self.in_port)
            if self.in_port not in ports or not ports[self.in_port].config & (o.PORT_DOWN | o.NO_RECV):
                inner.run()
            self.sent = self.sent or inner.sent
        elif port != self.in_port:
            self._send(f, port)

    def _send(self, f: bytes, number: int) -> None:
        port = self.s.ports.get(number)
        if port is None or port.config & (o.PORT_DOWN | o.NO_FWD):
            return
        self.sent = True
        if port.link:
            self.s.out.append((number, f))
            port.tx[0] += 1
            port.tx[1] += len(f)

    def _normal(self, f: bytes) -> None:
        """A learning bridge with VLANs (ports are trunks of all); a priority tag is no tag (README of datapath)."""
        tags = layers(f).tags
        vid = num(f[tags[0] : tags[0] + 2]) & 0xFFF if tags else 0
        if f[:5] == bytes.fromhex("0180c20000") and f[5] < 16:
            return
        if self.in_port in self.s.ports and not f[6] & 1:
            self.s.macs[f[6:12], vid] = self.in_port, self.s.now
        known, seen = self.s.macs.get((f[:6], vid), (0, 0.0))
        if f[0] & 1 or not known or self.s.now - seen > AGEING:
            targets = [n for n in sorted(self.s.ports) if n != self.in_port]
        else:
            targets = [known] if known != self.in_port else []
        for number in targets:
            self._send(f[:12] + f[16:] if tags and not vid else f, number)

    def punt(self, f: bytes, max_len: int, where: Where) -> None:
        port = self.s.ports.get(self.in_port)
        if port is not None and port.config & o.NO_PACKET_IN:
            return
        data = f if max_len == o.WHOLE else f[:max_len]
        self.s.punted.append(
            o.PacketIn(
                where.reason,
                where.table,
                where.cookie,
                self.in_port,
                self.metadata,
                self.tunnel_id,
                min(len(f), 0xFFFF),
                data,
                f,
            )
        )
        self.sent = True

    # ---- groups (5.6)

    def group(self, f: bytes, number: int, where: Where) -> None:
        group = self.s.groups.get(number)
        if group is None or not group.buckets:
            return
        group.packets += 1
        group.bytes += len(f)
        if group.type == "select":
            live = [i for i, b in enumerate(group.buckets) if b.weight and self.s.live(b)]
            picked = [self._choose(f, number, group, live)] if live else []
        elif group.type == "ff":
            picked = [i for i, b in enumerate(group.buckets) if self.s.live(b)][:1]
        else:
            picked = list(range(len(group.buckets)))
        tunnel = self.tunnel_id
        for i in picked:
            group.counts[i][0] += 1
            group.counts[i][1] += len(f)
            self.tunnel_id = tunnel  # each bucket works on a copy of the packet and its context
            inside = Where(where.table, o.NO_COOKIE, o.ACTION, where.depth + 1)
            try:
                self.actions(f, in_order(list(group.buckets[i].actions)), inside)
            except Dropped:
                continue
        self.tunnel_id = tunnel

    def _choose(self, f: bytes, number: int, group: o.Group, live: list[int]) -> int:
        bucket = live[0] if len(live) == 1 else self.s.choose(number)
        assert bucket in live, f"SELECT group {number} took bucket {bucket}, of these are live: {live}"
        weights = tuple(live)
        same = self.s.chosen.setdefault((number, group.generation, weights, flow_key(f)), bucket)
        assert same == bucket, f"SELECT group {number}: a flow went from bucket {same} to {bucket}"
        return bucket

    # ---- meters (5.7)

    def _meter(self, number: int) -> None:
        meter = self.s.meters.get(number)
        if meter is None:
            return
        meter.packets += 1
        meter.bytes += len(self.frame)
        # A lower band measures what the higher ones let through (README of datapath): the first that is exceeded applies.
        order = sorted(range(len(meter.bands)), key=lambda i: -meter.bands[i].rate)
        over = next((i for i in order if not self.s.conforms(meter, i, len(self.frame))), None)
        if over is None:
            return
        meter.counts[over][0] += 1
        meter.counts[over][1] += len(self.frame)
        if meter.bands[over].type == "drop":
            raise Dropped("meter")
        self.frame = remark(self.frame, meter.bands[over].level)
