"""A VFIO port: its device is there, bound, alone or with friends in its group, open to this user, free, and near."""

from __future__ import annotations

from collections.abc import Iterator

from vswitchd.doctor import access
from vswitchd.doctor.case import VFIO_TYPES, Case, PortCase
from vswitchd.doctor.finding import Finding, note, ok, problem
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me, cpu_list
from vswitchd.ports.vfio.errors import VfioError
from vswitchd.ports.vfio.pci import normalise

SUBJECT = "port"
TYPES = VFIO_TYPES
PCI = "/sys/bus/pci/devices"
HARMLESS = frozenset({"", "pci-stub", "pcieport"})
"""Drivers that do no DMA, beside VFIO's own: they may stay in a group."""
UDEV = "install -m 644 deploy/host/60-vswitchd-udev.rules /etc/udev/rules.d/ && udevadm control --reload"


def is_vfio(driver: str) -> bool:
    """Say whether a driver hands its device to a process: vfio-pci, or a variant of it for one model."""
    return driver.replace("_", "-").endswith("vfio-pci")


def address_of(port: PortCase) -> str:
    """Return the PCI address of a port as sysfs writes it; "" when there is none. Raises VfioError for nonsense."""
    words = port.options.get("pci") or port.options.get("dpdk-devargs") or ""
    return normalise(words.partition(",")[0].removeprefix("pci:")) if words else ""


def check(host: Host, me: Me, case: Case, port: PortCase) -> Iterator[Finding]:
    """Look at one port of type vfio or dpdk."""
    try:
        address = address_of(port)
    except VfioError as error:
        yield problem(
            SUBJECT, str(error), f"vsctl set Interface {port.name} options:pci=0000:01:00.0", port=port.name
        )
        return
    if not address:
        mend = f"deploy/vs-bind status; vsctl set Interface {port.name} options:pci=0000:01:00.0"
        yield problem(SUBJECT, "options:pci does not say which device", mend, port=port.name)
        return
    if not host.exists(f"{PCI}/{address}"):
        yield problem(SUBJECT, f"there is no PCI device {address}", "deploy/vs-bind status", port=port.name)
        return
    driver = host.link(f"{PCI}/{address}/driver")
    if not is_vfio(driver):
        text = f"{address} is bound to {driver or 'no driver'}, not to vfio-pci"
        yield problem(SUBJECT, text, f"deploy/vs-bind bind --persist {address}", port=port.name)
        return
    if host.read(f"{PCI}/{address}/driver_override") == "(null)":
        text = f"{address} was bound by new_id: other devices of its model follow it"
        yield note(SUBJECT, text, f"deploy/vs-bind bind --persist {address}", port=port.name)
    group = host.link(f"{PCI}/{address}/iommu_group")
    if not group:
        yield problem(SUBJECT, f"{address} is in no IOMMU group", "see subject iommu", port=port.name)
        return
    bad = list(_group(host, address, group, port)) + list(_node(host, me, case, group, port))
    yield from bad
    if not bad:
        yield ok(SUBJECT, f"{address}: {driver}, group {group}", port=port.name)
    if port.link_up is False and not port.error:
        yield note(
            SUBJECT, f"{address} has no link", "look at the cable and at the other end of it", port=port.name
        )
    yield from _distance(host, address, case, port)


def _group(host: Host, address: str, group: str, port: PortCase) -> Iterator[Finding]:
    others = []
    for member in host.names(f"{PCI}/{address}/iommu_group/devices"):
        driver = host.link(f"{PCI}/{member}/driver")
        if member != address and driver not in HARMLESS and not is_vfio(driver):
            others.append((member, driver))
    if others:
        listed = ", ".join(f"{member} ({driver})" for member, driver in others)
        text = f"group {group} is not viable: it is shared with {listed}"
        words = " ".join(member for member, _ in others)
        mend = (f"deploy/vs-bind bind --persist {words}", "or put the card into another slot (one with ACS)")
        yield problem(SUBJECT, text, *mend, port=port.name)


def _node(host: Host, me: Me, case: Case, group: str, port: PortCase) -> Iterator[Finding]:
    node = f"/dev/vfio/{group}"
    if not host.exists(node):
        yield problem(
            SUBJECT,
            f"{node} is missing",
            f"in a container: --device={node}; else: mount -t devtmpfs dev /dev",
            port=port.name,
        )
        return
    if not host.may_use(node):
        text = f"user {me.user.name} may not open {node} ({access.shown(host, node)})"
        yield problem(SUBJECT, text, f"chown {me.user.name} {node}", f"for good: {UDEV}", port=port.name)
    others = [f"{name} (pid {pid})" for pid, name in host.holders(node) if pid != me.pid]
    if others and (not case.running or port.error):
        text = f"{node} is held by {', '.join(others)}; a group is one process's"
        yield problem(SUBJECT, text, "end that program, or take the device from it", port=port.name)


def _distance(host: Host, address: str, case: Case, port: PortCase) -> Iterator[Finding]:
    node = host.read(f"{PCI}/{address}/numa_node") or "-1"
    near = cpu_list(host.read(f"{PCI}/{address}/local_cpulist") or "")
    if int(node) >= 0 and near and case.polling and not set(near) & set(case.polling):
        mask = sum(1 << cpu for cpu in (*case.polling, near[-1]))
        text = f"{address} is on NUMA node {node} and no core of that node polls"
        yield note(
            SUBJECT, text, f"vsctl set Open_vSwitch . other_config:pmd-cpu-mask=0x{mask:x}", port=port.name
        )
