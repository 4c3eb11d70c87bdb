"""One random case: the switch and the oracle get the same operations, and all that can be seen of them must agree.

A case is its seed. What it did is recorded as plain operations, so that a failing one can be cut down to the few that matter.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from typing import Any

from tests.fakes import oracle_model as o
from tests.fakes import oracle_switch as sw
from tests.fakes import pipelines
from tests.fakes.oracle import Oracle
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp

NO_BUFFER = 0xFFFFFFFF


class Ambiguous(Exception):
    """A SELECT group ran more than once for a packet: which bucket it took when cannot be seen."""


class Case:
    """The switch, with or without a cache, on one core or two, and the oracle."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        emc, cores = self.r.choice([(0, 1), (16, 1), (4096, 1), (4096, 2)])
        self.real = sw.RealSwitch(len(pipelines.PORTS), emc_entries=emc, cores=cores)
        self.oracle = Oracle(pipelines.PORTS)
        self.oracle.now = sw.EPOCH_MS / 1000
        self.done: list[pipelines.Op] = []
        self.buffers: list[tuple[int, bytes, int]] = []  # number, frame, port that it came in by

    def run(self, n: int) -> None:
        """n random operations."""
        maker = pipelines.Maker(self.r, self.oracle)
        self.request(o.PortMod(1, 0, 0))
        for make in [maker.group_mod, maker.group_mod, *[maker.flow_mod] * 4]:
            self.do(("request", make()))
        for _ in range(n):
            self.do(maker.op())
        self.do(("statistics",))

    def replay(self, ops: list[pipelines.Op]) -> None:
        """The same operations again, or some of them."""
        for op in ops:
            self.do(op)

    def close(self) -> None:
        self.real.close()

    def do(self, op: pipelines.Op) -> None:
        self.done.append(op)
        try:
            getattr(self, op[0])(*op[1:])
        except Ambiguous:
            raise
        except AssertionError as error:
            raise AssertionError(f"{shown(op)}\n{error}") from error

    # ---- operations

    def request(self, mod: o.Request) -> None:
        if isinstance(mod, o.PacketOut):
            self._look_at_buckets()
            self._packet_out(mod, None)
            return
        verdict = self.real.request(mod)
        allowed = self.oracle.request(mod, verdict)
        same(verdict, allowed and f"one of {sorted(allowed)}", verdict in (allowed or {None}))
        self.real.settle()
        self._compare_told()

    def buffered(self, which: int, mod: o.FlowMod | o.PacketOut) -> None:
        """A request about a packet that the switch kept (7.3.4.1, 7.3.7)."""
        if not self.buffers:
            return
        number, frame, port = self.buffers.pop(which % len(self.buffers))
        self._look_at_buckets()
        if isinstance(mod, o.PacketOut):
            refused = self._packet_out(o.replace(mod, data=frame), number)
        else:
            verdict = self.real.request(mod, number)
            got = self.real.box.take()
            self._note_choices()
            refused = self.oracle.request(mod, verdict)
            same(verdict, refused and f"one of {sorted(refused)}", verdict in (refused or {None}))
            if not refused:
                self.oracle.packet_out(frame, port, (("output", o.TABLE, o.WHOLE),))
            self.real.settle()
            self._compare_out(got)
        if not refused:  # it is used up
            again = self.real.request(o.PacketOut(port, (), b""), number)
            same(again, "OFPBRC_BUFFER_EMPTY", again == "OFPBRC_BUFFER_EMPTY")

    def bundle(self, *mods: o.Request) -> None:
        said, end = self.real.bundle(mods)
        kept = [(mod, verdict) for mod, verdict in zip(mods, said, strict=True) if verdict is None or end]
        malformed = [(mod, verdict) for mod, verdict in zip(mods, said, strict=True) if verdict and not end]
        for mod, verdict in malformed:  # refused when they were added: not a part of it
            same(
                verdict, "well-formed", verdict in copy.deepcopy(self.oracle).request(mod, verdict), "bundle"
            )
        failed = self.oracle.bundle([mod for mod, _ in kept], [verdict for _, verdict in kept])
        if failed is None:
            same(end, None, end is None, "bundle")
        else:
            place, allowed = failed
            verdict = kept[place][1]
            same(verdict, f"{place}: one of {sorted(allowed)}", verdict in allowed, "bundle")
            same(end, "OFPBFC_MSG_FAILED", end == "OFPBFC_MSG_FAILED", "bundle")
        self.real.settle()
        self._compare_told()

    def _packet_out(self, mod: o.PacketOut, buffer: int | None) -> set[str]:
        verdict = self.real.request(mod, buffer)
        got = self.real.box.take()
        self._note_choices()
        allowed = self.oracle.request(mod)
        same(verdict, allowed and f"one of {sorted(allowed)}", verdict in (allowed or {None}))
        self._compare_out(got)
        return allowed

    def packets(self, in_port: int, frames: tuple[bytes, ...]) -> None:
        # One by one where it matters which packet comes first: in a batch order is kept within a flow, not between flows.
        batches = [[f] for f in frames] if self._order_matters() else [list(frames)]
        for batch in batches:
            self._look_at_buckets()
            self._batch(in_port, batch)

    def _batch(self, in_port: int, batch: list[bytes]) -> None:
        before = self.real.forwarded(in_port)
        got = self.real.packets(in_port, batch)
        self._note_choices()
        forwarded = sum(self.oracle.packet(f, in_port) for f in batch)
        self._compare_out(got)
        count = self.real.forwarded(in_port) - before
        same(count, forwarded, count == forwarded, "forwarded")

    def advance(self, seconds: int) -> None:
        """Second by second where flows may time out, so that each is seen when it is due."""
        steps = (
            [1] * seconds if seconds < 10 and any(f.idle or f.hard for f in self.oracle.flows) else [seconds]
        )
        for step in steps:
            self.real.advance(step)
            self.oracle.advance(step)
            self._compare_told()

    def fragments(self, drop: bool) -> None:
        assert self.real.ask(m.SetConfig(int(drop), self.oracle.miss_send_len)) is None
        self.oracle.drop_fragments = drop

    def link(self, port: int, up: bool) -> None:
        self.real.box.ports[port].set_link(up)
        self.oracle.ports[port].link = up

    def statistics(self) -> None:
        s, real = self.oracle, self.real
        real.box.assert_ledgers()
        equal(sw.flow_stats(real), sw.oracle_flow_stats(s), "flows")
        equal(sw.table_stats(real), sw.oracle_table_stats(s), "tables")
        ports = {n: (*p.rx, *p.tx) for n, p in s.ports.items()}
        equal(sw.port_stats(real), ports, "ports")
        equal(sw.group_stats(real), sw.oracle_group_stats(s), "groups")
        equal(sw.meter_stats(real), sw.oracle_meter_stats(s), "meters")
        total = real.ask(mp.AggregateStatsRequest())
        sums = (sum(f.packets for f in s.flows), sum(f.bytes for f in s.flows), len(s.flows))
        equal((total.packet_count, total.byte_count, total.flow_count), sums, "aggregate")

    # ---- SELECT: which bucket it is, is the switch's choice

    def _order_matters(self) -> bool:
        s = self.oracle
        lists = [f.actions() for f in s.flows] + [b.actions for g in s.groups.values() for b in g.buckets]
        learns = any(a[:2] == ("output", o.NORMAL) for actions in lists for a in actions)
        return learns or bool(s.meters) or bool(self._selects())

    def _selects(self) -> list[int]:
        return [n for n, g in self.oracle.groups.items() if g.type == "select" and len(g.buckets) > 1]

    def _look_at_buckets(self) -> None:
        self._before = {n: self._bucket_counts(n) for n in self._selects()}

    def _bucket_counts(self, group: int) -> list[int]:
        buckets = len(self.oracle.groups[group].buckets)
        return [packets for packets, _ in self.real.agent.bridge.group_stats(group, buckets)[1:]]

    def _note_choices(self) -> None:
        taken: dict[int, list[int]] = {}
        for number, before in self._before.items():
            after = self._bucket_counts(number)
            taken[number] = [i for i, (a, b) in enumerate(zip(after, before, strict=True)) if a != b]

        def choose(group: int) -> int:
            if len(taken[group]) > 1:
                raise Ambiguous
            assert taken[group], f"SELECT group {group} took no bucket"
            return taken[group][0]

        self.oracle.choose = choose

    # ---- comparing

    def _compare_out(self, got: dict[int, list[bytes]]) -> None:
        want: dict[int, list[bytes]] = {}
        for port, f in self.oracle.out:
            want.setdefault(port, []).append(f)
        self.oracle.out.clear()
        sides = [
            Counter(f"port {p}: {f.hex()}" for p, fs in side.items() for f in fs) for side in (got, want)
        ]
        equal(*sides, "output")
        self._compare_told()

    def _compare_told(self) -> None:
        told, removed = self.real.told()
        packets = [packet for packet, _ in told]
        want, self.oracle.punted = self.oracle.punted, []
        self._keep_buffers(told, want)
        equal(Counter(map(repr, packets)), Counter(map(repr, want)), "packet-ins")
        gone, self.oracle.removed = self.oracle.removed, []
        equal(Counter(map(repr, removed)), Counter(map(repr, gone)), "flow-removed")

    def _keep_buffers(self, told: list[tuple[o.PacketIn, int]], want: list[o.PacketIn]) -> None:
        """Note what was buffered, where it is sure which packet that is; give the others back, and all when they are many."""
        for packet, number in told:
            if number == NO_BUFFER:
                continue
            frames = {w.frame for w in want if w == packet}
            if len(frames) == 1 and len(self.buffers) < 32:
                self.buffers.append((number, frames.pop(), packet.in_port))
            else:
                assert self.real.request(o.PacketOut(o.CONTROLLER, (), b""), number) is None


