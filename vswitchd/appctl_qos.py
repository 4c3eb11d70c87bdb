"""vsappctl's command about the QoS of a port, in Open vSwitch's layout, with what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.appctl import Answer, Command, some_bridges
from vswitchd.config.qos import POLICER, SHAPER
from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.daemon import Daemon
    from vswitchd.datapath import dp
    from vswitchd.datapath.qos import QueueStats


def _settings(qos: QosSpec | QueueSpec) -> dict[str, int]:
    """Return what was set, by Open vSwitch's names."""
    if isinstance(qos, QosSpec) and qos.kind is QosKind.POLICE:
        return {"cir": qos.max_rate // 8, "cbs": qos.burst // 8}
    names = {"max_rate": "max-rate", "min_rate": "min-rate", "burst": "burst"}
    names |= {"priority": "priority", "limit_packets": "vs-queue-packets", "limit_bytes": "vs-queue-bytes"}
    values = {shown: getattr(qos, name, 0) for name, shown in names.items()}
    return {name: value for name, value in values.items() if value}


def _counts(stats: QueueStats) -> dict[str, int]:
    return {
        "tx_packets": stats.packets,
        "tx_bytes": stats.bytes,
        "tx_errors": stats.dropped,
        "waiting_packets": stats.waiting_packets,
        "waiting_bytes": stats.waiting_bytes,
    }


def _queues(qos: QosSpec, handle: dp.PortHandle) -> Iterator[dict[str, Any]]:
    for queue in qos.queues:
        counts = _counts(handle.queue_stats(queue.id))
        yield {"queue": queue.id, "settings": _settings(queue), "statistics": counts}


def _text(row: dict[str, Any]) -> Iterator[str]:
    yield f"QoS: {row['port']} {row['type']}"
    yield from (f"{name}: {value}" for name, value in row["settings"].items())
    for queue in row["queues"]:
        yield ""
        yield f"Queue {queue['queue']}:" if queue["queue"] else "Default:"
        yield from (f"  {n}: {v}" for n, v in {**queue["settings"], **queue["statistics"]}.items())


def _show(daemon: Daemon, args: list[str]) -> Answer:
    found = [(p, h) for b in some_bridges(daemon, []) for p, _, h in b.live() if p.name == args[0]]
    if not found:
        raise ConfigError(f"no running port named {args[0]}")
    port, handle = found[0]
    if port.qos is None:
        return Answer(f"QoS not configured on {port.name}", {"port": port.name, "type": None})
    kind = POLICER if port.qos.kind is QosKind.POLICE else SHAPER
    queues = [*_queues(port.qos, handle)]
    row = {"port": port.name, "type": kind, "settings": _settings(port.qos), "queues": queues}
    return Answer("\n".join(_text(row)), row)


COMMANDS = (Command("qos/show", "PORT", 1, 1, _show),)
