"""QoS of a port as an operator stores it (tables QoS and Queue): read into plain values, or one line of what is wrong.

Names and units are those of ovs-vswitchd.conf.db(5): bits a second, but bytes a second for egress-policer. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.config.rows import Row, Snapshot

SHAPER, POLICER, NONE = "linux-htb", "egress-policer", frozenset({"", "linux-noop"})
MAX_RATE = 10**15
MAX_QUEUES = 4096
_U32 = (1 << 32) - 1
_OFPQ_ALL = _U32


def read(snapshot: Snapshot, port: Row) -> QosSpec | None:
    """Return the QoS of a port's row, None where it has none. Raises ConfigError with one line."""
    row = None if port["qos"] is None else snapshot.get("QoS", port["qos"])
    if row is None or row["type"] in NONE:
        return None
    config = row["other_config"]
    if row["type"] == POLICER:
        if "cir" not in config:
            raise ConfigError(f"type {POLICER} needs other_config:cir, bytes a second")
        rate, burst = _number(config, "cir", MAX_RATE // 8), _number(config, "cbs", _U32)
        return QosSpec(rate * 8, (), QosKind.POLICE, burst * 8) if rate else None
    if row["type"] != SHAPER:
        raise ConfigError(f'type "{row["type"]}" is not supported: use {SHAPER} or {POLICER}')
    if len(row["queues"]) > MAX_QUEUES:
        raise ConfigError(f"a port has at most {MAX_QUEUES} queues")
    queues = []
    for number, uuid in sorted(row["queues"].items()):
        queue = snapshot.get("Queue", uuid)
        queues.append(_queue(number, queue["other_config"] if queue is not None else {}))
    return QosSpec(_number(config, "max-rate"), tuple(queues), burst=_number(config, "burst"))


def _queue(number: int, config: Mapping[str, str]) -> QueueSpec:
    if number == _OFPQ_ALL:
        raise ConfigError(f"queue {number} cannot be: OpenFlow means all queues by it")
    try:
        queue = QueueSpec(
            number,
            _number(config, "min-rate"),
            _number(config, "max-rate"),
            _number(config, "burst"),
            _number(config, "priority", _U32),
            _number(config, "vs-queue-packets", _U32),
            _number(config, "vs-queue-bytes", _U32),
        )
    except ConfigError as error:
        raise ConfigError(f"queue {number}: {error}") from None
    if queue.max_rate and queue.min_rate > queue.max_rate:
        raise ConfigError(f"queue {number}: min-rate {queue.min_rate} is over max-rate {queue.max_rate}")
    return queue


def _number(config: Mapping[str, str], key: str, high: int = MAX_RATE) -> int:
    text = config.get(key, "0")
    if text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= high:
        return int(text)
    raise ConfigError(f'other_config:{key} "{text}" is not a number from 0 to {high}')


def _stored(snapshot: Snapshot, port: Row | None) -> object:
    qos = None if port is None or port["qos"] is None else snapshot.get("QoS", port["qos"])
    if qos is None:
        return None
    queues = [(number, snapshot.get("Queue", uuid)) for number, uuid in sorted(qos["queues"].items())]
    return qos["type"], dict(qos["other_config"]), [(n, q and dict(q["other_config"])) for n, q in queues]


def touched_interfaces(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the UUIDs of the interfaces whose port has another QoS than before: they may tell of an error."""
    if all(before.tables[name] == after.tables[name] for name in ("Port", "QoS", "Queue")):
        return []
    return [
        interface.uuid
        for port in after.rows("Port")
        if port["qos"] is not None and _stored(before, before.get("Port", port.uuid)) != _stored(after, port)
        for interface in after.refs(port, "interfaces")
    ]