def shown(op: pipelines.Op) -> str:
    """An operation in one line, without what is as always."""
    if op[0] == "packets":
        return f"packets to {op[1]}: {' '.join(f.hex() for f in op[2])}"
    text = repr(op[1]) if op[0] == "request" else "\n      ".join(map(repr, op))
    for usual in (
        ", cookie_mask=0", ", out_port=4294967295", ", out_group=4294967295", ", idle=0", ", hard=0", ", flags=0",
        ", watch_port=4294967295", ", watch_group=4294967295", ", weight=0",
    ):  # fmt: skip
        text = text.replace(usual, "")
    return text


def same(got: Any, want: Any, fine: bool, what: str = "answer") -> None:
    assert fine, f"{what}: the switch says {got!r}, the oracle {want or None!r}"


def equal(got: Any, want: Any, what: str) -> None:
    """Show only what differs."""
    if got == want:
        return
    if isinstance(got, Counter):
        got, want = list((got - want).elements()), list((want - got).elements())
    elif isinstance(got, dict):
        keys = [k for k in {**got, **want} if got.get(k) != want.get(k)]
        got, want = ({k: d.get(k) for k in keys} for d in (got, want))
    elif isinstance(got, list):
        got, want = [x for x in got if x not in want], [x for x in want if x not in got]
    raise AssertionError(f"{what} differ:\n  switch {got!r}\n  oracle {want!r}")


