"""A slow, plain OpenFlow 1.3.5 switch in Python, sharing no code with the real one: the oracle of the property tests.

    oracle_packet.py    bytes to fields, checksums from scratch
    oracle_edit.py      actions on bytes
    oracle_model.py     requests and state as plain values
    oracle_pipeline.py  a packet's way: tables, action set, groups, meters
    oracle_mods.py      flow-mods and their kin, and which errors they deserve
    oracle_switch.py    the real switch behind its agent, asked by the same values

Where the specification leaves room the oracle does what README.md of ofproto says that our switch does.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

from tests.fakes import oracle_mods
from tests.fakes.oracle_edit import Dropped
from tests.fakes.oracle_model import (
    LOCAL,
    NO_COOKIE,
    NO_RECV,
    PKTPS,
    PORT_DOWN,
    Bucket,
    Flow,
    Group,
    Meter,
    PacketIn,
    Port,
    Refused,
    Removed,
    Request,
)
from tests.fakes.oracle_pipeline import Walk, Where


class Oracle:
    """The state of one switch; `out`, `punted` and `removed` gather what it sent."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = {number: Port() for number in ports}
        self.flows: list[Flow] = []
        self.groups: dict[int, Group] = {}
        self.meters: dict[int, Meter] = {}
        self.macs: dict[tuple[bytes, int], tuple[int, float]] = {}  # address and VLAN: port, last seen
        self.tables: dict[int, list[int]] = {}  # lookups, matches
        self.out: list[tuple[int, bytes]] = []
        self.punted: list[PacketIn] = []
        self.removed: list[Removed] = []
        self.now = 0.0
        self.drop_fragments = False
        self.wants_ttl = True
        self.miss_send_len = 128
        self.generation = 0
        self.chosen: dict[tuple, int] = {}  # SELECT: the bucket of each flow
        self.choose: Callable[[int], int] = lambda _group: 0

    # ---- packets

    def packet(self, frame: bytes, in_port: int) -> bool:
        """Receive one packet. True: at least one copy was handed on."""
        port = self.ports[in_port]
        port.rx[0] += 1
        port.rx[1] += len(frame)
        if port.config & (PORT_DOWN | NO_RECV) or len(frame) < 14:
            return False
        walk = Walk(self, frame, in_port)
        walk.run()
        port.forwarded += walk.sent
        return walk.sent

    def packet_out(self, frame: bytes, in_port: int, actions: tuple[tuple, ...]) -> None:
        """Run the actions of a packet-out."""
        with contextlib.suppress(Dropped):
            Walk(self, frame, in_port).actions(frame, actions, Where(0, NO_COOKIE))

    # ---- requests

    def request(self, mod: Request, verdict: str | None = None) -> set[str]:
        """Carry a request out; the errors of which the switch may answer any (empty: none). Nothing changes then.

        verdict: what the switch said, which counts where the specification leaves it open.
        """
        try:
            oracle_mods.carry_out(self, mod, verdict)
        except Refused as refused:
            return refused.names
        return set()

    def bundle(self, mods: list[Request], verdicts: list[str | None]) -> tuple[int, set[str]] | None:
        """All of the requests, or none if one is refused: its place and the errors for it."""
        before = copy.deepcopy(self.__dict__)
        for i, (mod, verdict) in enumerate(zip(mods, verdicts, strict=True)):
            faults = self.request(mod, verdict)
            if faults:
                self.__dict__ = before
                return i, faults
        return None

    def advance(self, seconds: int) -> None:
        """Let time go by, and flows with it (5.5)."""
        self.now += seconds
        for flow in list(self.flows):
            if flow.hard and self.now - flow.created >= flow.hard:
                oracle_mods.remove(self, flow, 1)
            elif flow.idle and self.now - flow.used >= flow.idle:
                oracle_mods.remove(self, flow, 0)

    # ---- liveness and rates

    def live(self, bucket: Bucket) -> bool:
        """6.7: the port that it watches is up, or the group that it watches has a live bucket."""
        if bucket.watch_port in self.ports:
            port = self.ports[bucket.watch_port]
            if port.link and not port.config & PORT_DOWN:
                return True
        if bucket.watch_group in self.groups:
            return any(self.live(b) for b in self.groups[bucket.watch_group].buckets)
        return (
            bucket.watch_port > LOCAL and bucket.watch_group not in self.groups and bucket.watch_group > LOCAL
        )

    def conforms(self, meter: Meter, i: int, length: int) -> bool:
        """5.7: does a packet find tokens in the bucket of band i? It takes them then, all that it costs."""
        band = meter.bands[i]
        cost, unit = (1, 1) if meter.flags & PKTPS else (length * 8, 1000)  # packets, or bits
        if self.now > meter.since:  # tests let time pass in steps that fill any bucket
            meter.since = self.now
            meter.taken = [0] * len(meter.bands)
        if meter.taken[i] >= band.burst * unit:
            return False
        meter.taken[i] += cost
        return True
