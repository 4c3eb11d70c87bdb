"""What a QEMU test guest consists of, as QEMU's command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .need import INITRAMFS, QEMU, VMLINUX

KERNEL_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on audit=0 "
    "selinux=0 apparmor=0"
)
# Linux turns strict by itself where the IOMMU caches absent entries; said here so that no default changes it.
STRICT_LINE = "intel_iommu=on iommu.strict=1"
IOMMU_DEVICE = "intel-iommu,intremap=on,device-iotlb=on,caching-mode=on"
BEHIND_IOMMU = "iommu_platform=on,ats=on,disable-legacy=on"


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
    """

    megabytes: int = 192
    cpus: int = 1
    iommu: bool = False
    incoming: Path | None = None

    def arguments(self, directory: Path, name: str, nics: Sequence[Nic]) -> list[str | Path]:
        """Give the whole command line. The memory is a shared memfd, as vhost-user needs."""
        root = QEMU.parents[1]
        argv: list[str | Path] = [QEMU]
        for firmware in (root / "share/qemu", root / "share/seabios", Path("/usr/share/qemu")):
            argv += ["-L", firmware]
        argv += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        argv += ["-machine", "q35,memory-backend=mem", "-accel", "tcg,thread=multi", "-cpu", "max"]
        argv += ["-smp", str(self.cpus), "-m", f"{self.megabytes}M"]
        argv += ["-object", f"memory-backend-memfd,share=on,id=mem,size={self.megabytes}M"]
        line = f"{KERNEL_LINE} {STRICT_LINE}" if self.iommu else KERNEL_LINE
        argv += ["-kernel", VMLINUX, "-initrd", INITRAMFS, "-append", line]
        argv += ["-serial", f"file:{directory / name}.serial"]
        argv += ["-qmp", f"unix:{directory / name}.qmp,server=on,wait=off"]
        if self.iommu:  # before the devices that are behind it
            argv += ["-device", IOMMU_DEVICE]
        argv += ["-device", "virtio-serial-pci,id=serial"]
        argv += ["-chardev", f"socket,id=agent,path={directory / name}.agent,server=on,wait=off"]
        argv += ["-device", "virtserialport,bus=serial.0,chardev=agent,name=agent"]
        for number, nic in enumerate(nics):
            argv += nic.arguments(number)
        if self.incoming is not None:
            argv += ["-incoming", f"unix:{self.incoming}"]
        return argv
