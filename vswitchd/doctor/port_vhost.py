"""A vhost-user port: its socket, whether QEMU's user reaches it, whether the other side is there."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from vswitchd.doctor import access
from vswitchd.doctor.case import CLIENT_TYPE, SERVER_TYPE, Case, PortCase
from vswitchd.doctor.finding import Finding, note, ok, problem
from vswitchd.doctor.host import Account, Host
from vswitchd.doctor.process import Me
from vswitchd.doctor.sockets import address_of, listening

SUBJECT = "port"
TYPES = frozenset({SERVER_TYPE, CLIENT_TYPE})


def check(host: Host, me: Me, case: Case, port: PortCase) -> Iterator[Finding]:
    """Look at one port of type dpdkvhostuser or dpdkvhostuserclient."""
    alive = listening(host)
    if port.type == SERVER_TYPE:
        yield from _server(host, case, port, alive)
    else:
        yield from _client(host, me, port, alive)


def _server(host: Host, case: Case, port: PortCase, alive: set[str]) -> Iterator[Finding]:
    address = address_of(case, port.name, dict(port.options))
    if port.info.get("status") == "connected":
        yield ok(SUBJECT, f"a front-end is connected on {address}", port=port.name)
        return
    if not address.startswith("@"):
        directory = address.rpartition("/")[0] or "/"
        if host.stat(directory) is None:
            yield problem(
                SUBJECT,
                f"directory {directory} does not exist",
                f"install -d -m 0750 -g kvm {directory}",
                port=port.name,
            )
            return
        yield from _reachable(host, port, address)
    if not case.running:
        return
    if address in alive:
        text = f"listens on {address}; no front-end has connected yet"
        mend = f"deploy/vm/qemu.sh {address} client -- DISK"
        yield note(SUBJECT, text, mend, port=port.name)
    elif not port.error:
        text = f"{address} is gone or replaced: no new front-end can connect"
        yield problem(SUBJECT, text, port.again, port=port.name)


def _reachable(host: Host, port: PortCase, address: str) -> Iterator[Finding]:
    there = host.stat(address) is not None
    path = address if there else address.rpartition("/")[0]
    bits = access.WRITE if there else access.SEARCH
    for user in access.qemu_users(host):
        here = access.barrier(host, path, user, bits)
        if here:
            text = f"QEMU's user {user.name} cannot reach {address}: {here} is {access.shown(host, here)}"
            yield problem(SUBJECT, text, *_let_in(host, port, here, address, user), port=port.name)


def _let_in(host: Host, port: PortCase, here: str, address: str, user: Account) -> tuple[str, ...]:
    if here == address:
        group = host.group_name(min(user.gids, default=-1))
        if host.account(user.name) is not None and (kvm := _kvm(host, user)):
            group = kvm
        return (f"vsctl set Interface {port.name} options:socket-mode=0660 options:socket-group={group}",)
    return (f"setfacl -m u:{user.name}:x {here}, or chgrp kvm {here} && chmod g+x {here}",)


def _kvm(host: Host, user: Account) -> str:
    return next((name for gid in user.gids if (name := host.group_name(gid)) == "kvm"), "")


def _client(host: Host, me: Me, port: PortCase, alive: set[str]) -> Iterator[Finding]:
    address = port.options.get("vhost-server-path", "")
    if not address:
        mend = f"vsctl set Interface {port.name} options:vhost-server-path=/run/vm/{port.name}.sock"
        yield problem(
            SUBJECT, "no options:vhost-server-path: there is nothing to connect to", mend, port=port.name
        )
        return
    if port.info.get("status") == "connected":
        yield ok(SUBJECT, f"connected to {address}", port=port.name)
        return
    start = f"deploy/vm/qemu.sh {address} server -- DISK"
    if not address.startswith("@"):
        found = host.stat(address)
        if (here := access.barrier(host, address, me.user, access.WRITE)) != "":
            text = f"user {me.user.name} may not connect to {address}: {here} is {access.shown(host, here)}"
            bits = "rw" if here == address else "x"
            yield problem(SUBJECT, text, f"setfacl -m u:{me.user.name}:{bits} {here}", port=port.name)
            return
        if found is None:
            yield note(SUBJECT, f"{address} does not exist: QEMU does not listen", start, port=port.name)
            return
        if not stat.S_ISSOCK(found.mode):
            yield problem(SUBJECT, f"{address} is no socket", f"rm {address}; {start}", port=port.name)
            return
    if address not in alive:
        text = f"nobody in this network namespace listens on {address}: left by a QEMU that has ended?"
        yield note(SUBJECT, text, start, port=port.name)
        return
    yield ok(SUBJECT, f"QEMU listens on {address}", port=port.name)
