"""Changes under load: flow-mods at a pace, and a hundred ports that come and go.

Each row of flow-mods compares twins (`pairs.py`) of which one has to carry them out: switched on and off in short windows they would
be compared with their own after-effects, which last up to a second. `no flow-mods` compares the twins while both are left alone; the
echo requests show what messages cost that change nothing. Where there are two cores, the controller and the control thread of a switch
take time from the generator: that is in Mpps, and not in cycles, which are those of the switch's core.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path

from bench.channel import Channel, Paced
from bench.contenders import Layout
from bench.flowmods import IP, UDP, Values, delete, encoded, rule
from bench.pairs import COLUMNS, Disturbance, Pairs
from bench.scenario import Case, Column, Group, Rows, Scenario, Seat, Times, both, finish, pause, send
from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.messages import EchoRequest

from .flows import l4

RATES = (100, 1000, 10_000)
FLOWS = 8192
PORTS = 100
_POOL = 1000
_SHORT = {100: "100", 1000: "1k", 10_000: "10k"}
_STEADY_PPS = 100_000
"""Packets a second each way while ports come and go: no ring is full, so what is lost was lost by the switch."""


def _match(at: int) -> Values:
    """Give the match of entry `at`, which the traffic does not meet."""
    return {"eth_type": IP, "ip_proto": UDP, "ipv4_dst": 0xC612_0000 + at, "udp_dst": 7}


def _rules() -> list[bytes]:
    """L4 rules, and one entry like those that will come and go: what it looks at is looked at all the time."""
    return l4() + encoded([rule(_match(_POOL), Output(2), priority=50)])


def _changes() -> Iterator[bytes]:
    """Add entries that the traffic does not meet and delete them again, for ever."""
    matches = [_match(at) for at in range(_POOL)]
    adds = encoded(rule(match, Output(2), priority=50) for match in matches)
    deletes = encoded(delete(match, priority=50) for match in matches)
    return chain.from_iterable(repeat([*adds, *deletes]))


def flow_mods(seat: Seat, case: Case, times: Times) -> Rows:
    """Compare with nothing, then with flow-mods at each rate."""
    rows: Rows = {}
    with seat.twin() as other, seat.generator(other) as generator, seat.steered.channel() as channel:
        pairs = Pairs(seat.contender, other, generator, case.traffic)
        generator.start()
        pairs.warm(max(times.warm, case.warm))
        rows["no flow-mods"], _ = pairs.row(times)
        changes = _changes()
        todo = [(f"{_SHORT[rate]} flow-mods/s", changes, rate) for rate in RATES]
        echoes = "1k echo requests/s", repeat(encode(EchoRequest(), 0)), 1000
        for name, messages, rate in [todo[1]] if times.quick else [echoes, *todo]:
            done: list[Paced] = []
            figures, _ = pairs.row(times, _telling(channel, messages, rate, done, seat.core))
            figures["rate"] = sum(one.sent for one in done) / sum(one.seconds for one in done)
            rows[name] = figures
        finish(generator, {})
    return rows


def _telling(
    channel: Channel, messages: Iterator[bytes], rate: float, done: list[Paced], core: int
) -> Disturbance:
    """Send messages from a thread of its own on `core`; what became of them is added to `done`."""

    def pace(seconds: float) -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        done.append(channel.pace(messages, rate, seconds))

    @contextmanager
    def telling(seconds: float) -> Iterator[None]:
        before = len(done)
        pacer = threading.Thread(target=pace, args=(seconds,))
        pacer.start()
        try:
            yield
        finally:
            pacer.join()
            assert len(done) > before, "the messages failed"

    return telling


def ports(seat: Seat, case: Case, _times: Times) -> Rows:
    """Add a hundred ports in one command, and remove them."""
    numbers = range(3, 3 + PORTS)
    with seat.generator() as generator:
        send(generator, case.traffic, rate=_STEADY_PPS)
        generator.start()
        pause(1.0)
        seconds = []
        for change in ({"add": numbers}, {"remove": numbers}):
            begin = time.monotonic()
            seat.steered.change_ports(**change)
            seconds.append(time.monotonic() - begin)
        pause(0.5)
        total = generator.stop()
    sent = sum(stream.sent for stream in total.streams)
    return {
        case.name: {
            "sent": sent,
            "lost": total.lost,
            "add_s": seconds[0],
            "remove_s": seconds[1],
        }
    }


def groups(_work: Path, quick: bool) -> list[Group]:
    del quick
    left_out = {"bound": "it has no control plane"}
    mods = Case("flow-mods", both(flows=FLOWS), flow_mods)
    changed = Case(f"{PORTS} ports added, removed", both(flows=FLOWS), ports)
    return [
        Group("flow-mods", Layout(huge_mb=512), _rules, [mods], left_out=left_out, fresh=True),
        Group("ports", Layout(), _rules, [changed], left_out=left_out),
    ]


SCENARIO = Scenario(
    "updates",
    f"changes while forwarding {FLOWS:,} flows; ports come and go beside {2 * _STEADY_PPS:,} packets/s",
    groups,
    (
        *COLUMNS,
        Column("rate", "messages/s", ",.0f"),
        Column("lost", "lost", ".0f"),
        Column("sent", "of", ",.0f"),
        Column("add_s", "s to add"),
        Column("remove_s", "s to remove"),
    ),
    seconds=(52, 18),
)
