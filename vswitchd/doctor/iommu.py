"""Is there an IOMMU? Without one no process may let a device write memory.

deploy/vs-bind says the same at more length; it must run where this package is not installed, hence twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from vswitchd.doctor import boot
from vswitchd.doctor.case import VFIO_TYPES, Case
from vswitchd.doctor.finding import Finding, needed, ok
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me

SUBJECT = "iommu"
TABLES = {"DMAR", "IVRS", "IORT", "VIOT"}
"""ACPI tables that tell of one: Intel's, AMD's, Arm's, virtio's."""
VM = (
    "on the host, QEMU: -device intel-iommu,intremap=on,caching-mode=on (before the NICs), virtio NICs: iommu_platform=on",
    "on the host, libvirt: <iommu model='intel'><driver intremap='on' caching_mode='on'/></iommu>",
)


def advice(host: Host) -> tuple[str, tuple[str, ...]]:
    """Return why there is no IOMMU, and what to do."""
    cpu = host.read("/proc/cpuinfo") or ""
    cmdline = (host.read("/proc/cmdline") or "").split()
    off = [
        word for word in cmdline if word in {"intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu=soft"}
    ]
    if off:
        return f"{' '.join(off)} is on the kernel's command line", (
            f"take it away; {boot.words(host, 'iommu=pt')}",
        )
    if not TABLES & set(host.names("/sys/firmware/acpi/tables")):
        if "hypervisor" in cpu:
            return "this virtual machine was given none", VM
        return "the firmware shows none", ("firmware setup: switch on VT-d (Intel) or AMD-Vi/IOMMU (AMD)",)
    if "AuthenticAMD" in cpu:
        return "the kernel does not use it", (boot.words(host, "amd_iommu=on iommu=pt"),)
    if "intel_iommu=on" in cmdline:
        return "intel_iommu=on is there, and still none came up", ("dmesg | grep -i -e dmar -e iommu",)
    words = "intel_iommu=on" if "hypervisor" in cpu else "intel_iommu=on iommu=pt"
    return "the kernel does not use it", (boot.words(host, words),)


def check(host: Host, _me: Me, case: Case) -> Iterator[Finding]:
    """Look for IOMMUs that the kernel drives."""
    units = host.names("/sys/class/iommu")
    if units:
        yield ok(SUBJECT, f"on ({', '.join(units)})")
        return
    why, mend = advice(host)
    wanted = case.names(VFIO_TYPES)
    text = f"off: {why}; " + (
        f"VFIO ports cannot be opened ({', '.join(wanted)})" if wanted else "NICs cannot be given to VFIO"
    )
    yield Finding(SUBJECT, needed(bool(wanted)), text, mend)
