"""vsappctl's commands about polling cores: cycles, caches, receive queues, in Open vSwitch's layout.

Those of Open vSwitch's counters that this switch does not have (hardware offload, SMC, upcall) are shown as
0, so that scripts that parse the layout go on working: "EMC hits" is the exact-match cache, "Megaflow hits"
are walks of the OpenFlow tables.
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


def core_data(core: dp.CoreStats, cycles_per_us: float) -> dict[str, Any]:
    """Return what is known of one core, with the two numbers that matter: busy share, cycles a packet."""
    return {
        "core": core.cpu,
        "numa": numa_of(core.cpu),
        "cycles_busy": core.busy_cycles,
        "cycles_idle": core.idle_cycles,
        "cycles_sleep": core.asleep_cycles,
        "busy_percent": round(
            percent(core.busy_cycles, core.busy_cycles + core.idle_cycles + core.asleep_cycles), 2
        ),
        "cycles_per_packet": round(_per(core.busy_cycles, core.rx_packets), 1),
        "iterations": core.iterations,
        "busy_iterations": core.busy_iterations,
        "sleeps": core.sleeps,
        "packets": core.rx_packets,
        "batches": core.batches,
        "tx_packets": core.tx_packets,
        "tx_batches": core.tx_batches,
        "emc_hits": core.emc_hits,
        "emc_misses": core.emc_misses,
        "emc_inserted": core.emc_inserted,
        "emc_evicted": core.emc_evicted,
        "emc_entries": core.emc_used,
        "emc_size": core.emc_size,
        "programs": core.programs,
        "programs_refused": core.programs_refused,
        "punted": core.punt_packets,
        "punt_refused": core.punt_refused,
        "deaf_queues": core.deaf_queues,
        "longest_round_cycles": core.max_gap_cycles,
        "cycles_per_us": cycles_per_us,
    }


def _perf_text(core: dp.CoreStats, us: float) -> str:
    used = core.busy_cycles + core.idle_cycles
    total = used + core.asleep_cycles
    seconds = total / us / 1e6
    idle_iterations = max(0, core.iterations - core.busy_iterations)
    kpps = _per(core.rx_packets, seconds) / 1000
    rows: list[tuple[str, int, str]] = [
        ("Iterations:", core.iterations, f"({_per(used / us, core.iterations):.2f} us/it)"),
        ("- Used TSC cycles:", used, f"({percent(used, total):5.1f} % of total cycles)"),
        ("- idle iterations:", idle_iterations, f"({percent(core.idle_cycles, used):5.1f} % of used cycles)"),
        (
            "- busy iterations:",
            core.busy_iterations,
            f"({percent(core.busy_cycles, used):5.1f} % of used cycles)",
        ),
        (
            "- sleep iterations:",
            core.sleeps,
            f"({percent(core.sleeps, core.iterations):5.1f} % of iterations)",
        ),
        (
            "Sleep time (us):",
            int(core.asleep_cycles / us),
            f"({_per(core.asleep_cycles / us, core.iterations):3.0f} us/iteration avg.)",
        ),
        ("Busy cycles:", core.busy_cycles, f"({percent(core.busy_cycles, total):5.1f} % of total cycles)"),
        ("Idle cycles:", core.idle_cycles, f"({percent(core.idle_cycles, total):5.1f} % of total cycles)"),
        (
            "Sleep cycles:",
            core.asleep_cycles,
            f"({percent(core.asleep_cycles, total):5.1f} % of total cycles)",
        ),
        (
            "Rx packets:",
            core.rx_packets,
            f"({kpps:.0f} Kpps, {_per(core.busy_cycles, core.rx_packets):.0f} cycles/pkt)",
        ),
        ("Datapath passes:", core.rx_packets, f"({int(core.rx_packets > 0)}.00 passes/pkt)"),
        ("- PHWOL hits:", 0, "(  0.0 %)"),
        ("- Simple Match hits:", 0, "(  0.0 %)"),
        ("- EMC hits:", core.emc_hits, f"({percent(core.emc_hits, core.rx_packets):5.1f} %)"),
        ("- SMC hits:", 0, "(  0.0 %)"),
        (
            "- Megaflow hits:",
            core.emc_misses,
            f"({percent(core.emc_misses, core.rx_packets):5.1f} %, 0.00 subtbl lookups/hit)",
        ),
        ("- Upcalls:", 0, "(  0.0 %, 0.0 us/upcall)"),
        ("- Lost upcalls:", 0, "(  0.0 %)"),
        ("Tx packets:", core.tx_packets, f"({_per(core.tx_packets, seconds) / 1000:.0f} Kpps)"),
        ("Tx batches:", core.tx_batches, f"({_per(core.tx_packets, core.tx_batches):.2f} pkts/batch)"),
        ("Rx batches:", core.batches, f"({_per(core.rx_packets, core.batches):.2f} pkts/batch)"),
    ]
    lines = [f"pmd thread numa_id {numa_of(core.cpu)} core_id {core.cpu}:", ""]
    for name, value, note in rows:
        lines.append(f"  {name:<20}{value:>12}  {note}")
    return "\n".join(lines)


def _stats_text(core: dp.CoreStats, _us: float) -> str:
    used, busy = core.busy_cycles + core.idle_cycles, _per(core.busy_cycles, core.rx_packets)
    total = used + core.asleep_cycles
    return "\n".join(
        [
            f"pmd thread numa_id {numa_of(core.cpu)} core_id {core.cpu}:",
            f"  packets received: {core.rx_packets}",
            "  packet recirculations: 0",
            f"  avg. datapath passes per packet: {1.0 if core.rx_packets else 0.0:.2f}",
            "  phwol hits: 0",
            f"  emc hits: {core.emc_hits}",
            "  smc hits: 0",
            f"  megaflow hits: {core.emc_misses}",
            "  avg. subtable lookups per megaflow hit: 0.00",
            "  miss with success upcall: 0",
            "  miss with failed upcall: 0",
            f"  avg. packets per output batch: {_per(core.tx_packets, core.tx_batches):.2f}",
            f"  idle cycles: {core.idle_cycles} ({percent(core.idle_cycles, total):.2f}%)",
            f"  processing cycles: {core.busy_cycles} ({percent(core.busy_cycles, total):.2f}%)",
            f"  sleep cycles: {core.asleep_cycles} ({percent(core.asleep_cycles, total):.2f}%)",
            f"  avg cycles per packet: {_per(used, core.rx_packets):.2f} ({used}/{core.rx_packets})",
            f"  avg processing cycles per packet: {busy:.2f} ({core.busy_cycles}/{core.rx_packets})",
        ]
    )


def _show(text: Callable[[dp.CoreStats, float], str]) -> Callable[[Daemon, list[str]], Answer]:
    def run(daemon: Daemon, args: list[str]) -> Answer:
        stats = _select(daemon, args)
        us = float(daemon.datapath.cycles_per_us)
        return Answer("\n".join(text(c, us) for c in stats), [core_data(c, us) for c in stats])

    return run


def _rxq_show(daemon: Daemon, args: list[str]) -> Answer:
    lines, data = ["Displaying pmd usage % since start:"], []
    queues = daemon.datapath.rxq_stats()
    for core in _select(daemon, args):
        total = core.busy_cycles + core.idle_cycles + core.asleep_cycles
        mine = [q for q in queues if q.cpu == core.cpu]
        isolated = any(q.pinned for q in mine)
        lines.append(f"pmd thread numa_id {numa_of(core.cpu)} core_id {core.cpu}:")
        lines.append(f"  isolated : {'true' if isolated else 'false'}")
        for queue in sorted(mine, key=lambda q: (q.port, q.rxq)):
            usage = percent(queue.cycles, total)
            name = f"{queue.port:<16}"
            lines.append(f"  port: {name}  queue-id: {queue.rxq:>2} (enabled)   pmd usage: {usage:2.0f} %")
            data.append(
                {
                    "core": core.cpu,
                    "numa": numa_of(core.cpu),
                    "port": queue.port,
                    "queue": queue.rxq,
                    "pinned": queue.pinned,
                    "usage_percent": round(usage, 2),
                    "cycles": queue.cycles,
                    "packets": queue.packets,
                }
            )
        overhead = percent(core.busy_cycles - sum(q.cycles for q in mine), total)
        lines.append(f"  overhead: {max(0.0, overhead):2.0f} %")
    return Answer("\n".join(lines), data)


COMMANDS = (
    Command("dpif-netdev/pmd-perf-show", "[-nh] [-it N] [-ms N] [-pmd CORE]", 0, None, _show(_perf_text)),
    Command("dpif-netdev/pmd-stats-show", "[-pmd CORE]", 0, None, _show(_stats_text)),
    Command("dpif-netdev/pmd-rxq-show", "[-pmd CORE] [-secs N]", 0, None, _rxq_show),
)
