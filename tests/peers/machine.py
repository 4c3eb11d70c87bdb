"""What a QEMU test guest consists of, as QEMU's command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .need import HOSTROOT, INITRAMFS, KERNEL, QEMU, VMLINUX

KERNEL_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on audit=0 "
    "selinux=0 apparmor=0"
)
# Linux turns strict by itself where the IOMMU caches absent entries; said here so that no default changes it.
STRICT_LINE = "intel_iommu=on iommu.strict=1"
IOMMU_DEVICE = "intel-iommu,intremap=on,device-iotlb=on,caching-mode=on"
BEHIND_IOMMU = "iommu_platform=on,ats=on,disable-legacy=on"
MANAGEMENT = "10.0.2.15"
"""The guest's address on its user-mode network, where there is one."""


class Device(Protocol):
    """What can be given to a guest."""

    def arguments(self, number: int) -> list[str]:
        """QEMU arguments of device `number`."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One vhost-user virtio-net device. `listen`: QEMU makes the socket, the switch connects."""

    socket: Path
    mac: str
    listen: bool
    queues: int = 1
    options: str = ""  # further properties of virtio-net-pci, as "packed=on,mrg_rxbuf=off"

    def arguments(self, number: int) -> list[str]:
        """QEMU arguments of device `number`."""
        chardev = f"socket,id=vh{number},path={self.socket}," + (
            "server=on,wait=off" if self.listen else "reconnect=1"
        )
        several = f",queues={self.queues}" if self.queues > 1 else ""
        device = (
            f"virtio-net-pci,netdev=n{number},mac={self.mac},romfile=,vectors={2 * self.queues + 2}"
            + (",mq=on" if self.queues > 1 else "")
            + (f",{self.options}" if self.options else "")
        )
        return [
            "-chardev",
            chardev,
            "-netdev",
            f"vhost-user,id=n{number},chardev=vh{number}{several}",
            "-device",
            device,
        ]


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything but the NICs. `iommu`: VT-d with device IOTLB, and a kernel that maps each buffer strictly.

    `incoming`: the socket on which a migration comes in; such a machine does not boot.
    `hostroot`: the guest runs on the host's root, read-only, below a tmpfs. `hugepages`: of 2 MB, in the guest.
    `forward`: TCP ports of the host's loopback to ports of the guest's management device, eth0, which is there if any are.
    """

    megabytes: int = 192
    cpus: int = 1
    iommu: bool = False
    incoming: Path | None = None
    hostroot: bool = False
    hugepages: int = 0
    forward: Mapping[int, int] = field(default_factory=dict)

    def arguments(self, directory: Path, name: str, nics: Sequence[Device]) -> list[str | Path]:
        """Give the whole command line. The memory is a shared memfd, as vhost-user needs."""
        root = QEMU.parents[1]
        argv: list[str | Path] = [QEMU]
        for firmware in (root / "share/qemu", root / "share/seabios", Path("/usr/share/qemu")):
            argv += ["-L", firmware]
        argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        argv += ["-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max"]
        argv += ["-smp", str(self.cpus), "-m", f"{self.megabytes}M"]
        argv += ["-object", f"memory-backend-memfd,share=on,id=mem,size={self.megabytes}M"]
        argv += ["-kernel", VMLINUX, "-initrd", HOSTROOT if self.hostroot else INITRAMFS]
        argv += ["-append", self._line()]
        argv += ["-serial", f"file:{directory / name}.serial"]
        argv += ["-qmp", f"unix:{directory / name}.qmp,server=on,wait=off"]
        if self.iommu:  # before the devices that are behind it
            argv += ["-device", IOMMU_DEVICE]
        argv += ["-device", "virtio-serial-pci,id=serial"]
        argv += ["-chardev", f"socket,id=agent,path={directory / name}.agent,server=on,wait=off"]
        argv += ["-device", "virtserialport,bus=serial.0,chardev=agent,name=agent"]
        if self.hostroot:
            # QEMU maps BARs of virtual functions in the first 4 GB, also where they are above: nothing may be.
            argv += ["-global", "q35-pcihost.pci-hole64-size=0"]
            argv += ["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"]
            argv += ["-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot"]
        if self.forward:
            ways = "".join(f",hostfwd=tcp:127.0.0.1:{a}-{MANAGEMENT}:{b}" for a, b in self.forward.items())
            argv += ["-netdev", f"user,id=management,restrict=on{ways}"]
            argv += ["-device", "virtio-net-pci,netdev=management,romfile="]
        for number, nic in enumerate(nics):
            argv += nic.arguments(number)
        if self.incoming is not None:
            argv += ["-incoming", f"unix:{self.incoming}"]
        return argv

    def _line(self) -> str:
        """The kernel's command line."""
        words = [KERNEL_LINE]
        if self.iommu:
            words.append(STRICT_LINE)
        if self.hugepages:
            words.append(f"hugepages={self.hugepages}")
        if self.hostroot:
            words.append(f"vs.kernel={KERNEL}")
        return " ".join(words)
