"""monitor: prints what a switch says unasked (packet-ins, removed flows, changed ports) until it is ended."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ctl.ofctl_client import refusal_text
from ctl.ofctl_packettext import hex_dump, packet_text
from ctl.ofctl_ports import port_object
from ctl.ofctl_session import open_switch, port_names, table_names
from ctl.ofctl_text import head, port_desc
from vswitchd.errors import UsageError
from vswitchd.ofproto.constants import OFP_DEFAULT_PRIORITY, OFP_NO_BUFFER, OFPPR, OFPR, OFPRR, U64_MAX
from vswitchd.ofproto.flowformat import duration_text
from vswitchd.ofproto.flowmatch import format_match
from vswitchd.ofproto.flowvalues import value_text
from vswitchd.ofproto.messages import (
    Error,
    FlowRemoved,
    GetConfigReply,
    GetConfigRequest,
    PacketIn,
    PortStatus,
    SetConfig,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctl.ofctl_client import Received
    from ctl.ofctl_options import Options
    from vswitchd.ofproto.oxm import Match

_VIA = {OFPR.NO_MATCH: "no_match", OFPR.ACTION: "action", OFPR.INVALID_TTL: "invalid_ttl"}
_GONE = {
    OFPRR.IDLE_TIMEOUT: "idle", OFPRR.HARD_TIMEOUT: "hard", OFPRR.DELETE: "delete",
    OFPRR.GROUP_DELETE: "group_delete",
}  # fmt: skip
_STATUS = {OFPPR.ADD: "ADD", OFPPR.DELETE: "DEL", OFPPR.MODIFY: "MOD"}
Names = dict[int, str] | None


def monitor(target: str, words: list[str], options: Options) -> None:
    """Print until the connection ends (LinkError) or we are ended."""
    miss_len = _miss_len(words[0]) if words else None
    with open_switch(target, options) as client:
        ports, tables = port_names(client, options), table_names(client, options)
        if miss_len is not None:
            _, config = client.request(GetConfigRequest(), GetConfigReply)
            client.command(SetConfig(config.flags, miss_len))
        while True:
            found = client.receive()
            if found is not None:
                sys.stdout.write(_told(found, options, ports, tables))
                sys.stdout.flush()


def _miss_len(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise UsageError(f'{word}: unsupported "monitor" argument')
    if int(word[:9]) > 0xFFFF:
        raise UsageError(f"{word}: at most 65535 bytes of a packet can be sent")
    return int(word)


def _told(found: Received, options: Options, ports: Names, tables: Names) -> str:
    write, facts = _WRITERS.get(found.message.__class__, (_other_text, _other_facts))
    if options.json:
        from ctl.output import to_json  # noqa: PLC0415

        stamp = {"time": time.time()} if options.timestamp else {}
        return to_json({**stamp, **facts(found, ports)}, pretty=options.pretty) + "\n"
    text: str = write(found, options, ports, tables)
    return _now() + text if options.timestamp else text


def _now() -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}: "


def _packet_in_text(found: Received, options: Options, ports: Names, tables: Names) -> str:
    message: Any = found.message
    words = []
    if message.table_id or tables:
        words.append(f"table_id={(tables or {}).get(message.table_id, message.table_id)}")
    if message.cookie != U64_MAX:
        words.append(f"cookie={message.cookie:#x}")
    words.append(f"total_len={message.total_len}")
    if len(message.match):
        words.append(format_match(message.match, ports))
    words.append(f"(via {_VIA.get(message.reason, message.reason)}) data_len={len(message.data)}")
    unbuffered = message.buffer_id == OFP_NO_BUFFER
    words.append("(unbuffered)" if unbuffered else f"buffer={message.buffer_id:#010x}")
    if message.total_len != len(message.data):
        words.append("(***total_len != data_len***)")
    text = f"{head('OFPT_PACKET_IN', found.xid)} {' '.join(words)}\n{packet_text(message.data)}\n"
    return text + (hex_dump(message.data) if options.more else "")


def _packet_in_facts(found: Received, ports: Names) -> dict[str, Any]:
    message: Any = found.message
    return {
        "event": "packet_in",
        "table": message.table_id,
        "cookie": None if message.cookie == U64_MAX else message.cookie,
        "reason": _VIA.get(message.reason, str(message.reason)),
        "total_len": message.total_len,
        "fields": _fields(message.match, ports),
        "packet": packet_text(message.data),
        "data": message.data.hex(),
    }


def _fields(match: Match, ports: Names) -> dict[str, str]:
    return {entry.field.name: value_text(entry.field, entry.value, entry.mask, ports) for entry in match}


def _flow_removed_text(found: Received, _options: Options, ports: Names, tables: Names) -> str:
    message: Any = found.message
    match = format_match(message.match, ports)
    rule = [] if message.priority == OFP_DEFAULT_PRIORITY else [f"priority={message.priority}"]
    words = [
        ",".join(rule + ([match] if match else [])),
        f"reason={_GONE.get(message.reason, message.reason)}",
        f"table_id={(tables or {}).get(message.table_id, message.table_id)}",
    ]
    if message.cookie:
        words.append(f"cookie:{message.cookie:#x}")
    words.append(f"duration{duration_text(message.duration_sec, message.duration_nsec)}")
    words.append(f"idle{message.idle_timeout}")
    if message.hard_timeout:
        words.append(f"hard{message.hard_timeout}")
    words.append(f"pkts{message.packet_count} bytes{message.byte_count}")
    return f"{head('OFPT_FLOW_REMOVED', found.xid)} {' '.join(words)}\n"


def _flow_removed_facts(found: Received, ports: Names) -> dict[str, Any]:
    message: Any = found.message
    return {
        "event": "flow_removed",
        "reason": _GONE.get(message.reason, str(message.reason)),
        "table": message.table_id,
        "priority": message.priority,
        "cookie": message.cookie,
        "match": format_match(message.match, ports),
        "fields": _fields(message.match, ports),
        "duration": message.duration_sec + message.duration_nsec / 1e9,
        "idle_timeout": message.idle_timeout,
        "hard_timeout": message.hard_timeout,
        "n_packets": message.packet_count,
        "n_bytes": message.byte_count,
    }


def _port_status_text(found: Received, _options: Options, _ports: Names, _tables: Names) -> str:
    message: Any = found.message
    reason = _STATUS.get(message.reason, str(message.reason))
    return f"{head('OFPT_PORT_STATUS', found.xid)} {reason}:{port_desc(message.desc)}"


def _port_status_facts(found: Received, _ports: Names) -> dict[str, Any]:
    message: Any = found.message
    reason = _STATUS.get(message.reason, str(message.reason))
    return {"event": "port_status", "reason": reason, **port_object(message.desc)}


def _other_text(found: Received, _options: Options, _ports: Names, _tables: Names) -> str:
    if isinstance(found.message, Error):
        return f"{refusal_text(found.xid, found.message)}\n"
    return f"{found.message.__class__.__name__} (OF1.3) (xid={found.xid:#x})\n"


def _other_facts(found: Received, _ports: Names) -> dict[str, Any]:
    name = found.message.name if isinstance(found.message, Error) else found.message.__class__.__name__
    return {"event": "other", "message": name}


_WRITERS: dict[type, tuple[Callable[..., str], Callable[..., dict[str, Any]]]] = {
    PacketIn: (_packet_in_text, _packet_in_facts),
    FlowRemoved: (_flow_removed_text, _flow_removed_facts),
    PortStatus: (_port_status_text, _port_status_facts),
}
