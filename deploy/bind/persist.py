"""Bindings that outlive a reboot: through driverctl where it is installed, else one udev rule for each device.

driverctl keeps one file a device, which its own udev rule reads. The file is written here: driverctl itself takes the
device off its driver whenever it stores something (with --noprobe it even leaves it without one), also from a switch.

The rule sets driver_override when the kernel announces the device ("add": at boot udev has all of them announced
again). If a driver of the initramfs has the device already it is taken off; never one that VFIO has, since "add" can
come again under a running switch. Rules that udev runs come in order: the driver's module first, then the probe.
"""

from __future__ import annotations

from .devices import Device
from .host import Host

RULES = "/etc/udev/rules.d/61-vs-bind.rules"
HEADER = """\
# Written by vs-bind: devices that a driver other than the kernel's own gets at boot. vs-bind unbind --persist ADDR
# takes a line out. Addresses can change when cards are added: vs-bind status shows what is where.
"""


def rule(address: str, driver: str) -> str:
    """Return the udev rule for one device."""
    off = "test -e /sys%p/driver && echo %k >/sys%p/driver/unbind; echo %k >/sys/bus/pci/drivers_probe"
    return (
        f'ACTION=="add", SUBSYSTEM=="pci", KERNEL=="{address}", DRIVER!="{driver}", ATTR{{driver_override}}="{driver}",'
        f' RUN{{builtin}}+="kmod load {driver}", RUN+="/bin/sh -c \'{off}\'"\n'
    )


def _rules_without(host: Host, address: str) -> list[str]:
    lines = (host.read(RULES) or "").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("#") and f'KERNEL=="{address}"' not in line]
    return [line.rstrip("\n") + "\n" for line in kept if line.strip()]


def _stored(device: Device) -> str:
    """Return the file in which driverctl keeps what it binds at boot."""
    return f"/etc/driverctl.d/pci-{device.address}"


def keep(host: Host, device: Device, driver: str) -> str:
    """Make a binding persistent; return a line that says how. Raises BindError."""
    if host.which("driverctl"):
        host.save(_stored(device), f"{driver}\n")
        return f"{device.address}: driverctl binds it at the next boot ({_stored(device)})"
    lines = [*_rules_without(host, device.address), rule(device.address, driver)]
    host.save(RULES, HEADER + "".join(lines))
    host.run("udevadm", "control", "--reload")
    return f"{device.address}: {RULES} binds it at the next boot"


def forget(host: Host, device: Device) -> str:
    """Take a persistent binding back; return a line that says so. Raises BindError."""
    stored = False
    if host.exists(_stored(device)):
        host.save(_stored(device), "")
        stored = True
    if f'KERNEL=="{device.address}"' in (host.read(RULES) or ""):
        lines = _rules_without(host, device.address)
        host.save(RULES, HEADER + "".join(lines) if lines else "")
        host.run("udevadm", "control", "--reload")
        stored = True
    if not stored:
        return f"{device.address}: nothing was stored for it"
    return f"{device.address}: the kernel's own driver gets it at the next boot"
