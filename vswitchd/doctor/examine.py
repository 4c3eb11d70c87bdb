"""All checks in their order, over one machine, process and case; and what a running daemon says of its ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from vswitchd.doctor import (
    cores,
    disk,
    finding,
    iommu,
    memory,
    port_kernel,
    port_vfio,
    port_vhost,
    process,
    sockets,
    vfio,
)
from vswitchd.doctor.case import Case, PortCase
from vswitchd.doctor.finding import Finding, problem
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me

Check = Callable[[Host, Me, Case], Iterator[Finding]]
PortCheck = Callable[[Host, Me, Case, PortCase], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    process.check,
    cores.check,
    memory.check,
    iommu.check,
    vfio.check,
    sockets.check,
    disk.check,
)
PORT_CHECKS: dict[str, PortCheck] = {
    name: module.check for module in (port_kernel, port_vhost, port_vfio) for name in module.TYPES
}


def examine(host: Host, case: Case, names: Iterable[str] = ()) -> list[Finding]:
    """Return all findings; with `names`, those of these ports alone. May take a moment: not for a loop's thread."""
    me, only = process.me(host), frozenset(names)
    me = replace(me, cpus=case.cpus or me.cpus)
    found: list[Finding] = []
    if not only:
        for check in CHECKS:
            found += check(host, me, case)
    for port in case.ports:
        if not only or port.name in only:
            found += _port(host, me, case, port)
    return found


def _port(host: Host, me: Me, case: Case, port: PortCase) -> Iterator[Finding]:
    check = PORT_CHECKS.get(port.type)
    if check is not None:
        yield from check(host, me, case, port)
    if port.error:
        mend = f"when the cause is mended: {port.again}"
        yield problem(
            "port", f"does not run: {port.error}", *((mend,) if case.running else ()), port=port.name
        )


def report(case: Case, who: str, found: list[Finding]) -> tuple[str, dict[str, object]]:
    """Return findings as text and as data. `who`: one line on what was looked at."""
    return finding.text(found, who), {"running": case.running, "examined": who, **finding.data(found)}
