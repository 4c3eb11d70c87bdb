"""Changes under load: flow-mods at a pace, and a hundred ports that come and go."""

import threading
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

from bench.channel import Paced
from bench.contenders import Layout
from bench.flowmods import IP, UDP, Values, delete, encoded, rule
from bench.scenario import Case, Column, Group, Rows, Scenario, Seat, Times, both, count, finish, pause, send
from vswitchd.ofproto.actions import Output

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
    """Without changes, then at each rate."""
    rows: Rows = {}
    with seat.generator() as generator, seat.steered.channel() as channel:
        send(generator, case.traffic)
        generator.start()
        pause(max(times.warm, case.warm))
        rows["none"], _ = count(seat, generator, times)
        rows["none"] |= {"kept": 1.0}
        changes = _changes()
        for rate in RATES:
            done: list[Paced] = []
            begin = time.monotonic()
            pacer = threading.Thread(
                target=lambda rate=rate, done=done: done.append(
                    channel.pace(changes, rate, 2 * times.warm + times.count)
                )
            )
            pacer.start()
            pause(times.warm)
            figures, _ = count(seat, generator, times)
            pacer.join()
            assert done, f"the flow-mods failed after {time.monotonic() - begin:.1f} s"
            figures |= {"rate": done[0].rate, "kept": figures["mpps"] / rows["none"]["mpps"]}
            rows[f"{_SHORT[rate]} flow-mods/s"] = figures
        finish(generator, {})
    return rows


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
    cases = [
        Case("flow-mods", both(flows=FLOWS), flow_mods),
        Case(f"{PORTS} ports added, removed", both(flows=FLOWS), ports),
    ]
    left_out = {"bound": "it has no control plane"}
    return [Group("updates", Layout(), _rules, cases, left_out=left_out)]


SCENARIO = Scenario(
    "updates",
    f"changes while forwarding {FLOWS:,} flows; ports come and go beside {2 * _STEADY_PPS:,} packets/s",
    groups,
    (
        Column("mpps", "Mpps"),
        Column("kept", "of before", ".0%"),
        Column("rate", "flow-mods/s", ",.0f"),
        Column("cycles", "cycles/pkt", ".0f"),
        Column("lost", "lost", ".0f"),
        Column("sent", "of", ",.0f"),
        Column("add_s", "s to add"),
        Column("remove_s", "s to remove"),
    ),
)
