"""Random requests and packets for the oracle and the switch, dense enough that most packets meet flows; from a seed.

What is asked depends on what the oracle holds by then, so that deletes find flows and adds meet groups that exist.
"""

from __future__ import annotations

import copy
import random
from dataclasses import replace

from tests.fakes import oracle_model as o
from tests.fakes.oracle import Oracle
from tests.fakes.oracle_checks import inconsistent
from tests.fakes.oracle_faults import BAD_MATCHES, WRONG_ACTIONS
from tests.fakes.oracle_frames import ISIDS, L4, LABELS, MACS, TTLS, V4, V6, VIDS, frame
from tests.fakes.oracle_mods import overlap
from tests.fakes.oracle_packet import fields

PORTS = [1, 2, 3, 4]
GROUPS = [1, 2, 3, 4]
METERS = [1, 2]
TABLES = [0, 0, 0, 1, 1, 2, 2, 253]
Op = tuple
MASKS = {"metadata": [3, 1], "tunnel_id": [0xFF, 1], "eth_dst": [1 << 40, 0xFF], "eth_src": [0xFF, 0xFFFFFF]}

SETTABLE = [n for n in o.FIELDS if o.FIELDS[n][2]]


class Maker:
    """Makes operations for one case."""

    def __init__(self, r: random.Random, s: Oracle) -> None:
        self.r, self.s = r, s
        self.guide: o.Match = {}  # what actions are to fit
        self.fitting: tuple[list[str], list[str]] = (
            [],
            [],
        )  # fields that fit, those of them that need a header
        self.pool = [frame(r) for _ in range(r.choice([4, 8]))]

    # ---- matches

    def match(self) -> o.Match:
        """Mostly what a frame of the pool has; prerequisites hold. Often no more than of which kind the frame is."""
        r = self.r
        sample = r.choice(self.pool)
        seen = fields(sample) if len(sample) >= 14 else {}
        seen |= {
            "in_port": r.choice(PORTS),
            "metadata": r.choice([0, 1, 2, 3]),
            "tunnel_id": r.choice([0, 5]),
        }
        seen["in_phy_port"] = seen["in_port"]
        seen = {n: v for n, v in seen.items() if n in o.FIELDS}
        names = r.sample(list(seen), min(len(seen), r.choice([0, 0, 0, 1, 1, 2, 4])))
        if r.random() < 0.7:
            names += [n for n in ("eth_type", "ip_proto", "icmpv6_type") if n in seen and r.random() < 0.9]
        if r.random() < 0.15:
            names.append("metadata")
        if seen.get("vlan_vid") and r.random() < 0.4:
            names.append("vlan_vid")
        closed = set()
        while names:
            name = names.pop()
            closed.add(name)
            names += [other for other, _ in o.FIELDS[name][3]]
        if any(n not in seen for n in closed):
            return {}
        needed = {other for n in closed for other, _ in o.FIELDS[n][3]}
        return {
            n: self._value(n, seen[n], exact=n in needed)
            for n in o.FIELDS
            if n in closed and self._possible(n, seen)
        }

    def _possible(self, name: str, seen: dict[str, int]) -> bool:
        return all(
            seen[other] & 0x1000 if other == "vlan_vid" else not allowed or seen[other] in allowed
            for other, allowed in o.FIELDS[name][3]
        )

    def _value(self, name: str, value: int, *, exact: bool) -> tuple[int, int]:
        r, full = self.r, o.ones(name)
        if name == "vlan_vid" and value:
            return r.choice([(value, full), (0x1000, 0x1000), (value, full)])
        if not exact and r.random() < 0.08:
            value ^= 1
        if o.FIELDS[name][1] and not exact:
            mask = (
                r.choice([full, full, full & ~0xFF, full & ~1, 1, r.choice(MASKS.get(name, [full]))]) & full
            )
            return value & mask, mask
        return value, full

    # ---- actions

    def set_field(self) -> tuple:
        r = self.r
        fit, deep = self.fitting
        name = r.choice(r.choice([SETTABLE, fit, deep or fit, deep or fit]))
        bits = o.FIELDS[name][0]
        pools = {
            48: MACS,
            32: V4,
            128: V6,
            16: L4,
            64: [5, 6],
            13: [0x1000 | v for v in VIDS],
            24: ISIDS,
            20: LABELS,
            8: TTLS if name == "nw_ttl" else [135, 136, 8, 0],
        }
        if name == "arp_op":
            return "set_field", name, r.choice([1, 2])
        return "set_field", name, r.choice(pools.get(bits, [0, 1, (1 << bits) - 1]))

    def edit(self) -> tuple:
        r = self.r
        simple = [
            ("push_vlan", r.choice([0x8100, 0x88A8])),
            ("pop_vlan",),
            ("dec_nw_ttl",),
            ("dec_nw_ttl",),
            ("set_nw_ttl", r.choice(TTLS)),
        ]
        simple += [
            ("push_mpls", r.choice([0x8847, 0x8848])),
            ("pop_mpls", r.choice([0x0800, 0x86DD, 0x8847, 0x8100])),
            ("set_mpls_ttl", r.choice(TTLS)),
            ("dec_mpls_ttl",),
            ("copy_ttl_in",),
            ("copy_ttl_out",),
        ]
        simple += [("push_pbb", 0x88E7), ("pop_pbb",)]
        if r.random() < 0.6:
            return self.set_field()
        action = r.choice(simple)
        if inconsistent(self.guide, [action]) is True:
            action = r.choice(simple)
        return action

    def output(self) -> tuple:
        r = self.r
        port = r.choice(
            [*PORTS, *PORTS, 9, o.ALL, o.FLOOD, o.IN_PORT, o.CONTROLLER, o.CONTROLLER, o.LOCAL, o.NORMAL]
        )
        return "output", port, r.choice([o.WHOLE, 0, 20, 64, 128]) if port == o.CONTROLLER else o.WHOLE

    def action(self) -> tuple:
        r = self.r
        pick = r.random()
        if pick < 0.5:
            return self.edit()
        if pick < 0.8:
            return self.output()
        if pick < 0.95 and self.s.groups:
            return "group", r.choice(list(self.s.groups))
        if pick < 0.97:
            return "set_queue", r.choice([0, 1])
        return self.wrong() if r.random() < 0.1 else self.output()

    def wrong(self) -> tuple:
        """An action that is refused."""
        return self.r.choice(WRONG_ACTIONS)

    def actions(self, match: o.Match, most: int) -> tuple[tuple, ...]:
        """A list whose actions mostly fit a match."""
        done: list[tuple] = []
        self.guide = match
        fit = [n for n in SETTABLE if inconsistent(match, [("set_field", n, 0)]) is False]
        self.fitting = fit, [n for n in fit if o.FIELDS[n][3]]
        for _ in range(self.r.randrange(most + 1)):
            for _ in range(6):
                action = self.action()
                if inconsistent(match, [*done, action]) is not True or self.r.random() < 0.01:
                    done.append(action)
                    break
        return tuple(done)

    def action_set(self, match: o.Match) -> tuple[tuple, ...]:
        """Without fields whose order would show: what an ICMPv6 packet carries hangs on its type."""
        found = self.actions(match if len(match) > 1 else self.match(), 5)
        return tuple(a for a in found if a[:2] != ("set_field", "icmpv6_type"))

    # ---- requests

    def instructions(self, match: o.Match, table: int) -> dict:
        r = self.r
        todo: dict = {}
        if self.s.meters and r.random() < 0.2:
            todo["meter"] = r.choice([*METERS, 9]) if r.random() < 0.1 else r.choice(list(self.s.meters))
        if r.random() < 0.75:
            todo["apply"] = self.actions(match, 4)
        if r.random() < 0.15:
            todo["clear"] = True
        if r.random() < 0.4:
            todo["write"] = self.action_set(match)
        if r.random() < 0.35:
            todo["metadata"] = r.choice([(1, 1), (2, 3), (0, 1), (2, 2), (3, 3)])
        later = [t for t in TABLES if t > table]
        if later and r.random() < 0.6:
            filled = [f.table for f in self.s.flows if f.table > table] or later
            todo["goto"] = r.choice(r.choice([later, filled]))
        elif r.random() < 0.01:
            todo["goto"] = r.choice([0, 254, table])
        return todo

    def flow_mod(self) -> o.FlowMod:
        r = self.r
        pick = r.random()
        if self.s.flows and pick < 0.3:
            return self._about(r.choice(self.s.flows))
        table = r.choice(TABLES) if r.random() < 0.98 else r.choice([254, 255])
        match = {} if r.random() < 0.2 else self.match()
        priority = r.choice([0, 1, 2, 3, 4, 5, 6, 0xFFFF])
        flags = r.choice([0, 0, o.SEND_FLOW_REM, o.SEND_FLOW_REM, o.RESET_COUNTS, o.CHECK_OVERLAP])
        mod = o.FlowMod(
            "add",
            table,
            priority,
            match,
            self.instructions(match, table),
            cookie=r.randrange(1, 5),
            flags=flags,
        )
        if r.random() < 0.1:
            mod = replace(mod, **r.choice([{"idle": 3}, {"hard": 5}]))
        if r.random() < 0.03:
            mod = replace(mod, match=self.bad_match(match))
        return self.unambiguous(mod)

    def unambiguous(self, mod: o.FlowMod) -> o.FlowMod:
        """Of two overlapping entries of one priority either may win: such an add asks to be refused."""
        for flow in self.s.flows:
            twin = (flow.table, flow.priority) == (mod.table, mod.priority)
            if twin and overlap(flow.match, mod.match) and o.plain(flow.match) != o.plain(mod.match):
                return replace(mod, flags=mod.flags | o.CHECK_OVERLAP)
        return mod

    def _about(self, flow: o.Flow) -> o.FlowMod:
        """A change of flows that are there."""
        r = self.r
        command = r.choice(["add", "modify", "modify_strict", "delete", "delete_strict", "delete_strict"])
        match = dict(flow.match)
        if match and not command.endswith("strict") and command != "add":
            match = {} if r.random() < 0.1 else self._loosen(match)
        todo = {} if command.startswith("delete") else self.instructions(match, flow.table)
        mod = o.FlowMod(
            command,
            flow.table,
            flow.priority,
            match,
            todo,
            flags=r.choice([0, 0, o.RESET_COUNTS, o.SEND_FLOW_REM]),
        )
        if command == "add":
            return replace(mod, cookie=r.randrange(1, 5))
        if r.random() < 0.3:
            mod = replace(mod, cookie=flow.cookie ^ r.choice([0, 0, 1]), cookie_mask=r.choice([7, 1]))
        if command.startswith("delete"):
            if r.random() < 0.3:
                mod = replace(mod, table=o.ALL_TABLES)
            if r.random() < 0.2:
                mod = replace(mod, out_port=r.choice([*PORTS, o.CONTROLLER]))
            if r.random() < 0.2:
                mod = replace(mod, out_group=r.choice(GROUPS))
        return mod

    def _loosen(self, match: o.Match) -> o.Match:
        """Leave out fields that no other one needs."""
        out = dict(match)
        for name in list(match):
            if self.r.random() < 0.5 and not any(name in (p[0] for p in o.FIELDS[n][3]) for n in out):
                del out[name]
        return out

    def bad_match(self, match: o.Match) -> o.Match:
        extra = self.r.choice(BAD_MATCHES)
        return {n: v for n, v in match.items() if n not in extra} | extra

    def group_mod(self) -> o.GroupMod:
        r = self.r
        number = r.choice(GROUPS) if r.random() < 0.97 else r.choice([o.GROUP_ALL, 0xFFFFFF01])
        command = r.choice(["add", "add", "modify", "delete"]) if number in self.s.groups else "add"
        if r.random() < 0.05:
            command = r.choice(["add", "modify", "delete"])
        if command == "delete":
            return o.GroupMod("delete", number)
        kind = r.choice(["all", "indirect", "select", "ff"])
        n = 1 if kind == "indirect" and r.random() < 0.97 else r.choice([0, 1, 2, 2, 3])
        return o.GroupMod(command, number, kind, tuple(self.bucket(kind, number) for _ in range(n)))

    def bucket(self, kind: str, number: int) -> o.Bucket:
        r = self.r
        actions = list(self.action_set(self.match()))
        actions = [a for a in actions if a[0] != "group" or r.random() < 0.1]
        later = [g for g in self.s.groups if g > number]
        if later and r.random() < 0.5:
            actions.append(("group", r.choice(later)))
        if r.random() < 0.5:
            actions.append(self.output())
        weight, port, group = 0, o.ANY, o.GROUP_ANY
        if kind == "select":
            weight = r.choice([1, 1, 2, 5])
        if (kind == "ff" and r.random() < 0.97) or (kind == "select" and r.random() < 0.3):
            port = r.choice(PORTS)
            watched = later if r.random() < 0.9 else list(self.s.groups)
            if watched and r.random() < 0.3:
                port, group = r.choice([o.ANY, port]), r.choice(watched)
        if r.random() < 0.01:
            weight, port = r.choice([(3, o.ANY), (0, 2)])
        return o.Bucket(tuple(actions), weight, port, group)

    def meter_mod(self) -> o.MeterMod:
        r = self.r
        number = r.choice(METERS) if r.random() < 0.97 else r.choice([0, o.METER_ALL, 0xFFFF0001])
        command = r.choice(["add", "modify", "delete"]) if number in self.s.meters else "add"
        if command == "delete":
            return o.MeterMod("delete", number)
        unit = r.choice([o.PKTPS, o.KBPS])
        bands = tuple(
            o.Band(r.choice(["drop", "dscp_remark"]), rate, r.choice([1, 3, 6]), 0)
            for rate in r.sample([20, 30, 40], r.choice([1, 1, 2]))  # a second fills any bucket
        )
        bands = tuple(replace(b, level=r.choice([1, 2])) if b.type == "dscp_remark" else b for b in bands)
        flags = unit | o.BURST | r.choice([0, o.STATS])
        return o.MeterMod(command, number, flags if r.random() < 0.97 else 3, bands)

    def band(self, rate: int) -> o.Band:
        r = self.r
        burst = r.choice([1, 3, 6])
        return r.choice([o.Band("drop", rate, burst), o.Band("dscp_remark", rate, burst, r.choice([1, 2]))])

    def port_mod(self) -> o.PortMod:
        r = self.r
        port = r.choice(PORTS) if r.random() < 0.95 else 77
        bit = r.choice([o.PORT_DOWN, o.NO_RECV, o.NO_FWD, o.NO_PACKET_IN])
        had = self.s.ports[port].config if port in self.s.ports else 0
        config = 0 if had and r.random() < 0.7 else bit
        mask = had | bit if r.random() < 0.97 else r.choice([2, 8, 1 << 31])
        return o.PortMod(port, config & mask, mask, b"\x02wrong" if r.random() < 0.03 else None)

    def packet_out(self) -> o.PacketOut:
        r = self.r
        port = r.choice([*PORTS, o.CONTROLLER]) if r.random() < 0.95 else 77
        actions = self.actions({}, 4)
        if r.random() < 0.4:
            actions = (*actions, ("output", o.TABLE, o.WHOLE))
        data = r.choice(self.pool) if r.random() < 0.95 else b"short"
        return o.PacketOut(port, actions, data)

    def packets(self) -> Op:
        r = self.r
        some = [r.choice(self.pool) for _ in range(r.choice([1, 4, 10]))]
        return "packets", r.choice([1, 2, 3]), tuple(some)

    def bundle(self) -> Op:
        """Some requests, each made as if those before it were carried out."""
        before, self.s = self.s, copy.deepcopy(self.s)
        mods: list[o.Request] = []
        for _ in range(self.r.randrange(1, 6)):
            mod = self.r.choice(
                [self.flow_mod, self.flow_mod, self.group_mod, self.meter_mod, self.port_mod]
            )()
            if not self.s.request(mod) or self.r.random() < 0.3:
                mods.append(mod)
        self.s = before
        return "bundle", *mods

    def op(self) -> Op:
        """One operation."""
        r = self.r
        pick = r.random()
        if pick < 0.40:
            return "request", self.flow_mod()
        if pick < 0.52:
            return "request", self.group_mod()
        if pick < 0.57:
            return "request", self.meter_mod()
        if pick < 0.60:
            return "request", self.port_mod()
        if pick < 0.64:
            return "request", self.packet_out()
        if pick < 0.65:
            mod = self.packet_out() if r.random() < 0.5 else self.flow_mod()
            if not isinstance(mod, o.FlowMod) or not mod.command.startswith("delete"):
                return "buffered", r.randrange(100), mod
        if pick < 0.66:
            return "advance", r.choice([1, 2, 30])
        if pick < 0.67:
            return "fragments", r.random() < 0.5
        if pick < 0.68:
            return "link", r.choice(PORTS), r.random() < 0.6
        if pick < 0.70:
            return self.bundle()
        if pick < 0.72:
            return ("statistics",)
        return self.packets()
