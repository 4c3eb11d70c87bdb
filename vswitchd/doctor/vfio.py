"""VFIO on this machine: its modules, and its control file. What single devices need is in port_vfio."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from vswitchd.doctor.case import VFIO_TYPES, Case
from vswitchd.doctor.finding import Finding, needed, ok
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me

SUBJECT = "vfio"
CONTROL = "/dev/vfio/vfio"
NOIOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
MODULES = {"vfio-pci": "/sys/bus/pci/drivers/vfio-pci", "vfio_iommu_type1": "/sys/module/vfio_iommu_type1"}


def check(host: Host, _me: Me, case: Case) -> Iterator[Finding]:
    """Look at the modules and at /dev/vfio/vfio."""
    wanted = bool(case.names(VFIO_TYPES))
    missing = [name for name, path in MODULES.items() if not host.exists(path)]
    if missing:
        words = " ".join(missing)
        mend = (f"modprobe -a {words}", "echo vfio-pci >/etc/modules-load.d/vfio-pci.conf")
        yield Finding(SUBJECT, needed(wanted), f"not loaded: {words}", mend)
    else:
        yield ok(SUBJECT, "modules are loaded")
    if host.read(NOIOMMU) == "Y":
        text = "unsafe no-IOMMU mode is on: any VFIO user can write all memory; the switch does not use it"
        yield Finding(SUBJECT, needed(wanted=False), text, (f"echo N >{NOIOMMU}",))
    if host.exists("/sys/module/vfio"):  # opening the file would load the module
        yield _control(host, wanted)


def _control(host: Host, wanted: bool) -> Finding:
    error = host.try_open(CONTROL)
    if not error:
        return ok(SUBJECT, f"{CONTROL} can be opened")
    mends = {
        errno.EACCES: f"chmod 0666 {CONTROL}",
        errno.EPERM: f"DeviceAllow={CONTROL} rw and DeviceAllow=char-vfio rw in the service; in a container: --device={CONTROL}",
        errno.ENOENT: f"modprobe vfio; in a container: --device={CONTROL}",
    }
    text = f"{CONTROL} cannot be opened ({errno.errorcode.get(error, error)})"
    return Finding(SUBJECT, needed(wanted), text, (mends.get(error, "modprobe vfio"),))
