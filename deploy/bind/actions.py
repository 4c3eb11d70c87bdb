"""Bind and unbind: driver_override, unbind, drivers_probe, look; back to what was when the kernel refuses.

new_id is never written: it makes a driver take every device of a model, and for good.
"""

from __future__ import annotations

from . import inuse, iommu
from .devices import PCI, Device, group_members, is_vfio
from .host import IN_USE, KERNEL_REFUSED, NOT_USABLE, BindError, Host

DRIVERS = "/sys/bus/pci/drivers"
PROBE = "/sys/bus/pci/drivers_probe"
NOIOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


def check(host: Host, device: Device, driver: str, *, force: bool) -> None:
    """Raise BindError where a device should not be bound to `driver` ("" for the kernel's own)."""
    if driver and device.driver == driver:
        return
    if force:
        return
    reasons = inuse.obstacles(host, device)
    blind = is_vfio(driver) and not device.group and host.read(NOIOMMU) != "Y"
    said = [f"{device.label}: not done:"]
    if reasons:
        said += [*(f"- {reason}" for reason in reasons), "(--force does it all the same)"]
    if blind:
        covered = "there is an IOMMU, but it does not cover this device (no iommu_group in /sys)"
        said += [
            "VFIO needs an IOMMU and finds none:",
            *(f"  {line}" for line in iommu.advice(host) or [covered]),
        ]
    if reasons or blind:
        raise BindError("\n  ".join(said), IN_USE if reasons else NOT_USABLE)


def load(host: Host, driver: str) -> None:
    """Load a driver's module where it is not there. Raises BindError that says why it cannot be."""
    if not host.exists(f"{DRIVERS}/{driver}"):
        code, said = host.run("modprobe", driver)
        if not host.exists(f"{DRIVERS}/{driver}"):
            if code == 0:
                said = "modprobe is content but no PCI driver has that name"
            elif "not found" in said:
                said = _no_module(host, driver)
            raise BindError(f"driver {driver} is not loaded and cannot be: {said}")
    if is_vfio(driver) and not host.exists("/sys/module/vfio_iommu_type1"):
        host.run("modprobe", "vfio_iommu_type1")


def _no_module(host: Host, driver: str) -> str:
    release = host.read("/proc/sys/kernel/osrelease") or "RELEASE"
    if not host.exists(f"/lib/modules/{release}"):
        return (
            f"/lib/modules/{release} is missing: another kernel was installed since boot (reboot), or this is a container"
            " (modprobe on the host)"
        )
    text = f"/lib/modules/{release} has no such module"
    return (
        f"{text}: install linux-modules-extra for it, or a kernel with CONFIG_VFIO_PCI"
        if is_vfio(driver)
        else text
    )


def _take(host: Host, device: Device, driver: str) -> str:
    """Give a device to a driver, or to the one the kernel chooses; return which it has then. Raises BindError."""
    base = f"{PCI}/{device.address}"
    host.write(f"{base}/driver_override", driver or "\n")
    if host.link(f"{base}/driver"):
        host.write(f"{base}/driver/unbind", device.address)
    host.write(PROBE, device.address)
    return host.link(f"{base}/driver")


def bind(host: Host, device: Device, driver: str) -> list[str]:
    """Bind a device that check() let pass, with the driver loaded; return lines for the operator. Raises BindError."""
    if device.driver == driver:
        if device.override != driver:
            host.write(f"{PCI}/{device.address}/driver_override", driver)
        return [f"{device.label}: already bound to {driver}"]
    try:
        now = _take(host, device, driver)
    except BindError as error:
        _restore(host, device)
        raise BindError(f"{device.label}: {error}", error.code) from None
    if now != driver:
        _restore(host, device)
        raise BindError(
            f"{device.label}: {driver} did not take it and it is with {device.driver or 'no driver'} again;"
            f" dmesg | tail says why",
            KERNEL_REFUSED,
        )
    return [f"{device.label}: bound to {driver} (was {device.driver or 'without driver'})"]


def _restore(host: Host, device: Device) -> None:
    """Bring back what a device had, as far as the kernel lets us."""
    base = f"{PCI}/{device.address}"
    for path, text in ((f"{base}/driver_override", device.override or "\n"), (PROBE, device.address)):
        try:
            if path != PROBE or not host.link(f"{base}/driver"):
                host.write(path, text)
        except BindError:
            continue


def unbind(host: Host, device: Device) -> list[str]:
    """Give a device back to the kernel's own driver; return lines for the operator. Raises BindError."""
    if not device.override and device.driver and not is_vfio(device.driver):
        return [f"{device.label}: already with the kernel's driver {device.driver}"]
    try:
        now = _take(host, device, "")
    except BindError as error:
        raise BindError(f"{device.label}: {error}", error.code) from None
    if not now and (alias := host.read(f"{PCI}/{device.address}/modalias")):
        host.run("modprobe", alias)
        host.write(PROBE, device.address)
        now = host.link(f"{PCI}/{device.address}/driver")
    after = Device(host, device.address)
    if not now:
        return [
            f"{after.label}: free of {device.driver or 'its override'}; no driver of this kernel takes it"
        ]
    return [f"{after.label}: back with {now}"]


def usable(host: Host, device: Device) -> tuple[bool, list[str]]:
    """Say whether a device that is bound to VFIO can be opened now, by whom, and what is in the way."""
    if not device.group:
        return False, [f"{device.label}: has no IOMMU group: the switch refuses it"]
    lines = []
    others = [member for member in group_members(host, device) if not member.harmless]
    if others:
        lines.append(f"group {device.group} is not viable: these of it are with a driver of the kernel, too:")
        lines += [f"  {member}" for member in others]
        lines.append(f"  all must go: vs-bind bind {' '.join(member.address for member in others)}")
    node = host.node(device.node)
    if node is None:
        lines.append(f"{device.node} is not there: is /dev a devtmpfs? (a container: --device={device.node})")
    else:
        mode, owner, group = node
        lines.append(f"{device.node}: {mode} {owner}:{group}")
        if mode[4:6] != "rw" and mode[7:9] != "rw":
            lines.append(f"  for another user than {owner}, until the next boot: chown USER {device.node}")
            lines.append(
                "  for good: deploy/host/60-vswitchd-udev.rules into /etc/udev/rules.d, udevadm control --reload"
            )
    return not others and node is not None, lines
