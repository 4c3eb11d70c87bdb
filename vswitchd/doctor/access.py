"""May a user reach a file? The permission bits of the file and of every directory above it; and who runs QEMU here."""

from __future__ import annotations

import stat

from vswitchd.doctor.host import Account, Host
from vswitchd.doctor.process import account_of

READ, WRITE, SEARCH = 4, 2, 1
QEMU_ACCOUNTS = ("libvirt-qemu", "qemu")
"""Whom libvirt runs QEMU as: Debian and Ubuntu, Fedora and kin."""


def allows(mode: int, owner: int, group: int, user: Account, bits: int) -> bool:
    """Say whether permission bits let a user do something: the first class that fits decides (path_resolution(7))."""
    if user.uid == 0:
        return True
    shift = 6 if user.uid == owner else 3 if group in user.gids else 0
    return (mode >> shift) & bits == bits


def barrier(host: Host, path: str, user: Account, bits: int) -> str:
    """Return the first file or directory on the way to `path` that keeps a user out; "": none does."""
    parts = [part for part in path.split("/") if part]
    for number in range(len(parts) + 1):
        here = "/" + "/".join(parts[:number])
        found = host.stat(here)
        if found is None:
            return ""
        needed = bits if number == len(parts) else SEARCH
        if not allows(stat.S_IMODE(found.mode), found.uid, found.gid, user, needed):
            return here
    return ""


def shown(host: Host, path: str) -> str:
    """Return a file's permissions as ls shows them: "srw-rw---- vswitchd:kvm"."""
    found = host.stat(path)
    if found is None:
        return "missing"
    return f"{stat.filemode(found.mode)} {host.user_name(found.uid)}:{host.group_name(found.gid)}"


def qemu_users(host: Host) -> list[Account]:
    """Return who runs QEMU: the users of those that run, else the accounts that libvirt uses."""
    running: dict[int, Account] = {}
    for pid in host.names("/proc"):
        if pid.isdigit() and (host.read(f"/proc/{pid}/comm") or "").startswith("qemu-"):
            account = account_of(host, pid)
            if account is not None:
                running[account.uid] = account
    known = [account for name in QEMU_ACCOUNTS if (account := host.account(name)) is not None]
    return list(running.values()) or known
