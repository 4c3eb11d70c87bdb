"""What a test needs from the machine: it skips with the reason, or fails where VS_REQUIRE_PEERS=1 (CI)."""

import os
import shutil
from pathlib import Path

import pytest

PEERS = Path(os.environ.get("VS_PEERS", "/var/tmp/vswitchd-peers"))
INSTALL = "run tests/peers/install.sh"
OVS_DPDK = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
QEMU = PEERS / "qemu10/usr/bin/qemu-system-x86_64"
VMLINUX = PEERS / "vmlinux"
INITRAMFS = PEERS / "initramfs.cpio"
HOSTROOT = PEERS / "initramfs-hostroot.cpio"
KERNEL = PEERS / "kernel"
WIRE = PEERS / "wire"


def missing(reason: str) -> None:
    """End the test: a skip that says `reason`, or a failure where no peer may be missing."""
    if os.environ.get("VS_REQUIRE_PEERS") == "1":
        pytest.fail(f"VS_REQUIRE_PEERS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def need_program(*names: str) -> None:
    """Require programs on the PATH (sbin included)."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for name in names:
        if shutil.which(name, path=path) is None:
            missing(f"{name} is not installed: {INSTALL}")


def need_root() -> None:
    """Require the rights to make taps, veths and namespaces."""
    if os.geteuid() != 0:
        missing("needs root (network namespaces, tap)")


def need_guest() -> None:
    """Require QEMU 10, the kernel and both initramfs."""
    for path in (QEMU, VMLINUX, INITRAMFS, HOSTROOT, WIRE):
        if not path.exists():
            missing(f"{path} is missing: {INSTALL}")


def need_ovs_dpdk() -> None:
    """Require Debian's OVS-DPDK and huge pages for it."""
    need_program("ovs-vsctl", "ovsdb-server")
    if not OVS_DPDK.exists():
        missing(f"{OVS_DPDK} is missing: {INSTALL}")
    need_hugepages(512)


def free_hugepages() -> int:
    """2 MB pages that nobody holds."""
    try:
        return int(Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text())
    except OSError:
        return 0


def need_hugepages(pages: int) -> None:
    """Require free 2 MB pages."""
    if (free := free_hugepages()) < pages:
        missing(f"{free} of {pages} huge pages are free: sysctl vm.nr_hugepages=1024")
