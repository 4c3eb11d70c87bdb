"""The directory of the vhost-user sockets: who may enter it, and what dead processes left in it."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from vswitchd.doctor import access
from vswitchd.doctor.case import SERVER_TYPE, Case
from vswitchd.doctor.finding import Finding, note, ok, problem
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me

SUBJECT = "sockets"
_LISTENING = 0x10000  # __SO_ACCEPTCON: column Flags of /proc/net/unix


def listening(host: Host) -> set[str]:
    """Return the addresses that somebody in this network namespace listens on; abstract ones begin with @."""
    found = set()
    for line in (host.read("/proc/net/unix") or "").splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and int(words[3], 16) & _LISTENING:
            found.add(words[7])
    return found


def address_of(case: Case, name: str, options: dict[str, str]) -> str:
    """Return where a port of type dpdkvhostuser listens."""
    return options.get("vhost-socket") or case.paths.vhost_sock(name)


def check(host: Host, _me: Me, case: Case) -> Iterator[Finding]:
    """Look at the run directory."""
    run = case.paths.run
    found = host.stat(run)
    if found is None:
        yield note(SUBJECT, f"{run} is not there yet; vswitchd makes it at its start")
        return
    if not stat.S_ISDIR(found.mode):
        yield problem(SUBJECT, f"{run} is no directory", f"rm {run}")
        return
    if found.mode & stat.S_IWOTH:
        text = f"{run}: anybody may write there ({access.shown(host, run)}) and put a socket in place of ours"
        yield problem(SUBJECT, text, f"chmod o-w {run}")
    elif not host.may_use(run):
        yield problem(
            SUBJECT,
            f"{run}: this user may not make sockets there ({access.shown(host, run)})",
            f"chown USER {run}",
        )
    else:
        yield ok(SUBJECT, f"{run}: {access.shown(host, run)}")
    yield from _stale(host, case)


def _stale(host: Host, case: Case) -> Iterator[Finding]:
    run, alive = case.paths.run, listening(host)
    ours = {address_of(case, port.name, dict(port.options)) for port in case.of({SERVER_TYPE})}
    dead = []
    for name in host.names(run):
        path = f"{run}/{name}"
        found = host.stat(path)
        if found is not None and stat.S_ISSOCK(found.mode) and path not in alive and path not in ours:
            dead.append(path)
    if dead and (case.running or not case.ports):
        text = f"{len(dead)} sockets that nobody listens on: {', '.join(dead[:5])}{', ...' if len(dead) > 5 else ''}"
        yield note(SUBJECT, text, f"rm {' '.join(dead)}")
