"""Making a Case: of a running daemon, or of its database where none runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vswitchd import bridge_spec, cores
from vswitchd.config.store import Store
from vswitchd.doctor.case import Case, PortCase
from vswitchd.doctor.finding import Finding, note
from vswitchd.errors import VsError

if TYPE_CHECKING:
    from vswitchd.config.rows import Snapshot
    from vswitchd.daemon import Daemon
    from vswitchd.paths import Paths

STORE_TIMEOUT = 1.0


def _configured(snapshot: Snapshot) -> tuple[PortCase, ...]:
    return tuple(
        PortCase(port.name, port.config.type, dict(port.config.options), error=port.error, bridge=name)
        for name, bridge in sorted(bridge_spec.read(snapshot).items())
        for _, port in sorted(bridge.ports.items())
    )


def of_daemon(daemon: Daemon) -> Case:
    """Return the case of a daemon. Control thread."""
    ports = []
    for bridge, live in sorted(daemon.reconciler.ports(), key=lambda pair: (pair[0].spec.name, pair[1].name)):
        config = live.spec.config
        now = live.driver.status() if live.driver is not None else None
        ports.append(
            PortCase(
                name=live.name,
                type=config.type,
                options=dict(config.options),
                error=live.error or (now.info.get("error", "") if now else ""),
                link_up=now.link_up if now else None,
                info=dict(now.info) if now else {},
                bridge=bridge.spec.name,
            )
        )
    mask = daemon.store.snapshot().root["other_config"].get("pmd-cpu-mask")
    return Case(
        daemon.paths,
        running=True,
        ports=tuple(ports),
        polling=tuple(daemon.datapath.cores()),
        mask=mask,
        cpus=tuple(daemon.cpus),
    )


def of_files(paths: Paths) -> tuple[Case, list[Finding]]:
    """Return the case of a switch that does not run, and what kept its configuration from being read."""
    remarks: list[Finding] = []
    ports: tuple[PortCase, ...] = ()
    mask = None
    if not Path(paths.config_db).exists():
        remarks.append(
            note(
                "configuration",
                f"{paths.config_db} is not there: no port is looked at",
                "vswitchd makes it at its start",
            )
        )
    else:
        try:
            store = Store.open(paths.config_db, STORE_TIMEOUT)
        except VsError as error:
            remarks.append(
                note(
                    "configuration",
                    f"{error}: no port is looked at",
                    "run vsappctl doctor as the switch's user",
                )
            )
        else:
            snapshot = store.snapshot()
            store.close()
            ports = _configured(snapshot)
            mask = snapshot.root["other_config"].get("pmd-cpu-mask")
    polling, _ = cores.choose(mask, cores.allowed_cpus())
    return Case(paths, running=False, ports=ports, polling=tuple(polling), mask=mask), remarks
