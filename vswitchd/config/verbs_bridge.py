"""The verbs for bridges, ports and interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.config.rows import Row, ref_uuids
from vswitchd.config.syntax import quote
from vswitchd.config.topology import Bridge, Port
from vswitchd.config.verbs_table import set_columns
from vswitchd.errors import EXIT_NO_SUCH_BRIDGE, ConfigError, UsageError

if TYPE_CHECKING:
    from vswitchd.config.context import Context
    from vswitchd.config.types import Datum


def _add_ref(ctx: Context, row: Row, column: str, uuid: str) -> None:
    ctx.txn.update(row, {column: tuple(sorted({*ref_uuids(row, column), uuid}))})


def _remove_refs(ctx: Context, row: Row, column: str, uuids: set[str]) -> None:
    current = ctx.view.get(row.table.name, row.uuid)
    if current is not None:
        ctx.txn.update(current, {column: tuple(u for u in ref_uuids(current, column) if u not in uuids)})


def _new_port(ctx: Context, bridge: Row, name: str, kind: str, values: dict[str, Datum]) -> Row:
    """Make a port with one interface of the same name; return the port."""
    interface = ctx.txn.insert("Interface", {"name": (name,), "type": (kind,)})
    port = ctx.txn.insert("Port", {"name": (name,), "interfaces": (interface.uuid,), **values})
    _add_ref(ctx, bridge, "ports", port.uuid)
    ctx.new_interfaces.append(interface.uuid)
    return port


def _parse_vlan(text: str) -> int:
    vlan = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else -1
    if not 0 <= vlan <= 4095:
        raise ConfigError("add-br: vlan must be between 0 and 4095")
    return vlan


def add_br(ctx: Context) -> None:
    """Make a bridge with its local port, or a fake bridge: BR PARENT VLAN."""
    if len(ctx.args) == 2:
        raise UsageError("'add-br' command takes exactly 1 or 3 arguments")
    name = ctx.args[0]
    topology = ctx.topology()
    parent = ctx.args[1] if len(ctx.args) == 3 else None
    vlan = _parse_vlan(ctx.args[2]) if parent is not None else 0
    if ctx.has("--may-exist") and name in topology.bridges:
        _check_same(topology.bridges[name], name, parent, vlan)
        return
    topology.check_free(name, f"a bridge named {name}")
    if not name or "/" in name:
        raise ConfigError(f'"{name}" cannot name a bridge: a name must not be empty or hold "/"')
    if parent is None:
        bridge = ctx.txn.insert("Bridge", {"name": (name,)})
        _new_port(ctx, bridge, name, "internal", {})
        _add_ref(ctx, ctx.view.root, "bridges", bridge.uuid)
        return
    if parent not in topology.bridges:
        raise ConfigError(f"parent bridge {parent} does not exist")
    above = topology.bridge(parent)
    if above.parent is not None:
        raise ConfigError("cannot create bridge with fake bridge as parent")
    for other in topology.bridges.values():
        if other.parent == parent and other.vlan == vlan:
            raise ConfigError(f"bridge {parent} already has a child VLAN bridge {other.name} on VLAN {vlan}")
    _new_port(ctx, above.row, name, "internal", {"tag": (vlan,), "fake_bridge": (True,)})


def _check_same(bridge: Bridge, name: str, parent: str | None, vlan: int) -> None:
    """Raise ConfigError if the bridge that may exist is of another sort than the one asked for."""
    if parent is None:
        if bridge.parent is not None:
            raise ConfigError(
                f'"--may-exist add-br {name}" but {name} is a VLAN bridge for VLAN {bridge.vlan}'
            )
        return
    asked = f'"--may-exist add-br {name} {parent} {vlan}"'
    if bridge.parent is None:
        raise ConfigError(f"{asked} but {name} is not a VLAN bridge")
    if bridge.parent != parent:
        raise ConfigError(f"{asked} but {name} has the wrong parent {bridge.parent}")
    if bridge.vlan != vlan:
        raise ConfigError(f"{asked} but {name} is a VLAN bridge for the wrong VLAN {bridge.vlan}")


def del_br(ctx: Context) -> None:
    """Delete a bridge with all its ports; of a fake one, the ports that count for it."""
    topology = ctx.topology()
    name = ctx.args[0]
    if ctx.has("--if-exists") and name not in topology.bridges:
        return
    bridge = topology.bridge(name)
    if bridge.parent is None:
        _remove_refs(ctx, ctx.view.root, "bridges", {bridge.row.uuid})
        return
    local = ctx.view.by_name("Port", name)
    gone = {port.row.uuid for port in topology.ports_of(bridge)} | ({local.uuid} if local else set())
    _remove_refs(ctx, bridge.row, "ports", gone)


def list_br(ctx: Context) -> None:
    """Print the names of bridges."""
    real, fake = ctx.has("--real"), ctx.has("--fake")
    bridges = ctx.topology().bridges.values()
    wanted = [b.name for b in bridges if real in (fake, b.parent is None)]
    ctx.lines(sorted(wanted))


def br_exists(ctx: Context) -> None:
    """Exit with code 2 if there is no such bridge."""
    if ctx.args[0] not in ctx.topology().bridges:
        raise ConfigError("", EXIT_NO_SUCH_BRIDGE)


def br_to_vlan(ctx: Context) -> None:
    """Print the VLAN a bridge stands for; 0 for a real one."""
    bridge = ctx.topology().bridge(ctx.args[0])
    ctx.lines([str(bridge.vlan)])
    ctx.answer.data = bridge.vlan


def br_to_parent(ctx: Context) -> None:
    """Print a fake bridge's parent; a real one's own name."""
    bridge = ctx.topology().bridge(ctx.args[0])
    ctx.lines([bridge.parent or bridge.name])
    ctx.answer.data = bridge.parent or bridge.name


def _id_row(ctx: Context, bridge: Bridge) -> tuple[Row, str]:
    """Return the row and key prefix of a bridge's external ids: a fake one's stand in its Port."""
    if bridge.parent is None:
        return bridge.row, ""
    row = ctx.view.by_name("Port", bridge.name)
    assert row is not None
    return row, "fake-bridge-"


def br_set_external_id(ctx: Context) -> None:
    """Set or remove one external id of a bridge."""
    row, prefix = _id_row(ctx, ctx.topology().bridge(ctx.args[0]))
    ids = dict(row["external_ids"])
    ids.pop(prefix + ctx.args[1], None)
    if len(ctx.args) == 3:
        ids[prefix + ctx.args[1]] = ctx.args[2]
    ctx.txn.update(row, {"external_ids": tuple(sorted(ids.items()))})


def br_get_external_id(ctx: Context) -> None:
    """Print one external id of a bridge, or all as KEY=VALUE."""
    row, prefix = _id_row(ctx, ctx.topology().bridge(ctx.args[0]))
    ids = {k.removeprefix(prefix): v for k, v in row["external_ids"].items() if k.startswith(prefix)}
    if len(ctx.args) == 2:
        ctx.lines([ids[ctx.args[1]]] if ctx.args[1] in ids else [])
        ctx.answer.data = ids.get(ctx.args[1])
        return
    ctx.lines([f"{key}={value}" for key, value in sorted(ids.items())])
    ctx.answer.data = ids


def add_port(ctx: Context) -> None:
    """Make a port with one interface on a bridge, and set columns of the port."""
    bridge_name, name, *settings = ctx.args
    topology = ctx.topology()
    if ctx.has("--may-exist") and name in topology.ports:
        where = topology.ports[name].bridge
        if where.name != bridge_name:
            asked = f'"--may-exist add-port {bridge_name} {name}"'
            raise ConfigError(f"{asked} but {name} is actually attached to bridge {where.name}")
        interfaces = [row.name for row in ctx.view.refs(topology.ports[name].row, "interfaces")]
        if interfaces != [name]:
            asked = f'"--may-exist add-port {bridge_name} {name}"'
            raise ConfigError(
                f"{asked} but {name} actually has interface(s) {', '.join(map(quote, interfaces))}"
            )
        return
    topology.check_free(name, f"a port named {name}")
    if not name:
        raise ConfigError("port name must not be empty string")
    bridge = topology.bridge(bridge_name)
    port = _new_port(ctx, bridge.row, name, "", {"tag": (bridge.vlan,)} if bridge.parent else {})
    topology.add(port, bridge)
    ctx.keep(topology)
    set_columns(ctx, port, tuple(settings))


def no_bonds(ctx: Context) -> None:
    """Refuse a bond clearly."""
    raise ConfigError(f"{ctx.command.name}: this switch has no bonds yet; use one port per interface")


def del_port(ctx: Context) -> None:
    """Delete a port, with --with-iface also one named by its interface."""
    topology = ctx.topology()
    *bridges, name = ctx.args
    port = topology.ports.get(name)
    if port is None and ctx.has("--with-iface") and name in topology.interfaces:
        port = topology.interfaces[name][1]
    if port is None:
        if ctx.has("--if-exists"):
            return
        if name in topology.bridges:
            raise ConfigError(
                f"cannot delete port {name} because it is the local port for bridge {name}"
                " (deleting this port requires deleting the entire bridge)"
            )
        raise ConfigError(
            f"no port or interface named {name}" if ctx.has("--with-iface") else f"no port named {name}"
        )
    if bridges and port.bridge != topology.bridge(bridges[0]):
        raise ConfigError(f"bridge {bridges[0]} does not have a port {name}{_relative(port, bridges[0])}")
    _remove_refs(ctx, port.bridge.row, "ports", {port.row.uuid})


def _relative(port: Port, asked: str) -> str:
    """Return a hint if the port is on a child of the bridge asked for."""
    if port.bridge.parent == asked:
        return f" (although its child bridge {port.bridge.name} does)"
    return ""


def list_ports(ctx: Context) -> None:
    """Print the names of a bridge's ports, but the local one."""
    topology = ctx.topology()
    ctx.lines(sorted(port.row.name for port in topology.ports_of(topology.bridge(ctx.args[0]))))


def list_ifaces(ctx: Context) -> None:
    """Print the names of a bridge's interfaces, but the local one."""
    topology = ctx.topology()
    bridge = topology.bridge(ctx.args[0])
    ctx.lines(sorted(name for name, (_, port) in topology.interfaces.items() if port.bridge == bridge))


def port_to_br(ctx: Context) -> None:
    """Print the bridge of a port."""
    ctx.lines([ctx.topology().port(ctx.args[0]).bridge.name])
    ctx.answer.data = ctx.answer.data[0]


def iface_to_br(ctx: Context) -> None:
    """Print the bridge of an interface."""
    ctx.lines([ctx.topology().interface(ctx.args[0])[1].bridge.name])
    ctx.answer.data = ctx.answer.data[0]
