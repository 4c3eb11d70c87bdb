"""`vswitchd --demo`: a bridge with two vhost-user ports and a tap, a banner, and a line of live rates."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.bridge import LivePort
    from vswitchd.config.rows import Row
    from vswitchd.config.txn import Transaction
    from vswitchd.config.types import Datum
    from vswitchd.daemon import Daemon

BRIDGE = "br0"
PORTS = (("vhost0", "dpdkvhostuser"), ("vhost1", "dpdkvhostuser"), ("tap0", "tap"))
CONTROLLER = "ptcp:6653:127.0.0.1"
EVERY_TTY = 1
EVERY_FILE = 10


def first_configuration(txn: Transaction) -> None:
    """Make the demo's bridge where no bridge is stored yet; nothing otherwise."""
    root = txn.view.root
    if root["bridges"]:
        return

    def port(name: str, kind: str) -> Row:
        interface = txn.insert("Interface", {"name": (name,), "type": (kind,)})
        return txn.insert("Port", {"name": (name,), "interfaces": (interface.uuid,)})

    ports = [port(BRIDGE, "internal"), *(port(name, kind) for name, kind in PORTS)]
    controller = txn.insert("Controller", {"target": (CONTROLLER,)})
    uuids: Datum = tuple(sorted(p.uuid for p in ports))
    values: dict[str, Datum] = {"name": (BRIDGE,), "ports": uuids, "controller": (controller.uuid,)}
    values["fail_mode"] = ("standalone",)
    bridge = txn.insert("Bridge", {**values, "datapath_type": ("netdev",)})
    txn.update(root, {"bridges": (bridge.uuid,)})


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all ports and cores at one moment."""

    when: float
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    drops: int
    busy: int
    cycles: int


def totals(daemon: Daemon, now: float) -> Totals:
    """Read all counters."""
    counters = [handle.counters() for b in daemon.reconciler.bridges.values() for _, _, handle in b.live()]
    cores = daemon.datapath.core_stats()
    return Totals(
        when=now,
        rx_packets=sum(c.rx_packets for c in counters),
        rx_bytes=sum(c.rx_bytes for c in counters),
        tx_packets=sum(c.tx_packets for c in counters),
        tx_bytes=sum(c.tx_bytes for c in counters),
        drops=sum(sum(c.rx_drops.values()) + sum(c.tx_drops.values()) for c in counters),
        busy=sum(c.busy_cycles for c in cores),
        cycles=sum(c.busy_cycles + c.idle_cycles + c.asleep_cycles for c in cores),
    )


def si(value: float, unit: str) -> str:
    """Return a rate with three digits and a prefix: "1.23 Mpps"."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.2f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def rates_line(before: Totals, after: Totals, links: str) -> str:
    """Return the line of live rates between two moments."""
    seconds = max(after.when - before.when, 1e-9)
    cycles = after.cycles - before.cycles
    busy = 100.0 * (after.busy - before.busy) / cycles if cycles > 0 else 0.0
    return (
        f"rx {si((after.rx_packets - before.rx_packets) / seconds, 'pps')}"
        f" {si(8 * (after.rx_bytes - before.rx_bytes) / seconds, 'bit/s')}"
        f" | tx {si((after.tx_packets - before.tx_packets) / seconds, 'pps')}"
        f" {si(8 * (after.tx_bytes - before.tx_bytes) / seconds, 'bit/s')}"
        f" | drops {si((after.drops - before.drops) / seconds, 'pps')}"
        f" | cores {busy:.0f} % busy | {links}"
    )


def _links(ports: Iterator[LivePort]) -> str:
    words = [
        f"{p.name} {'up' if p.last.link_up else 'down'}" for p in ports if not p.spec.local and not p.error
    ]
    return ", ".join(words[:6]) + (f", {len(words) - 6} more" if len(words) > 6 else "")


class Demo:
    """The demo of one daemon."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, daemon: Daemon) -> None:
        """Configure what is not there yet, then print the banner once it runs, then rates until the end."""
        daemon.store.transact(first_configuration)
        self._task = asyncio.get_running_loop().create_task(self._show(daemon))

    async def _show(self, daemon: Daemon) -> None:
        await asyncio.sleep(0)  # the reconciler's turn: it was scheduled by the commit
        await asyncio.sleep(0)
        print(banner(daemon), flush=True)
        tty = sys.stdout.isatty()
        before = totals(daemon, time.monotonic())
        while True:
            await asyncio.sleep(EVERY_TTY if tty else EVERY_FILE)
            after = totals(daemon, time.monotonic())
            line = rates_line(before, after, _links(p for _, p in daemon.reconciler.ports()))
            before = after
            if tty:
                width = shutil.get_terminal_size().columns
                print(f"\r{line[: width - 1]}\x1b[K", end="", flush=True)
            else:
                print(line, flush=True)


def banner(daemon: Daemon) -> str:
    """Return where everything is, and what was left out and why."""
    run = daemon.paths.run
    lines = [f"vswitchd {daemon.version} forwards until Ctrl-C; state in {daemon.paths.state}"]

    def row(name: str, text: str) -> None:
        lines.append(f"  {name:<11}{text}")

    for bridge, port in daemon.reconciler.ports():
        socket = port.last.info.get("socket", "")
        where = f"vhost-user socket {socket}" if socket else f"{port.spec.config.type} interface"
        if port.driver is not None:
            row("port", f"{port.name} on {bridge.name}: {where}")
    for bridge in daemon.reconciler.bridges.values():
        row("OpenFlow", f"unix:{daemon.paths.mgmt_sock(bridge.name)} (vsofctl show {bridge.name})")
        for controller in daemon.reconciler.openflow[bridge.name].controllers():
            trouble = controller.status.get("last_error", "")
            row("", controller.target + (f" (not now: {trouble})" if trouble else ""))
    unserved = "not served (see the log); vsctl set Open_vSwitch . other_config:metrics-listen=HOST:PORT"
    row("metrics", f"http://{daemon.metrics.address}/metrics" if daemon.metrics.address else unserved)
    socket, state = shlex.quote(f"unix:{daemon.paths.db_sock}"), shlex.quote(daemon.paths.state)
    row("control", f"vsctl --db={socket} show   (or: export VS_STATE={state})")
    row("log", daemon.options.log_file or daemon.paths.log_file)
    row(
        "cores",
        f"polling on CPU {', '.join(map(str, daemon.datapath.cores()))}; they sleep when there is no traffic",
    )
    for bridge, port in daemon.reconciler.ports():
        if port.driver is None:
            row("left out", f"{port.name} on {bridge.name}: {port.error}")
    if not any(True for _ in daemon.reconciler.ports()):
        row("ports", f"none yet: vsctl add-br {BRIDGE}; sockets will be in {run}")
    return "\n".join(lines)
