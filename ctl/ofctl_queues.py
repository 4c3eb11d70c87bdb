"""Queues: queue-stats, queue-get-config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctl.ofctl_session import PortNumbers, open_switch, port_names, usage_errors
from ctl.ofctl_text import head
from vswitchd.ofproto.constants import OFPP, OFPQ_ALL, U64_MAX
from vswitchd.ofproto.flowformat import duration_text
from vswitchd.ofproto.flowvalues import number, port, port_text
from vswitchd.ofproto.messages import QueueGetConfigReply, QueueGetConfigRequest
from vswitchd.ofproto.multipart import QueueStatsReply, QueueStatsRequest
from vswitchd.ofproto.structures import PacketQueue, QueueMaxRate, QueueMinRate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_client import Client
    from ctl.ofctl_options import Options
    from vswitchd.ofproto.stats import QueueStats

_UNKNOWN = 0xFFFFFFFF


class Stats(NamedTuple):
    """Counters of queues, as parts of a reply, and the ports' names to print."""

    xid: int
    parts: list[QueueStatsReply]
    names: dict[int, str] | None


def _port(client: Client, word: str) -> int:
    with usage_errors():
        return int(OFPP.ANY) if word.lower() in ("all", "any") else port(word, "port", PortNumbers(client))


def stats(target: str, words: list[str], options: Options) -> tuple[Stats, Callable[[], Iterator[str]]]:
    """Read the counters of the queues of one port or all, of one queue or all."""
    queue = OFPQ_ALL
    if len(words) > 1 and words[1].lower() != "all":
        with usage_errors():
            queue = number(words[1], "queue", 32)
    with open_switch(target, options) as client:
        wanted = _port(client, words[0]) if words else int(OFPP.ANY)
        names = port_names(client, options)
        xid, parts = client.multipart(QueueStatsRequest(wanted, queue), QueueStatsReply)
    read = Stats(xid, parts, names)
    return read, lambda: _stats_text(read)


def _stats_text(read: Stats) -> Iterator[str]:
    for part in read.parts:
        yield f"{head('OFPST_QUEUE reply', read.xid, part.flags)} {len(part.entries)} queues\n"
        for entry in part.entries:
            counts = [
                f"{name}={'?' if value == U64_MAX else value}"
                for name, value in (
                    ("bytes", entry.tx_bytes),
                    ("pkts", entry.tx_packets),
                    ("errors", entry.tx_errors),
                )
            ]
            known = entry.duration_sec != _UNKNOWN
            time = duration_text(entry.duration_sec, entry.duration_nsec) if known else "?"
            name = port_text(entry.port_no, read.names)
            yield f"  port {name} queue {entry.queue_id}: {', '.join(counts)}, duration={time}\n"


def stats_facts(read: Stats) -> list[dict[str, Any]]:
    """Return the counters, one object for each queue."""
    return [_object(entry) for part in read.parts for entry in part.entries]


def _object(entry: QueueStats) -> dict[str, Any]:
    return {
        "port": entry.port_no if entry.port_no < OFPP.MAX else port_text(entry.port_no),
        "queue": entry.queue_id,
        "n_bytes": entry.tx_bytes,
        "n_packets": entry.tx_packets,
        "n_errors": entry.tx_errors,
        "duration": entry.duration_sec + entry.duration_nsec / 1e9,
    }


class Config(NamedTuple):
    """The queues of a port or of all, and the ports' names to print."""

    xid: int
    reply: QueueGetConfigReply
    names: dict[int, str] | None


def config(target: str, words: list[str], options: Options) -> tuple[Config, Callable[[], Iterator[str]]]:
    """Read how the queues of one port or all are configured."""
    with open_switch(target, options) as client:
        wanted = _port(client, words[0]) if words else int(OFPP.ANY)
        names = port_names(client, options)
        xid, reply = client.request(QueueGetConfigRequest(wanted), QueueGetConfigReply)
    read = Config(xid, reply, names)
    return read, lambda: _config_text(read)


def _config_text(read: Config) -> Iterator[str]:
    """Like ovs-ofctl's: by number, the port only where it has queues. JSON says each queue's port."""
    shown = f" port={port_text(read.reply.port, read.names)}" if read.reply.queues else ""
    yield f"{head('OFPT_QUEUE_GET_CONFIG_REPLY', read.xid)}{shown}\n"
    for queue in sorted(read.reply.queues, key=lambda queue: queue.queue_id):
        rates = [f" {name}:{rate / 10:.1f}%" for name, rate in _rates(queue).items()]
        yield f"queue {queue.queue_id}:{''.join(rates)}\n"


def _rates(queue: PacketQueue) -> dict[str, int]:
    found: dict[str, int] = {}
    for prop in queue.properties:
        if isinstance(prop, QueueMinRate | QueueMaxRate) and prop.rate <= 1000:
            found["min_rate" if isinstance(prop, QueueMinRate) else "max_rate"] = prop.rate
    return found


def config_facts(read: Config) -> list[dict[str, Any]]:
    """Return the queues, one object each; rates in percent."""
    return [
        {"port": queue.port, "queue": queue.queue_id}
        | {name: rate / 10 for name, rate in _rates(queue).items()}
        for queue in read.reply.queues
    ]
