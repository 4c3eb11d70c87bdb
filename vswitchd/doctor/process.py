"""The process that is looked at: its user, capabilities, CPUs and limits; does it have what the ports need?"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from vswitchd.doctor.case import KERNEL_TYPES, TAP_TYPES, Case
from vswitchd.doctor.finding import Finding, needed, ok, problem
from vswitchd.doctor.host import Account, Host

SUBJECT = "process"
TUN = "/dev/net/tun"
SERVICE = "deploy/systemd/vswitchd.service gives them; or run vswitchd as root"


class Capability(IntEnum):
    """Bits of CapEff (capabilities(7)) that the switch can use."""

    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14


@dataclass(frozen=True, slots=True)
class Me:
    """What /proc/self tells of the process. `cpus`: of its first thread; `memlock`: bytes, None: no limit."""

    pid: int
    user: Account
    capabilities: frozenset[Capability]
    cpus: tuple[int, ...]
    memlock: int | None


def cpu_list(text: str) -> tuple[int, ...]:
    """Return the CPUs of a list as the kernel writes it ("0-3,8"); () of anything else."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return ()
        found += range(int(first), int(last if dash else first) + 1)
    return tuple(found)


def account_of(host: Host, pid: str) -> Account | None:
    """Return the user that a process acts as (proc(5), status), or None when it is gone."""
    facts = status(host, pid)
    uids, gids = facts.get("Uid", "").split(), facts.get("Gid", "").split()
    if len(uids) < 2 or len(gids) < 2:
        return None
    groups = frozenset(map(int, (gids[1], *facts.get("Groups", "").split())))
    return Account(host.user_name(int(uids[1])), int(uids[1]), groups)


def status(host: Host, pid: str) -> dict[str, str]:
    """Return /proc/PID/status by key."""
    lines = (host.read(f"/proc/{pid}/status") or "").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def me(host: Host) -> Me:
    """Return the facts of this process."""
    facts = status(host, "self")
    bits = int(facts.get("CapEff", "0"), 16)
    memlock: int | None = None
    for line in (host.read("/proc/self/limits") or "").splitlines():
        if line.startswith("Max locked memory"):
            soft = line.removeprefix("Max locked memory").split()[0]
            memlock = int(soft) if soft.isdigit() else None
    return Me(
        pid=int(facts.get("Pid", "0")),
        user=account_of(host, "self") or Account("?", -1, frozenset()),
        capabilities=frozenset(c for c in Capability if bits >> c & 1),
        cpus=cpu_list(facts.get("Cpus_allowed_list", "")),
        memlock=memlock,
    )


def check(host: Host, me: Me, case: Case) -> Iterator[Finding]:
    """Look at capabilities and /dev/net/tun."""
    kernel = case.names(KERNEL_TYPES)
    missing = [c for c in (Capability.NET_ADMIN, Capability.NET_RAW) if c not in me.capabilities]
    if missing:
        names = " and ".join(f"CAP_{c.name}" for c in missing)
        text = f"user {me.user.name} has no {names}: kernel ports cannot be opened"
        if kernel:
            text += f" ({', '.join(kernel)})"
        yield Finding(
            SUBJECT,
            needed(bool(kernel)),
            text,
            (f"AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW: {SERVICE}",),
        )
    else:
        yield ok(SUBJECT, f"user {me.user.name} has CAP_NET_ADMIN and CAP_NET_RAW")
    yield _tun(host, bool(case.names(TAP_TYPES)))


def _tun(host: Host, wanted: bool) -> Finding:
    error = host.try_open(TUN)
    if not error:
        return ok(SUBJECT, f"{TUN} can be opened")
    rule = "install -m 644 deploy/host/60-vswitchd-udev.rules /etc/udev/rules.d/ && udevadm control --reload"
    container = f"in a container: --device={TUN}"
    texts = {
        errno.ENOENT: (f"{TUN} is missing", "modprobe tun", container),
        errno.ENODEV: (f"{TUN} has no driver", "modprobe tun"),
        errno.EACCES: (f"{TUN} is not open to this user", f"{rule} && udevadm trigger {TUN}"),
        errno.EPERM: (
            f"{TUN} is barred by the device cgroup",
            f"DeviceAllow={TUN} rw in the service; {container}",
        ),
    }
    text, *mend = texts.get(
        error, (f"{TUN} cannot be opened ({errno.errorcode.get(error, error)})", "modprobe tun")
    )
    made = problem(SUBJECT, f"{text}: ports of type tap and internal cannot be made", *mend)
    return made if wanted else Finding(SUBJECT, needed(wanted=False), made.text, made.mend)
