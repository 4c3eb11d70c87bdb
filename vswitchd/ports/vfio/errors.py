"""What can be wrong with a VFIO device, each as one line that says what is wrong and what mends it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from vswitchd.ports.base import PortError

if TYPE_CHECKING:
    from vswitchd.ports.vfio.kernel import Holder, Memlock


class Cause(Enum):
    """Why a device cannot be had. One member, one function below."""

    ADDRESS = auto()
    ABSENT = auto()
    NO_IOMMU = auto()
    UNBOUND = auto()
    NO_MODULE = auto()
    PERMISSION = auto()
    BUSY = auto()
    NOT_VIABLE = auto()
    TOO_OLD = auto()
    MEMLOCK = auto()
    MEMORY = auto()
    IOVA = auto()
    MAPPINGS = auto()
    BAR = auto()
    CONFIG = auto()
    INTERRUPTS = auto()
    REMOVED = auto()
    KERNEL = auto()


class VfioError(PortError):
    """A device cannot be opened or used. `cause` says why to code, the text to the operator."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


def _mb(size: int) -> str:
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} kB"


def bad_address(text: str) -> VfioError:
    """Not a PCI address."""
    shown = "".join(c if c.isprintable() else "?" for c in (text if len(text) <= 40 else text[:40] + "..."))
    return VfioError(
        Cause.ADDRESS, f"'{shown}' is no PCI address; write it like 0000:01:00.0 (lspci -D shows all)"
    )


def absent(address: str) -> VfioError:
    """No such device in sysfs."""
    return VfioError(
        Cause.ABSENT, f"no PCI device {address} on this machine; see what there is with deploy/vs-bind status"
    )


def no_iommu(address: str, vendor: str, virtual: bool) -> VfioError:
    """The device is in no IOMMU group. `vendor` as /proc/cpuinfo says; `virtual`: this is a virtual machine."""
    option = {"GenuineIntel": "intel_iommu=on", "AuthenticAMD": "amd_iommu=on"}.get(
        vendor, "intel_iommu=on or amd_iommu=on"
    )
    where = (
        "give the virtual machine an IOMMU (QEMU: -device intel-iommu,intremap=on,caching-mode=on) and boot its kernel with"
        if virtual
        else "switch VT-d or AMD-Vi on in the firmware and boot with"
    )
    return VfioError(Cause.NO_IOMMU, f"{address} is behind no IOMMU: {where} {option}")


def no_iommu_mode(address: str) -> VfioError:
    """The group is one of vfio's no-IOMMU mode, in which a device may write anywhere."""
    return VfioError(
        Cause.NO_IOMMU,
        f"{address} is bound in vfio's no-IOMMU mode, in which it could write to all memory: that is not supported; "
        "boot with intel_iommu=on or amd_iommu=on and unset enable_unsafe_noiommu_mode",
    )


def unbound(address: str, driver: str | None) -> VfioError:
    """The device belongs to another driver, or to none."""
    held = f"driven by {driver}" if driver else "bound to no driver"
    return VfioError(
        Cause.UNBOUND, f"{address} is {held}, not by vfio-pci: deploy/vs-bind bind vfio-pci {address}"
    )


def no_module(path: str) -> VfioError:
    """No /dev/vfio/vfio, or no file of the group."""
    return VfioError(
        Cause.NO_MODULE, f"there is no {path}: modprobe vfio-pci (in a container, also give it /dev/vfio)"
    )


def no_type1() -> VfioError:
    """VFIO without the driver of the IOMMU: modprobe loads that along, busybox's does not."""
    return VfioError(
        Cause.NO_MODULE, "the module that lets VFIO use the IOMMU is not loaded: modprobe vfio_iommu_type1"
    )


def no_permission(path: str, user: int) -> VfioError:
    """EACCES or EPERM at a file of /dev/vfio."""
    return VfioError(
        Cause.PERMISSION,
        f"no permission on {path}: chown {user} {path}, or lastingly by the udev rule in deploy/host",
    )


def busy(address: str, path: str, holders: Sequence[Holder], own_pid: int) -> VfioError:
    """EBUSY at the group: another process has it."""
    others = [holder for holder in holders if holder.pid != own_pid]
    if others:
        names = ", ".join(f"{holder.name} (process {holder.pid})" for holder in others)
        return VfioError(Cause.BUSY, f"{address} is in use by {names}: stop it, then add the port again")
    who = "this switch itself" if holders else "another process"
    return VfioError(Cause.BUSY, f"{address} is in use by {who}: fuser -v {path} shows who; stop it first")


def needs_token(address: str, physical: str | None) -> VfioError:
    """EACCES at the device: VFIO wants a token that the drivers of a physical function and of its virtual ones share."""
    if physical is None:
        return VfioError(
            Cause.PERMISSION,
            f"virtual functions of {address} are in use: stop their users, then add the port again",
        )
    return VfioError(
        Cause.PERMISSION,
        f"{address} is a virtual function of {physical}, which is driven by vfio-pci itself: give that back to its "
        f"kernel driver with deploy/vs-bind unbind {physical}",
    )


def taken(address: str) -> VfioError:
    """Another port of this switch has the device."""
    return VfioError(
        Cause.BUSY, f"{address} is already used by another port of this switch: remove that one first"
    )


