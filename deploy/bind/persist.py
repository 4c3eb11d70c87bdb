"""Bindings that outlive a reboot: through driverctl where it is installed, else one udev rule for each device.

The rule sets driver_override when the kernel announces the device ("add": at boot udev has all of them announced
again). If a driver of the initramfs has the device already it is taken off; never one that VFIO has, since "add" can
come again under a running switch. Rules that udev runs come in order: the driver's module first, then the probe.
"""

from __future__ import annotations

from .devices import Device
from .host import BindError, Host

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


def _driverctl(host: Host, *words: str) -> bool:
    """Let driverctl store it (nothing is bound again: --noprobe); say whether it is there. Raises BindError."""
    if not host.which("driverctl"):
        return False
    code, said = host.run("driverctl", "--noprobe", *words)
    if code:
        raise BindError(f"driverctl {' '.join(words)} failed: {said}")
    return True


def keep(host: Host, device: Device, driver: str) -> str:
    """Make a binding persistent; return a line that says how. Raises BindError."""
    if _driverctl(host, "set-override", device.address, driver):
        return f"{device.address}: driverctl has stored it for the next boot"
    lines = [*_rules_without(host, device.address), rule(device.address, driver)]
    host.save(RULES, HEADER + "".join(lines))
    host.run("udevadm", "control", "--reload")
    return f"{device.address}: {RULES} binds it at the next boot"


def forget(host: Host, device: Device) -> str:
    """Take a persistent binding back; return a line that says so. Raises BindError."""
    lines = _rules_without(host, device.address)
    old = host.read(RULES) or ""
    if f'KERNEL=="{device.address}"' in old:
        host.save(RULES, HEADER + "".join(lines) if lines else "")
        host.run("udevadm", "control", "--reload")
    elif not host.exists(f"/etc/driverctl.d/pci-{device.address}"):
        return f"{device.address}: nothing was stored for it"
    else:
        _driverctl(host, "unset-override", device.address)
    return f"{device.address}: the kernel's own driver gets it at the next boot"
