"""PCI devices as /sys tells of them: addresses, drivers, interfaces, IOMMU groups."""

from __future__ import annotations

from .host import NO_DEVICE, USAGE, BindError, Host

PCI = "/sys/bus/pci/devices"
NET = "/sys/class/net"
NETWORK, BRIDGE = 0x02, 0x06
CLASSES = {
    0x01: "storage",
    0x02: "network",
    0x03: "display",
    0x04: "multimedia",
    0x06: "bridge",
    0x0C: "serial bus",
}
HARMLESS = frozenset({"", "pci-stub", "pcieport"})
"""Drivers that leave a group viable beside VFIO's own: they do no DMA (the kernel's driver_managed_dma)."""


def is_vfio(driver: str) -> bool:
    """Say whether a driver hands its device to a process: vfio-pci or a variant for one model."""
    return driver.replace("_", "-").startswith("vfio-") or driver.replace("_", "-").endswith("-vfio-pci")


class Device:
    """One PCI device, read once; `group` is "" without an IOMMU."""

    __slots__ = (
        "address", "driver", "group", "interfaces", "kind", "model", "numa", "override", "physfn", "vendor", "vfs",
    )  # fmt: skip

    def __init__(self, host: Host, address: str) -> None:
        base = f"{PCI}/{address}"
        self.address = address
        self.vendor = (host.read(f"{base}/vendor") or "0x0000")[2:]
        self.model = (host.read(f"{base}/device") or "0x0000")[2:]
        self.kind = int(host.read(f"{base}/class") or "0", 16) >> 8
        """Class and subclass: 0x0200 is Ethernet."""
        self.driver = host.link(f"{base}/driver")
        override = host.read(f"{base}/driver_override") or ""
        self.override = "" if override == "(null)" else override
        self.group = host.link(f"{base}/iommu_group")
        self.numa = int(host.read(f"{base}/numa_node") or "-1")
        self.physfn = host.link(f"{base}/physfn")
        self.vfs: list[str] = []
        self.interfaces: list[str] = host.names(f"{base}/net")
        for name in host.names(base):
            if name.startswith("virtfn"):
                self.vfs.append(host.link(f"{base}/{name}"))
            elif name.startswith("virtio") and name[6:].isdigit():
                self.interfaces += host.names(f"{base}/{name}/net")

    @property
    def node(self) -> str:
        """The device file of its group."""
        return f"/dev/vfio/{self.group}"

    @property
    def label(self) -> str:
        """The address, with the interface where it has one."""
        return f"{self.address} ({', '.join(self.interfaces)})" if self.interfaces else self.address


class Member:
    """One device of an IOMMU group; `harmless`: the group can be used with it as it is."""

    __slots__ = ("address", "driver", "harmless", "interfaces", "kind")

    def __init__(self, host: Host, address: str) -> None:
        self.address = address
        if host.exists(f"{PCI}/{address}"):
            device = Device(host, address)
            self.driver, self.kind, self.interfaces = device.driver, device.kind, device.interfaces
        else:  # not a PCI device: another bus can stand behind the same IOMMU
            self.driver, self.kind, self.interfaces = "", 0, []
        self.harmless = self.driver in HARMLESS or is_vfio(self.driver)

    def __str__(self) -> str:
        words = [self.driver or "no driver", *self.interfaces]
        if self.kind >> 8 != NETWORK:
            words.append(CLASSES.get(self.kind >> 8, f"class {self.kind:04x}"))
        return f"{self.address} ({', '.join(words)})"


def group_members(host: Host, device: Device) -> list[Member]:
    """Return the other devices of a device's IOMMU group."""
    if not device.group:
        return []
    others = host.names(f"{PCI}/{device.address}/iommu_group/devices")
    return [Member(host, address) for address in others if address != device.address]


def parse_address(word: str) -> str:
    """Return "0000:01:00.0" for that or for "01:00.0"; "" for anything else."""
    parts = word.lower().split(":")
    if len(parts) == 2:
        parts.insert(0, "0000")
    if len(parts) != 3:
        return ""
    slot, _, function = parts[2].partition(".")
    sizes = 4 <= len(parts[0]) <= 8 and len(parts[1]) == 2 and len(slot) == 2 and len(function) == 1
    digits = set("".join((parts[0], parts[1], slot, function))) <= set("0123456789abcdef")
    if not sizes or not digits or int(slot, 16) > 0x1F or int(function, 16) > 7:
        return ""
    return f"{parts[0]}:{parts[1]}:{slot}.{function}"


def find(host: Host, word: str) -> Device:
    """Return the device that an address or an interface's name means. Raises BindError."""
    address = parse_address(word)
    if address:
        if not host.exists(f"{PCI}/{address}"):
            raise BindError(f"{word}: there is no such PCI device; vs-bind status lists them", NO_DEVICE)
        return Device(host, address)
    if ":" in word or "/" in word or not word:
        raise BindError(f'"{word}" is not an address (0000:01:00.0 or 01:00.0) nor an interface', USAGE)
    if not host.exists(f"{NET}/{word}"):
        raise BindError(
            f"{word}: there is no such interface in this network namespace (one that is bound to VFIO has none:"
            " use its address, from vs-bind status)",
            NO_DEVICE,
        )
    if not host.exists(f"{NET}/{word}/device"):
        raise BindError(f"{word}: is a virtual interface, there is no device behind it", NO_DEVICE)
    parts = host.real(f"{NET}/{word}/device").split("/")
    if parts[-1].startswith(
        "virtio"
    ):  # the virtio bus stands between; a USB controller is not taken for its NIC
        parts.pop()
    if parts[-1] and parse_address(parts[-1]) == parts[-1]:
        return Device(host, parts[-1])
    raise BindError(f"{word}: is not on the PCI bus (USB?); VFIO cannot take it", NO_DEVICE)


def listed(host: Host) -> list[Device]:
    """Return what `status` shows: network devices, and whatever is bound to VFIO."""
    found = []
    for address in host.names(PCI):
        kind = int(host.read(f"{PCI}/{address}/class") or "0", 16) >> 16
        if kind == NETWORK or is_vfio(host.link(f"{PCI}/{address}/driver")):
            found.append(Device(host, address))
    return found


def model_name(names: str, device: Device) -> str:
    """Return what pci.ids calls a device, or ""; `names` is that file's text."""
    start = names.find(f"\n{device.vendor}  ")
    if start < 0:
        return ""
    end = start + 1
    while True:  # a vendor's lines begin with a tab, those of the next one do not
        end = names.find("\n", end)
        if end < 0 or names[end + 1 : end + 2] not in {"\t", "#"}:
            break
        end += 1
    line = names.find(f"\n\t{device.model}  ", start, end if end > 0 else len(names))
    return "" if line < 0 else names[line + 8 : names.find("\n", line + 8)]
