"""What it costs to be there: processor of idle ports, memory, and the time to start."""

import os
import signal
import time
from pathlib import Path

from bench.contenders import Layout
from bench.flowmods import encoded, wires
from bench.noise import processor_seconds
from bench.scenario import (
    Case,
    Column,
    Figures,
    Group,
    Rows,
    Scenario,
    Seat,
    Times,
    both,
    finish,
    pause,
    send,
)

from . import flows, setup

PORTS = 100
MANY = 1_000_000
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def memory_mb(pids: list[int]) -> float:
    """Resident megabytes of processes, without huge pages."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * _PAGE_MB


def _look(seat: Seat, seconds: float) -> Figures:
    pids = seat.contender.pids()
    before, begin = processor_seconds(pids), time.monotonic()
    pause(seconds)
    used = (processor_seconds(pids) - before) / (time.monotonic() - begin)
    return {"cpu": used, "rss": memory_mb(pids)}


def idle(seat: Seat, case: Case, times: Times) -> Rows:
    """Nobody sends. With ports: guests are plugged in, and their end stands still meanwhile."""
    if not seat.contender.layout.ports:
        pause(1.0)
        return {case.name: _look(seat, times.count)}
    with seat.generator() as generator:
        pause(1.0)
        os.kill(generator.pid, signal.SIGSTOP)
        try:
            return {case.name: _look(seat, times.count)}
        finally:
            os.kill(generator.pid, signal.SIGCONT)


def start_up(seat: Seat, case: Case, times: Times) -> Rows:
    """Stop it, and start it with its configuration."""
    del times
    return {case.name: {"start": seat.steered.restart()}}


def rules(seat: Seat, case: Case, times: Times) -> Rows:
    """Memory with the rules, and how long they took to install."""
    return {case.name: _look(seat, times.count) | {"install": seat.install_seconds}}


def entries(seat: Seat, case: Case, times: Times) -> Rows:
    """Memory after as many flows as fill the caches."""
    with seat.generator() as generator:
        send(generator, case.traffic)
        generator.start()
        pause(max(times.warm, case.warm))
        finish(generator, {})
    return {case.name: _look(seat, times.count)}


def _idle(ports: int, *more: Case) -> Group:
    case = Case(f"{ports} idle port{'s' if ports != 1 else ''}", (), idle)
    return Group(
        f"idle {ports}",
        Layout(ports=ports),
        lambda: encoded(wires(ports)),
        [case, *more],
        left_out={"bound": "it does nothing but poll"},
    )


def groups(_work: Path, quick: bool) -> list[Group]:
    result = [_idle(0), _idle(1), _idle(2, Case("start-up, 2 ports", (), start_up)), _idle(PORTS)]
    left_out = {"bound": "it has no rules"}
    many = MANY // 100 if quick else MANY
    full = Case(f"{many:,} cache entries", both(flows=many // 2, vary="five_tuple"), entries, warm=4.0)
    result.append(Group("entries", Layout(), setup.rules, [full], left_out=left_out))
    case = Case(f"{many:,} rules", (), rules)
    result.append(Group("rules", Layout(), lambda: flows.each(many), [case], left_out=left_out))
    return result


SCENARIO = Scenario(
    "idle",
    "what it costs to be there: processor and memory of all its processes (huge pages not counted), seconds to start and to install",
    groups,
    (
        Column("cpu", "CPU", ".1%"),
        Column("rss", "MB", ".0f"),
        Column("start", "s to start"),
        Column("install", "s to install"),
    ),
    seconds=(44, 39),
)
