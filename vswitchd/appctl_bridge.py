"""vsappctl's commands about bridges: MAC tables, the drop ledger, datapath ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.appctl import Answer, Command, some_bridges
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.bridge import LiveBridge, LivePort
    from vswitchd.daemon import Daemon
    from vswitchd.datapath import dp

OFPP_LOCAL = 0xFFFFFFFE
SHOWN_LOCAL = 65534


def _port_word(number: int) -> str:
    return "LOCAL" if number in {OFPP_LOCAL, SHOWN_LOCAL} else str(number)


def _fdb_show(daemon: Daemon, args: list[str]) -> Answer:
    parts, data = [], []
    bridges = some_bridges(daemon, args)
    for bridge in bridges:
        lines = [" port  VLAN  MAC                Age"]
        for ofport, vlan, mac, age in sorted(bridge.dp.fdb(), key=lambda entry: (entry[1], entry[2])):
            lines.append(f"{_port_word(ofport):>5}  {vlan:>4}  {mac}  {age:>3}")
            data.append(
                {
                    "bridge": bridge.name,
                    "port": SHOWN_LOCAL if ofport == OFPP_LOCAL else ofport,
                    "vlan": vlan,
                    "mac": mac,
                    "age": age,
                }
            )
        title = [f"{bridge.name}:"] if len(bridges) > 1 else []
        parts.append("\n".join([*title, *lines]))
    return Answer("\n".join(parts), data)


def _fdb_flush(daemon: Daemon, args: list[str]) -> Answer:
    for bridge in some_bridges(daemon, args):
        bridge.dp.fdb_flush()
    return Answer("table successfully flushed", {"flushed": True})


def _fdb_stats(daemon: Daemon, args: list[str]) -> Answer:
    parts, data = [], []
    for bridge in some_bridges(daemon, args):
        stats = bridge.dp.fdb_stats()
        parts.append(
            f'Statistics for bridge "{bridge.name}":\n'
            f"  Current/maximum MAC entries in the table: {stats['entries']}/{bridge.spec.mac_table_size}\n"
            f"  Current static MAC entries in the table : 0\n"
            f"  Total number of learned MAC entries     : {stats['learned']}\n"
            f"  Total number of expired MAC entries     : {stats['expired']}\n"
            f"  Total number of evicted MAC entries     : {stats['evicted']}\n"
            f"  Total number of port moved MAC entries  : {stats['moved']}"
        )
        data.append(
            {
                "bridge": bridge.name,
                "maximum": bridge.spec.mac_table_size,
                "static": 0,
                **{name: stats[name] for name in ("entries", "learned", "expired", "evicted", "moved")},
            }
        )
    return Answer("\n".join(parts), data)


def ledger(bridge: LiveBridge, port: LivePort, counters: dp.PortCounters) -> dict[str, Any]:
    """Return the ledger of one port; `open` is what is received but not accounted for yet (0: it closes)."""
    rx, tx = dict(counters.rx_drops), dict(counters.tx_drops)
    rx_open = counters.rx_packets - counters.rx_forwarded - sum(rx.values())
    tx_open = counters.tx_offered - counters.tx_packets - sum(tx.values())
    return {
        "bridge": bridge.name,
        "port": port.name,
        "ofport": port.number,
        "received": counters.rx_packets,
        "forwarded": counters.rx_forwarded,
        "rx_drops": rx,
        "rx_open": rx_open,
        "offered": counters.tx_offered,
        "sent": counters.tx_packets,
        "tx_drops": tx,
        "tx_open": tx_open,
        "closes": rx_open == 0 and tx_open == 0,
    }


def _ledger_text(row: dict[str, Any]) -> str:
    def line(name: str, value: int, indent: int) -> str:
        return f"{' ' * indent}{name:<{34 - indent}}{value:>14}"

    lines = [f"{row['bridge']}: {row['port']} (port {_port_word(row['ofport'])})"]
    for title, good, kind in (("received", "forwarded", "rx"), ("offered", "sent", "tx")):
        lines.append(line(title, row[title], 2))
        lines.append(line(good, row[good], 4))
        drops: dict[str, int] = row[f"{kind}_drops"]
        lines += [line(f"drop {reason}", n, 4) for reason, n in sorted(drops.items(), key=lambda i: -i[1])]
        if row[f"{kind}_open"]:
            lines.append(line("not accounted for yet (in flight)", row[f"{kind}_open"], 4))
    lines.append("  the ledger closes" if row["closes"] else "  the ledger is open: packets are in flight")
    return "\n".join(lines)


def _drops(daemon: Daemon, args: list[str]) -> Answer:
    rows = [
        ledger(bridge, port, handle.counters())
        for bridge in some_bridges(daemon, [])
        for port, _, handle in bridge.live()
        if not args or port.name in args
    ]
    known = {row["port"] for row in rows}
    for name in args:
        if name not in known:
            raise ConfigError(f"no running port named {name}")
    return Answer("\n".join(_ledger_text(row) for row in rows), rows)


def _dpif_show(daemon: Daemon, _args: list[str]) -> Answer:
    cores = daemon.datapath.core_stats()
    hits, misses = sum(c.emc_hits for c in cores), sum(c.emc_misses for c in cores)
    lines = [f"netdev@vswitchd: hit:{hits} missed:{misses}"]
    data: dict[str, Any] = {"datapath": "netdev@vswitchd", "hit": hits, "missed": misses, "bridges": []}
    for bridge in some_bridges(daemon, []):
        lines.append(f"  {bridge.name}:")
        ports = []
        for port, driver, handle in sorted(bridge.live(), key=lambda item: item[0].name):
            facts = [
                f"{k}={v}" for k, v in sorted(driver.status().info.items()) if k in {"n_rxq", "n_txq", "mode"}
            ]
            kind = port.spec.config.type + (": " + ", ".join(facts) if facts else "")
            lines.append(f"    {port.name} {port.number}/{handle.index}: ({kind})")
            ports.append(
                {
                    "name": port.name,
                    "ofport": port.number,
                    "index": handle.index,
                    "type": port.spec.config.type,
                }
            )
        data["bridges"].append({"name": bridge.name, "ports": ports})
    return Answer("\n".join(lines), data)


def _ofproto_list(daemon: Daemon, _args: list[str]) -> Answer:
    names = sorted(daemon.reconciler.bridges)
    return Answer("\n".join(names), names)


COMMANDS = (
    Command("fdb/show", "[BRIDGE]...", 0, None, _fdb_show),
    Command("fdb/flush", "[BRIDGE]...", 0, None, _fdb_flush),
    Command("fdb/stats-show", "[BRIDGE]...", 0, None, _fdb_stats),
    Command("drops", "[PORT]...", 0, None, _drops),
    Command("dpif/show", "", 0, 0, _dpif_show),
    Command("ofproto/list", "", 0, 0, _ofproto_list),
)
