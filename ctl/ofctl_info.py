"""show, dump-desc, dump-tables, get-frags, set-frags: what the switch is, and its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctl.ofctl_ports import desc_facts as port_facts
from ctl.ofctl_session import open_switch
from ctl.ofctl_text import CAPABILITIES, counter, head, port_desc
from vswitchd.errors import UsageError, VsError
from vswitchd.ofproto.constants import OFPCFrag
from vswitchd.ofproto.messages import (
    FeaturesReply,
    FeaturesRequest,
    GetConfigReply,
    GetConfigRequest,
    SetConfig,
)
from vswitchd.ofproto.multipart import (
    DescReply,
    DescRequest,
    PortDescReply,
    PortDescRequest,
    TableStatsReply,
    TableStatsRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctl.ofctl_options import Options
    from vswitchd.ofproto.stats import TableStats

_FRAGS = {0: "normal", 1: "drop", 2: "reassemble", 3: "nx-match"}


class Switch(NamedTuple):
    """What `show` reads, with the xids of the replies."""

    features: FeaturesReply
    ports: list[PortDescReply]
    config: GetConfigReply
    xids: tuple[int, int, int]


def show(target: str, _words: list[str], options: Options) -> tuple[Switch, Callable[[], Iterator[str]]]:
    """Read features, ports and configuration."""
    with open_switch(target, options) as client:
        first, features = client.request(FeaturesRequest(), FeaturesReply)
        second, ports = client.multipart(PortDescRequest(), PortDescReply)
        third, config = client.request(GetConfigRequest(), GetConfigReply)
    read = Switch(features, ports, config, (first, second, third))
    return read, lambda: _show_text(read)


def _show_text(read: Switch) -> Iterator[str]:
    features, config = read.features, read.config
    words = [word for bit, word in CAPABILITIES.items() if features.capabilities & bit]
    yield f"{head('OFPT_FEATURES_REPLY', read.xids[0])} dpid:{features.datapath_id:016x}\n"
    yield f"n_tables:{features.n_tables}, n_buffers:{features.n_buffers}"
    if features.auxiliary_id:
        yield f", auxiliary_id:{features.auxiliary_id}"
    yield f"\ncapabilities: {' '.join(words) or '0'}\n"
    for part in read.ports:
        yield head("OFPST_PORT_DESC reply", read.xids[1], part.flags) + "\n"
        for port in part.entries:
            yield port_desc(port)
    frags = _frags(config)
    yield (
        f"{head('OFPT_GET_CONFIG_REPLY', read.xids[2])} frags={frags} miss_send_len={config.miss_send_len}\n"
    )


def _frags(config: GetConfigReply) -> str:
    return _FRAGS[config.flags & OFPCFrag.MASK]


def show_facts(read: Switch) -> dict[str, Any]:
    """Return everything that `show` prints."""
    features = read.features
    return {
        "dpid": f"{features.datapath_id:016x}",
        "n_tables": features.n_tables,
        "n_buffers": features.n_buffers,
        "auxiliary_id": features.auxiliary_id,
        "capabilities": [word for bit, word in CAPABILITIES.items() if features.capabilities & bit],
        "ports": port_facts(read.ports),
        "frags": _frags(read.config),
        "miss_send_len": read.config.miss_send_len,
    }


def desc(target: str, _words: list[str], options: Options) -> tuple[DescReply, Callable[[], list[str]]]:
    """Read the switch's description."""
    with open_switch(target, options) as client:
        xid, reply = client.request(DescRequest(), DescReply)
    text = (
        f"{head('OFPST_DESC reply', xid)}\n"
        f"Manufacturer: {reply.mfr_desc}\nHardware: {reply.hw_desc}\nSoftware: {reply.sw_desc}\n"
        f"Serial Num: {reply.serial_num}\nDP Description: {reply.dp_desc}\n"
    )
    return reply, lambda: [text]


def desc_facts(reply: DescReply) -> dict[str, str]:
    """Return the description."""
    return {
        "manufacturer": reply.mfr_desc,
        "hardware": reply.hw_desc,
        "software": reply.sw_desc,
        "serial_num": reply.serial_num,
        "dp_description": reply.dp_desc,
    }


class Tables(NamedTuple):
    """Counters of tables, as parts of a reply."""

    xid: int
    parts: list[TableStatsReply]


def tables(target: str, _words: list[str], options: Options) -> tuple[Tables, Callable[[], Iterator[str]]]:
    """Read the counters of all tables."""
    with open_switch(target, options) as client:
        read = Tables(*client.multipart(TableStatsRequest(), TableStatsReply))
    return read, lambda: _tables_text(read)


def _tables_text(read: Tables) -> Iterator[str]:
    """Write the tables; a run of equal ones is one line, "ditto"."""
    for part in read.parts:
        yield head("OFPST_TABLE reply", read.xid, part.flags) + "\n"
        run: list[TableStats] = []
        previous: TableStats | None = None
        for table in part.entries:
            if previous is not None and _same(table, previous):
                run.append(table)
                continue
            yield from _ditto(run)
            run = []
            yield f"  table {table.table_id}:\n"
            yield (
                f"    active={table.active_count}, lookup={counter(table.lookup_count)}, "
                f"matched={counter(table.matched_count)}\n\n"
            )
            previous = table
        yield from _ditto(run)


def _same(one: TableStats, other: TableStats) -> bool:
    return (one.active_count, one.lookup_count, one.matched_count) == (
        other.active_count, other.lookup_count, other.matched_count,
    )  # fmt: skip


def _ditto(run: list[TableStats]) -> Iterator[str]:
    if len(run) == 1:
        yield f"  table {run[0].table_id}: ditto\n"
    elif run:
        yield f"  tables {run[0].table_id}...{run[-1].table_id}: ditto\n"


def tables_facts(read: Tables) -> list[dict[str, Any]]:
    """Return the tables, one object each."""
    return [
        {"table": t.table_id, "active": t.active_count, "lookup": t.lookup_count, "matched": t.matched_count}
        for part in read.parts
        for t in part.entries
    ]


def frags(target: str, _words: list[str], options: Options) -> tuple[GetConfigReply, Callable[[], list[str]]]:
    """Read how fragments are handled."""
    with open_switch(target, options) as client:
        _, config = client.request(GetConfigRequest(), GetConfigReply)
    return config, lambda: [f"{_frags(config)}\n"]


def frags_facts(config: GetConfigReply) -> dict[str, str]:
    """Return it."""
    return {"frags": _frags(config)}


def set_frags(target: str, words: list[str], options: Options) -> None:
    """Set how fragments are handled, and look if it is so."""
    modes = {name: flags for flags, name in _FRAGS.items() if name != "nx-match"}
    if words[0] not in modes:
        raise UsageError(f"{words[0]}: unknown fragment handling mode ({', '.join(modes)})")
    with open_switch(target, options) as client:
        _, config = client.request(GetConfigRequest(), GetConfigReply)
        wanted = config.flags & ~OFPCFrag.MASK | modes[words[0]]
        client.send(SetConfig(wanted, config.miss_send_len))
        _, config = client.request(GetConfigRequest(), GetConfigReply)
    if config.flags != wanted:
        raise VsError(
            f'{target}: setting fragment handling mode failed (this switch doesn\'t support mode "{words[0]}")'
        )