def failure(
    seed: int, n: int = 30, ops: list[pipelines.Op] | None = None
) -> tuple[str, list[pipelines.Op]] | None:
    """Run a case, or just these operations of it; what went wrong, and the operations up to there."""
    case = Case(seed)
    try:
        if ops is None:
            case.run(n)
        else:
            case.replay(ops)
    except Ambiguous:
        return None
    except Exception as error:  # noqa: BLE001  # a crash is a failure to be cut down, too
        return f"{type(error).__name__}: {error}", case.done
    finally:
        case.close()
    return None


def cut_down(seed: int, ops: list[pipelines.Op], rounds: int = 400) -> tuple[str, list[pipelines.Op]]:
    """The few of the operations that still fail (delta debugging)."""
    size = max(1, len(ops) // 2)
    text = ""
    while True:
        at = 0
        while at < len(ops) and rounds:
            rounds -= 1
            fewer = ops[:at] + ops[at + size :]
            found = failure(seed, ops=fewer)
            if found:
                text, ops = found
            else:
                at += size
        if size == 1 or not rounds:
            return _fewer_frames(seed, text, ops)
        size //= 2


def _fewer_frames(seed: int, text: str, ops: list[pipelines.Op]) -> tuple[str, list[pipelines.Op]]:
    for i, op in enumerate(ops):
        for f in op[2] if op[0] == "packets" else ():
            found = failure(seed, ops=[*ops[:i], ("packets", op[1], (f,)), *ops[i + 1 :]])
            if found:
                text, ops = found
                break
    return text, ops
