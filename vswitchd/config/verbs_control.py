"""The verbs for controllers, fail-mode, managers, SSL, and emer-reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.config.context import Context
    from vswitchd.config.rows import Row
    from vswitchd.config.types import Datum

_TARGET_TYPES = ("tcp:", "ssl:", "unix:", "ptcp:", "pssl:", "punix:")


def _bridge(ctx: Context) -> Row:
    return ctx.topology().real_bridge(ctx.args[0]).row


def _targets(ctx: Context, table: str, targets: tuple[str, ...]) -> tuple[str, ...]:
    """Make a row for each target; return their UUIDs, sorted."""
    values: dict[str, Datum] = {}
    probe = ctx.option("--inactivity-probe")
    if probe is not None:
        if not (probe.isascii() and probe.isdigit() and len(probe) < 19):
            raise ConfigError(f'--inactivity-probe: "{probe}" is not a number of milliseconds')
        values["inactivity_probe"] = (int(probe),)
    uuids = []
    for target in targets:
        if not target.startswith(_TARGET_TYPES):
            ctx.warnings.append(f'target type "{target}" is possibly erroneous')
        uuids.append(ctx.txn.insert(table, {"target": (target,), **values}).uuid)
    return tuple(sorted(uuids))


def get_controller(ctx: Context) -> None:
    """Print the targets of a bridge's controllers."""
    bridge = ctx.topology().bridge(ctx.args[0]).row
    ctx.lines(sorted(row["target"] for row in ctx.view.refs(bridge, "controller")))


def del_controller(ctx: Context) -> None:
    """Remove a bridge's controllers."""
    ctx.txn.update(_bridge(ctx), {"controller": ()})


def set_controller(ctx: Context) -> None:
    """Replace a bridge's controllers."""
    bridge = _bridge(ctx)
    ctx.txn.update(bridge, {"controller": _targets(ctx, "Controller", ctx.args[1:])})


def get_fail_mode(ctx: Context) -> None:
    """Print a bridge's fail-mode if it is set."""
    mode = ctx.topology().bridge(ctx.args[0]).row["fail_mode"]
    ctx.lines([mode] if mode else [])
    ctx.answer.data = mode


def del_fail_mode(ctx: Context) -> None:
    """Unset a bridge's fail-mode."""
    ctx.txn.update(_bridge(ctx), {"fail_mode": ()})


def set_fail_mode(ctx: Context) -> None:
    """Set a bridge's fail-mode."""
    bridge = _bridge(ctx)
    if ctx.args[1] not in ("standalone", "secure"):
        raise ConfigError('fail-mode must be "standalone" or "secure"')
    ctx.txn.update(bridge, {"fail_mode": (ctx.args[1],)})


def get_manager(ctx: Context) -> None:
    """Print the managers' targets."""
    ctx.lines(sorted(row["target"] for row in ctx.view.refs(ctx.view.root, "manager_options")))


def del_manager(ctx: Context) -> None:
    """Remove all managers."""
    ctx.txn.update(ctx.view.root, {"manager_options": ()})


def set_manager(ctx: Context) -> None:
    """Replace the managers."""
    ctx.txn.update(ctx.view.root, {"manager_options": _targets(ctx, "Manager", ctx.args)})


def get_ssl(ctx: Context) -> None:
    """Print the SSL configuration if there is one."""
    rows = ctx.view.refs(ctx.view.root, "ssl")
    if not rows:
        return
    row = rows[0]
    ctx.lines(
        [
            f"Private key: {row['private_key']}",
            f"Certificate: {row['certificate']}",
            f"CA Certificate: {row['ca_cert']}",
            f"Bootstrap: {'true' if row['bootstrap_ca_cert'] else 'false'}",
        ]
    )
    ctx.answer.data = {c: row[c] for c in ("private_key", "certificate", "ca_cert", "bootstrap_ca_cert")}


def del_ssl(ctx: Context) -> None:
    """Remove the SSL configuration."""
    for row in ctx.view.refs(ctx.view.root, "ssl"):
        ctx.txn.delete(row)
    ctx.txn.update(ctx.view.root, {"ssl": ()})


def set_ssl(ctx: Context) -> None:
    """Replace the SSL configuration: KEY CERTIFICATE CA-CERTIFICATE."""
    del_ssl(ctx)
    key, certificate, ca_cert = ctx.args
    values: dict[str, Datum] = {
        "private_key": (key,),
        "certificate": (certificate,),
        "ca_cert": (ca_cert,),
        "bootstrap_ca_cert": (ctx.has("--bootstrap"),),
    }
    ctx.txn.update(ctx.view.root, {"ssl": (ctx.txn.insert("SSL", values).uuid,)})


def emer_reset(ctx: Context) -> None:
    """Take away what steers or watches the switch: controllers, managers, SSL, mirrors, flow export."""
    ctx.txn.update(ctx.view.root, {"manager_options": ()})
    del_ssl(ctx)
    for bridge in list(ctx.view.rows("Bridge")):
        emptied: dict[str, Datum] = dict.fromkeys(
            ("controller", "fail_mode", "mirrors", "netflow", "sflow", "ipfix"), ()
        )
        hwaddr = bridge["other_config"].get("hwaddr")
        emptied["other_config"] = (("hwaddr", hwaddr),) if hwaddr is not None else ()
        ctx.txn.update(bridge, emptied)
    for port in list(ctx.view.rows("Port")):
        ctx.txn.update(port, {"other_config": ()})
    for interface in list(ctx.view.rows("Interface")):
        ctx.txn.update(interface, {"ingress_policing_rate": (0,), "ingress_policing_burst": (0,)})
