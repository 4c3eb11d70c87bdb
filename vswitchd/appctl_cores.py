"""vsappctl's commands about polling cores: cycles, caches, receive queues, in Open vSwitch's layout.

Those of Open vSwitch's counters that this switch does not have (hardware offload, SMC, upcall) are shown as
0, so that scripts that parse the layout go on working: "EMC hits" is the exact-match cache, "Megaflow hits" are
walks of the OpenFlow tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.appctl import Answer, Command
from vswitchd.cores import numa_of
from vswitchd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.daemon import Daemon
    from vswitchd.datapath import dp


def percent(part: float, whole: float) -> float:
    """Return part of whole in percent; 0 of nothing."""
    return 100.0 * part / whole if whole else 0.0


def _per(value: float, count: float) -> float:
    return value / count if count else 0.0


def _select(daemon: Daemon, args: list[str]) -> list[dp.CoreStats]:
    """Return the stats of all cores, or of the one that `-pmd CORE` names; -nh, -it N, -ms N are accepted."""
    stats = sorted(daemon.datapath.core_stats(), key=lambda c: c.cpu)
    words = iter(args)
    for word in words:
        if word in {"-pmd", "-it", "-ms", "-secs"}:
            value = next(words, "")
            if not (value.isascii() and value.isdigit()):
                raise UsageError(f"{word} needs a number")
            if word == "-pmd":
                stats = [c for c in stats if c.cpu == int(value)]
        elif word.startswith("-") and word != "-nh":
            raise UsageError(f'unknown option "{word}"')
    return stats


def core_data(core: dp.CoreStats, tsc_hz: float) -> dict[str, Any]:
    """Return what is known of one core, with the two numbers that matter: busy share, cycles a packet."""
    return {
        "core": core.cpu,
        "numa": numa_of(core.cpu),
        "cycles_busy": core.busy,
        "cycles_idle": core.idle,
        "cycles_sleep": core.asleep,
        "busy_percent": round(percent(core.busy, core.busy + core.idle + core.asleep), 2),
        "cycles_per_packet": round(_per(core.busy, core.packets), 1),
        "iterations": core.iterations,
        "busy_iterations": core.busy_iterations,
        "sleeps": core.sleeps,
        "packets": core.packets,
        "batches": core.batches,
        "emc_hits": core.emc_hits,
        "emc_misses": core.emc_misses,
        "emc_inserted": core.emc_inserted,
        "emc_evicted": core.emc_evicted,
        "emc_entries": core.emc_entries,
        "walks": core.walks,
        "tsc_hz": tsc_hz,
    }


def _perf_text(core: dp.CoreStats, hz: float) -> str:
    used = core.busy + core.idle
    total = used + core.asleep
    seconds = total / hz
    us = hz / 1e6
    idle_iterations = max(0, core.iterations - core.busy_iterations)
    kpps = _per(core.packets, seconds) / 1000
    rows: list[tuple[str, int, str]] = [
        ("Iterations:", core.iterations, f"({_per(used / us, core.iterations):.2f} us/it)"),
        ("- Used TSC cycles:", used, f"({percent(used, total):5.1f} % of total cycles)"),
        ("- idle iterations:", idle_iterations, f"({percent(core.idle, used):5.1f} % of used cycles)"),
        ("- busy iterations:", core.busy_iterations, f"({percent(core.busy, used):5.1f} % of used cycles)"),
        (
            "- sleep iterations:",
            core.sleeps,
            f"({percent(core.sleeps, core.iterations):5.1f} % of iterations)",
        ),
        (
            "Sleep time (us):",
            int(core.asleep / us),
            f"({_per(core.asleep / us, core.iterations):3.0f} us/iteration avg.)",
        ),
        ("Busy cycles:", core.busy, f"({percent(core.busy, total):5.1f} % of total cycles)"),
        ("Idle cycles:", core.idle, f"({percent(core.idle, total):5.1f} % of total cycles)"),
        ("Sleep cycles:", core.asleep, f"({percent(core.asleep, total):5.1f} % of total cycles)"),
        ("Rx packets:", core.packets, f"({kpps:.0f} Kpps, {_per(core.busy, core.packets):.0f} cycles/pkt)"),
        ("Datapath passes:", core.packets, "(1.00 passes/pkt)" if core.packets else "(0.00 passes/pkt)"),
        ("- PHWOL hits:", 0, "(  0.0 %)"),
        ("- Simple Match hits:", 0, "(  0.0 %)"),
        ("- EMC hits:", core.emc_hits, f"({percent(core.emc_hits, core.packets):5.1f} %)"),
        ("- SMC hits:", 0, "(  0.0 %)"),
        (
            "- Megaflow hits:",
            core.walks,
            f"({percent(core.walks, core.packets):5.1f} %, 0.00 subtbl lookups/hit)",
        ),
        ("- Upcalls:", 0, "(  0.0 %, 0.0 us/upcall)"),
        ("- Lost upcalls:", 0, "(  0.0 %)"),
        ("Rx batches:", core.batches, f"({_per(core.packets, core.batches):.2f} pkts/batch)"),
    ]
    lines = [f"pmd thread numa_id {numa_of(core.cpu)} core_id {core.cpu}:", ""]
    for name, value, note in rows:
        lines.append(f"  {name:<20}{value:>14}  {note}")
    return "\n".join(lines)


def _stats_text(core: dp.CoreStats, _hz: float) -> str:
    used, busy = core.busy + core.idle, _per(core.busy, core.packets)
    total = used + core.asleep
    return "\n".join(
        [
            f"pmd thread numa_id {numa_of(core.cpu)} core_id {core.cpu}:",
            f"  packets received: {core.packets}",
            "  packet recirculations: 0",
            f"  avg. datapath passes per packet: {1.0 if core.packets else 0.0:.2f}",
            "  phwol hits: 0",
            f"  emc hits: {core.emc_hits}",
            "  smc hits: 0",
            f"  megaflow hits: {core.walks}",
            "  avg. subtable lookups per megaflow hit: 0.00",
            "  miss with success upcall: 0",
            "  miss with failed upcall: 0",
            f"  avg. packets per output batch: {_per(core.packets, core.batches):.2f}",
            f"  idle cycles: {core.idle} ({percent(core.idle, total):.2f}%)",
            f"  processing cycles: {core.busy} ({percent(core.busy, total):.2f}%)",
            f"  sleep cycles: {core.asleep} ({percent(core.asleep, total):.2f}%)",
            f"  avg cycles per packet: {_per(used, core.packets):.2f} ({used}/{core.packets})",
            f"  avg processing cycles per packet: {busy:.2f} ({core.busy}/{core.packets})",
        ]
    )


def _show(text: Callable[[dp.CoreStats, float], str]) -> Callable[[Daemon, list[str]], Answer]:
    def run(daemon: Daemon, args: list[str]) -> Answer:
        stats = _select(daemon, args)
        hz = daemon.datapath.tsc_hz
        return Answer("\n".join(text(c, hz) for c in stats), [core_data(c, hz) for c in stats])

    return run


def _rxq_show(daemon: Daemon, args: list[str]) -> Answer:
    lines, data = ["Displaying pmd usage % since start:"], []
    pinned = daemon.reconciler.cores.pinned
    queues = daemon.datapath.rxq_stats()
    for core in _select(daemon, args):
        total = core.busy + core.idle + core.asleep
        mine = [q for q in queues if q.cpu == core.cpu]
        isolated = any((q.port, q.rxq) in pinned for q in mine)
        lines.append(f"pmd thread numa_id {numa_of(core.cpu)} core_id {core.cpu}:")
        lines.append(f"  isolated : {'true' if isolated else 'false'}")
        for queue in sorted(mine, key=lambda q: (q.port.name, q.rxq)):
            usage = percent(queue.cycles, total)
            name = f"{queue.port.name:<16}"
            lines.append(f"  port: {name}  queue-id: {queue.rxq:>2} (enabled)   pmd usage: {usage:2.0f} %")
            data.append(
                {
                    "core": core.cpu,
                    "numa": numa_of(core.cpu),
                    "port": queue.port.name,
                    "queue": queue.rxq,
                    "pinned": (queue.port, queue.rxq) in pinned,
                    "usage_percent": round(usage, 2),
                    "cycles": queue.cycles,
                    "packets": queue.packets,
                }
            )
        overhead = percent(core.busy - sum(q.cycles for q in mine), total)
        lines.append(f"  overhead: {max(0.0, overhead):2.0f} %")
    return Answer("\n".join(lines), data)


COMMANDS = (
    Command("dpif-netdev/pmd-perf-show", "[-nh] [-it N] [-ms N] [-pmd CORE]", 0, None, _show(_perf_text)),
    Command("dpif-netdev/pmd-stats-show", "[-pmd CORE]", 0, None, _show(_stats_text)),
    Command("dpif-netdev/pmd-rxq-show", "[-pmd CORE] [-secs N]", 0, None, _rxq_show),
)
