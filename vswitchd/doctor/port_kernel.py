"""A port on a kernel interface: it is there, up, with a cable, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

from vswitchd.doctor.case import KERNEL_TYPES, Case, PortCase
from vswitchd.doctor.finding import Finding, note, ok, problem
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me

SUBJECT = "port"
TYPES = KERNEL_TYPES
NET = "/sys/class/net"
_UP, _LOOPBACK, _RUNNING = 0x1, 0x8, 0x40  # IFF_*, netdevice(7)


def check(host: Host, _me: Me, case: Case, port: PortCase) -> Iterator[Finding]:
    """Look at one port of type system, tap or internal."""
    name = port.name
    found = host.interface(name)
    if found is None:
        yield from _missing(case, port)
        return
    index, flags = found
    if flags & _LOOPBACK:
        yield problem(
            SUBJECT, f"{name} is the loopback; it cannot be a port", f"vsctl del-port {name}", port=name
        )
        return
    if port.type == "system":
        yield from _others(host, name, index)
    if not flags & _UP:
        yield _down(port)
    elif port.type == "system" and not flags & _RUNNING:
        yield note(
            SUBJECT, f"{name} is up and has no carrier", f"cable, switch and peer: ethtool {name}", port=name
        )
    else:
        yield ok(SUBJECT, f"{name} is there and up", port=name)


def _missing(case: Case, port: PortCase) -> Iterator[Finding]:
    if port.error:
        return  # which says so
    if port.type == "system":
        text = f"interface {port.name} does not exist in this network namespace"
        yield problem(
            SUBJECT, text, "ip link; of a NIC that VFIO has: deploy/vs-bind unbind ADDRESS", port=port.name
        )
    elif case.running:
        yield problem(SUBJECT, f"somebody deleted interface {port.name}", port.again, port=port.name)


def _down(port: PortCase) -> Finding:
    text, mend = f"{port.name} is down", f"ip link set {port.name} up"
    if port.type == "system":
        return problem(SUBJECT, f"{text}: no packet comes or goes", mend, port=port.name)
    return note(SUBJECT, f"{text}; this machine does not use it", mend, port=port.name)


def _others(host: Host, name: str, index: int) -> Iterator[Finding]:
    """Somebody else that takes or answers the same packets."""
    master = host.link(f"{NET}/{name}/master")
    if master and host.read(f"{NET}/{name}/ifindex") == str(index):
        text = f"{name} is a port of the kernel's {master} as well: packets go both ways, and may loop"
        yield problem(SUBJECT, text, f"ip link set {name} nomaster", port=name)
    lines = [line.split() for line in (host.read("/proc/net/route") or "").splitlines()[1:]]
    if any(words and words[0] == name for words in lines):
        text = f"this machine routes over {name}: its kernel takes the packets too; the bridge's own interface is the place"
        mend = f"ip addr flush dev {name}; ip addr add ADDRESS dev BRIDGE"
        yield note(SUBJECT, text, mend, port=name)
