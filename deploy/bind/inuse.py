"""What speaks against taking a device from its driver: traffic, bridges, VFs, a process that holds it."""

from __future__ import annotations

from .devices import BRIDGE, CLASSES, NET, NETWORK, PCI, Device, is_vfio
from .host import Host


def _stack(host: Host, interface: str, seen: list[str]) -> list[str]:
    """Return an interface and those that stand on it (VLANs, bonds, bridges)."""
    if interface not in seen:
        seen.append(interface)
        master = host.link(f"{NET}/{interface}/master")
        if master:
            _stack(host, master, seen)
        for name in host.names(f"{NET}/{interface}"):
            if name.startswith("upper_"):
                _stack(host, name.removeprefix("upper_"), seen)
    return seen


def _default_routes(host: Host) -> set[str]:
    """Return the interfaces that default routes leave by (proc(5): /proc/net/route, ipv6_route)."""
    found = set()
    for line in (host.read("/proc/net/route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[1] == "00000000" and words[7] == "00000000":
            found.add(words[0])
    for line in (host.read("/proc/net/ipv6_route") or "").splitlines():
        words = line.split()
        if len(words) > 9 and int(words[0], 16) == 0 and words[1] == "00" and not int(words[8], 16) & 0x200:
            found.add(words[9])  # 0x200 is RTF_REJECT: a route to nowhere
    return found


def _addresses(host: Host, interface: str) -> list[str]:
    """Return an interface's IPv4 address and its global IPv6 addresses."""
    found = [address] if (address := host.ipv4(interface)) else []
    for line in (host.read("/proc/net/if_inet6") or "").splitlines():
        words = line.split()
        if len(words) > 5 and words[5] == interface and words[3] == "00":
            found.append(":".join(words[0][i : i + 4].lstrip("0") or "0" for i in range(0, 32, 4)))
    return found


def traffic(host: Host, device: Device) -> list[str]:
    """Return why a device's interfaces are in use, one line each."""
    reasons = []
    routes = _default_routes(host) if device.interfaces else set()
    for interface in device.interfaces:
        for name in _stack(host, interface, []):
            who = name if name == interface else f"{name}, which stands on {interface},"
            if name in routes:
                reasons.append(f"{who} has the default route: this machine would be cut off")
            up = int(host.read(f"{NET}/{name}/flags") or "0", 16) & 1
            if up and (found := _addresses(host, name)):
                reasons.append(
                    f"{who} is up with {', '.join(found)}; ip addr flush dev {name}; ip link set {name} down"
                )
        master = host.link(f"{NET}/{interface}/master")
        if master:
            reasons.append(f"{interface} is a port of {master}; ip link set {interface} nomaster")
    return reasons


def obstacles(host: Host, device: Device) -> list[str]:
    """Return why a device should not be taken from its driver, one line each; nothing: take it."""
    kind = device.kind >> 8
    if kind == BRIDGE:
        return [
            "is a bridge: it stays with its driver, a group is usable with it; bind the devices behind it"
        ]
    reasons = []
    if kind != NETWORK:
        reasons.append(
            f"is no network device but {CLASSES.get(kind, 'something else')} (class {device.kind:04x})"
        )
    reasons += traffic(host, device)
    if device.vfs:
        off = f"echo 0 >{PCI}/{device.address}/sriov_numvfs"
        reasons.append(
            f"has {len(device.vfs)} VFs ({', '.join(device.vfs)}), which end with it; bind one of those, or {off}"
        )
    if is_vfio(device.driver) and device.group:
        reasons += [
            f"{who} has {device.node} open and unbinding would wait for it; vsctl del-port, or stop it"
            for who in host.users(device.node)
        ]
    return reasons


def other_namespace(device: Device) -> bool:
    """Say whether a network device should have an interface and shows none: it may be a container's."""
    bound = (
        device.driver
        and not is_vfio(device.driver)
        and device.driver not in {"pci-stub", "uio_pci_generic", "igb_uio"}
    )
    return bool(device.kind >> 8 == NETWORK and bound and not device.interfaces)
