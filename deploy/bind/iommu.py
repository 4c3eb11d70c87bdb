"""Is there an IOMMU, and what switches it on: the firmware's setting, the kernel's command line, a VM's host."""

from __future__ import annotations

from .host import Host

QEMU = (
    "QEMU:    -machine q35 -device intel-iommu,intremap=on,caching-mode=on   (before the NICs on the line; KVM also needs",
    "         -machine kernel-irqchip=split; virtio NICs need iommu_platform=on,disable-legacy=on)",
    "libvirt: <iommu model='intel'><driver intremap='on' caching_mode='on'/></iommu>, <features><ioapic driver='qemu'/>",
)


def units(host: Host) -> list[str]:
    """Return the IOMMUs that the kernel drives."""
    return host.names("/sys/class/iommu")


def _where(host: Host, words: str) -> str:
    """Say where this system keeps the kernel's command line."""
    if host.which("grubby"):
        return f'grubby --update-kernel=ALL --args="{words}"; then reboot'
    if host.exists("/etc/default/grub"):
        update = "update-grub" if host.which("update-grub") else "grub2-mkconfig -o /boot/grub2/grub.cfg"
        return f'add {words} to GRUB_CMDLINE_LINUX in /etc/default/grub; run "{update}"; then reboot'
    if host.exists("/etc/kernel/cmdline"):
        return f"add {words} to /etc/kernel/cmdline; run kernel-install (or the update of your boot loader); then reboot"
    return f"add {words} to the kernel's command line (/proc/cmdline shows today's); then reboot"


def advice(host: Host) -> list[str]:
    """Return what to do to get an IOMMU, in lines; empty where there is one."""
    if units(host):
        return []
    cpu = host.read("/proc/cpuinfo") or ""
    cmdline = (host.read("/proc/cmdline") or "").split()
    tables = host.names("/sys/firmware/acpi/tables")
    machine = "hypervisor" in cpu
    off = [w for w in cmdline if w in {"intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu=soft"}]
    if off:
        return [
            f"it is switched off on the kernel's command line: take {' '.join(off)} away; {_where(host, 'iommu=pt')}"
        ]
    if not {"DMAR", "IVRS", "IORT", "VIOT"} & set(tables):
        if machine:
            return ["this is a virtual machine and its host gives it none; the host must give it one:", *QEMU]
        name = "AMD-Vi (IOMMU, SVM)" if "AuthenticAMD" in cpu else "VT-d"
        return [
            f"the firmware shows none: switch on {name} in its setup; then come back, the kernel may need a word too"
        ]
    if "IVRS" in tables or "AuthenticAMD" in cpu:
        return [f"the firmware has one (AMD); {_where(host, 'amd_iommu=on iommu=pt')}"]
    if "intel_iommu=on" in cmdline:
        return ["intel_iommu=on is there and still no IOMMU: dmesg | grep -i -e DMAR -e IOMMU says why"]
    words = "intel_iommu=on" if machine else "intel_iommu=on iommu=pt"
    return [f"the firmware has one (Intel); {_where(host, words)}"]
