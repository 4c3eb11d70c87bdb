"""vsappctl's commands about the process itself: version, exit, logging, memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vswitchd.appctl import Answer, Command, Table
from vswitchd.appctl_bridge import COMMANDS as BRIDGE
from vswitchd.appctl_cores import COMMANDS as CORES
from vswitchd.appctl_doctor import COMMANDS as DOCTOR
from vswitchd.appctl_qos import COMMANDS as QOS
from vswitchd.appctl_trace import COMMANDS as TRACE
from vswitchd.log import DESTINATIONS

if TYPE_CHECKING:
    from vswitchd.daemon import Daemon


def _version(daemon: Daemon, _args: list[str]) -> Answer:
    python = ".".join(map(str, sys.version_info[:3]))
    return Answer(
        f"vswitchd {daemon.version}", {"program": "vswitchd", "version": daemon.version, "python": python}
    )


def _exit(daemon: Daemon, _args: list[str]) -> Answer:
    daemon.stop("vsappctl exit")
    return Answer(data={"exiting": True})


def _vlog_set(daemon: Daemon, args: list[str]) -> Answer:
    for spec in args or ["any"]:
        daemon.log.set(spec)
    return Answer(data={"set": args})


def _vlog_list(daemon: Daemon, _args: list[str]) -> Answer:
    rows = daemon.log.table()
    width = max([18, *(len(row[0]) + 1 for row in rows)])
    lines = [f"{'':<{width}}console    syslog    file", f"{'':<{width}}-------    ------    ------"]
    for name, *levels in rows:
        console, syslog, file = (level.upper() for level in levels)
        lines.append(f"{name:<{width}}{console:>5}{syslog:>11}{file:>10}")
    data = [{"module": row[0], **dict(zip(DESTINATIONS, row[1:], strict=True))} for row in rows]
    return Answer("\n".join(lines), data)


def _vlog_reopen(daemon: Daemon, _args: list[str]) -> Answer:
    return Answer(data={"file": daemon.log.reopen()})


def _memory(daemon: Daemon, _args: list[str]) -> Answer:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    ports = sum(len(bridge.ports) for bridge in daemon.reconciler.bridges.values())
    cores = daemon.datapath.core_stats()
    data = {
        "rss_kb": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        "bridges": len(daemon.reconciler.bridges),
        "ports": ports,
        "cache_entries": sum(core.emc_used for core in cores),
    }
    return Answer(" ".join(f"{name}:{value}" for name, value in data.items()), data)


def table() -> Table:
    """Return all commands."""
    own = (
        Command("version", "", 0, 0, _version),
        Command("exit", "", 0, 1, _exit),
        Command("vlog/set", "[MODULE[:DESTINATION[:LEVEL]]]...", 0, None, _vlog_set),
        Command("vlog/list", "", 0, 0, _vlog_list),
        Command("vlog/reopen", "", 0, 0, _vlog_reopen),
        Command("memory/show", "", 0, 0, _memory),
    )
    return Table([*own, *BRIDGE, *CORES, *DOCTOR, *QOS, *TRACE])