def no_remapping(address: str) -> VfioError:
    """EPERM from the IOMMU: the device could forge interrupts."""
    return VfioError(
        Cause.NO_IOMMU,
        f"{address} has no interrupt remapping, without which it could forge interrupts: switch it on in the firmware "
        "(QEMU: intel-iommu,intremap=on), or, if you trust the device, "
        "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    )


def not_viable(address: str, group: str, culprits: Sequence[tuple[str, str]]) -> VfioError:
    """Other devices of the group are driven by the kernel. `culprits`: (address, driver)."""
    if not culprits:
        return VfioError(
            Cause.NOT_VIABLE,
            f"IOMMU group {group} of {address} is not viable: bind all its devices to vfio-pci "
            f"(ls /sys/kernel/iommu_groups/{group}/devices)",
        )
    names = ", ".join(f"{other} ({driver})" for other, driver in culprits)
    bind = " ".join(other for other, _ in culprits)
    return VfioError(
        Cause.NOT_VIABLE,
        f"IOMMU group {group} of {address} also holds {names}, still driven by the kernel: "
        f"deploy/vs-bind bind vfio-pci {bind}, or move the card to another slot",
    )


def too_old(what: str) -> VfioError:
    """VFIO of this kernel lacks something."""
    return VfioError(Cause.TOO_OLD, f"this kernel's VFIO has no {what}: run Linux 5.10 or later")


def memlock(needed: int, limit: Memlock) -> VfioError:
    """RLIMIT_MEMLOCK is too small for `needed` more bytes."""
    return VfioError(
        Cause.MEMLOCK,
        f"cannot lock {_mb(needed)} for DMA: the limit is {_mb(limit.limit)} and {_mb(limit.used)} of it are used; raise it "
        "with ulimit -l unlimited or LimitMEMLOCK=infinity in the service",
    )


def no_lock(needed: int) -> VfioError:
    """ENOMEM from the mapping although the limit seemed to do."""
    return VfioError(
        Cause.MEMLOCK,
        f"the kernel did not lock {_mb(needed)} for DMA: raise ulimit -l (LimitMEMLOCK=infinity in the service) "
        "or free memory",
    )


def no_memory(needed: int) -> VfioError:
    """No memory or no addresses for the DMA window."""
    return VfioError(
        Cause.MEMORY,
        f"no {_mb(needed)} of memory for packets of VFIO ports: free some, or give fewer descriptors (options:n_rxq_desc)",
    )


def no_iova(needed: int, allowed: Sequence[tuple[int, int]]) -> VfioError:
    """No allowed range of IOVAs is large enough."""
    shown = ", ".join(f"{first:#x}-{last:#x}" for first, last in allowed) or "none"
    return VfioError(
        Cause.IOVA,
        f"IOVA space used up: {_mb(needed)} in one piece are needed, the IOMMU allows {shown}; "
        "a wider IOMMU (QEMU: aw-bits=48) has more",
    )


def window_full(needed: int, size: int) -> VfioError:
    """The DMA window itself is full."""
    return VfioError(
        Cause.IOVA,
        f"IOVA space used up: no {_mb(needed)} in one piece are left of the {_mb(size)} for DMA; use fewer VFIO ports or "
        "queues",
    )


def out_of_reach(address: str, first: int, last: int, allowed: Sequence[tuple[int, int]]) -> VfioError:
    """The window in use lies where this device's IOMMU does not reach."""
    shown = ", ".join(f"{low:#x}-{high:#x}" for low, high in allowed) or "none"
    return VfioError(
        Cause.IOVA,
        f"{address} cannot reach the DMA memory that other ports use (IOVA {first:#x}-{last:#x}; it reaches {shown}): "
        "add this port before the others",
    )


def no_mappings(limit: int) -> VfioError:
    """ENOSPC: the container has as many mappings as it may."""
    return VfioError(
        Cause.MAPPINGS,
        f"IOVA space used up: the kernel allows no more DMA mappings ({limit} were left); raise "
        "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
    )


def bar_too_small(address: str, index: int, size: int, needed: int) -> VfioError:
    """A driver needs more of a BAR than there is."""
    what = f"has {size} bytes" if size else "is missing"
    return VfioError(
        Cause.BAR,
        f"BAR {index} of {address} {what}, the driver needs {needed}: wrong device, or the firmware gave it no "
        "addresses (dmesg | grep BAR)",
    )


def bar_unmappable(address: str, index: int) -> VfioError:
    """A BAR that cannot be mapped: I/O ports, or smaller than a page and not alone in it."""
    return VfioError(
        Cause.BAR,
        f"BAR {index} of {address} cannot be mapped (I/O ports, or it shares its page): "
        "boot with pci=resource_alignment=12@" + address + " or use another slot",
    )


def bad_config(address: str, what: str) -> VfioError:
    """Config space that no right device has."""
    return VfioError(Cause.CONFIG, f"{address} has a config space that is not right: {what}; do not use it")


def not_modern(address: str, structure: str) -> VfioError:
    """A virtio device without the registers of VIRTIO 1."""
    return VfioError(
        Cause.CONFIG,
        f"{address} shows no usable virtio {structure} structure: only modern devices are driven (QEMU: disable-legacy=on)",
    )


def few_vectors(address: str, needed: int, there: int) -> VfioError:
    """Fewer interrupts than asked for."""
    return VfioError(
        Cause.INTERRUPTS,
        f"{address} has {there} interrupt vectors, {needed} are needed: use fewer receive queues (options:n_rxq)",
    )


def removed(address: str) -> VfioError:
    """The device is gone while we had it."""
    return VfioError(
        Cause.REMOVED,
        f"{address} is gone (unplugged, or its link is dead); plug it in and add the port again",
    )


def refused(what: str, error: OSError) -> VfioError:
    """Anything else that the kernel said no to."""
    name = errno.errorcode.get(error.errno or 0, "?")
    reason = os.strerror(error.errno or 0)
    return VfioError(Cause.KERNEL, f"{what}: {reason} ({name}); dmesg | grep -i -e vfio -e iommu may say why")
