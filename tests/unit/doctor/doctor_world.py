"""A machine made of dictionaries for the doctor: everything on it is well until a test breaks something."""

import stat

from vswitchd.doctor.case import Case, PortCase
from vswitchd.doctor.finding import Severity
from vswitchd.doctor.host import Account, FileFacts, Host, Space
from vswitchd.paths import Paths

PATHS = Paths(run="/run/vs", state="/var/vs", log="/var/vs")
NIC = "0000:01:00.0"
PCI = "/sys/bus/pci/devices"
ALL_CAPABILITIES = "000001ffffffffff"
SOCKET, DIRECTORY, DEVICE = stat.S_IFSOCK, stat.S_IFDIR, stat.S_IFCHR


class FakeHost(Host):
    def __init__(self) -> None:
        self.files = {
            "/sys/class/iommu/dmar0/x": "",
            "/sys/bus/pci/drivers/vfio-pci/x": "",
            "/sys/module/vfio_iommu_type1/x": "",
            "/sys/module/vfio/x": "",
            "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512",
            "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "400",
            "/sys/devices/system/cpu/isolated": "1-3",
            "/proc/net/unix": "Num       RefCount Protocol Flags    Type St Inode Path",
        }
        self.links: dict[str, str] = {}
        self.stats = {
            "/": FileFacts(DIRECTORY | 0o755, 0, 0),
            "/run": FileFacts(DIRECTORY | 0o755, 0, 0),
            "/run/vs": FileFacts(DIRECTORY | 0o750, 100, 36),
        }
        self.opens: dict[str, int] = {}
        self.denied: set[str] = set()
        self.accounts: dict[str, Account] = {}
        self.held: dict[str, list[tuple[int, str]]] = {}
        self.interfaces = {"eth0": (2, 0x1043)}
        self.room: Space | None = Space(10 << 30, 20 << 30, 10_000)
        self.me()

    def me(self, *, capabilities=ALL_CAPABILITIES, uid=100, memlock="unlimited", cpus="0-3") -> None:
        self.files["/proc/self/status"] = (
            f"Name:\tvswitchd\nPid:\t7\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t36\t36\t36\t36\nGroups:\t36\n"
            f"CapEff:\t{capabilities}\nCpus_allowed_list:\t{cpus}"
        )
        self.files["/proc/self/limits"] = (
            f"Limit  Soft\nMax locked memory         {memlock}      {memlock}      bytes"
        )

    def qemu(self, pid, uid, *groups):
        self.files[f"/proc/{pid}/comm"] = "qemu-system-x86"
        ids = " ".join(map(str, groups))
        self.files[f"/proc/{pid}/status"] = (
            f"Uid:\t{uid} {uid} {uid} {uid}\nGid:\t{uid} {uid} {uid} {uid}\nGroups:\t{ids}"
        )

    def listen(self, address):
        self.files["/proc/net/unix"] += (
            f"\n0000000000000000: 00000002 00000000 00010000 0001 01 12345 {address}"
        )

    def socket(self, path, mode=0o660, uid=100, gid=36):
        self.stats[path] = FileFacts(SOCKET | mode, uid, gid)

    def nic(self, address=NIC, driver="vfio-pci", group="7"):
        self.files[f"{PCI}/{address}/vendor"] = "0x8086"
        self.files[f"{PCI}/{address}/driver_override"] = driver
        self.links[f"{PCI}/{address}/driver"] = driver
        self.links[f"{PCI}/{address}/iommu_group"] = group
        for member in [a for a in self.names(PCI) if self.links[f"{PCI}/{a}/iommu_group"] == group]:
            for other in (member, address):
                self.files[f"{PCI}/{member}/iommu_group/devices/{other}/x"] = ""
                self.files[f"{PCI}/{address}/iommu_group/devices/{other}/x"] = ""
                self.files[f"{PCI}/{address}/iommu_group/devices/{member}/x"] = ""
        self.files[f"/dev/vfio/{group}"] = ""
        self.stats[f"/dev/vfio/{group}"] = FileFacts(DEVICE | 0o660, 0, 36)

    def read(self, path):
        return self.files.get(path)

    def names(self, path):
        known = [*self.files, *self.links, *self.stats]
        return sorted({p.removeprefix(f"{path}/").split("/")[0] for p in known if p.startswith(f"{path}/")})

    def link(self, path):
        return self.links.get(path, "")

    def exists(self, path):
        return path in self.files or path in self.stats or bool(self.names(path))

    def stat(self, path):
        return self.stats.get(path)

    def try_open(self, path):
        return self.opens.get(path, 0)

    def may_use(self, path):
        return path not in self.denied

    def interface(self, name):
        return self.interfaces.get(name)

    def space(self, path):
        return self.room

    def account(self, name):
        return self.accounts.get(name)

    def user_name(self, uid):
        return {0: "root", 100: "vswitchd", 64055: "libvirt-qemu"}.get(uid, str(uid))

    def group_name(self, gid):
        return {0: "root", 36: "kvm"}.get(gid, str(gid))

    def holders(self, path):
        return self.held.get(path, [])


def case(*ports, running=True, polling=(1, 2), mask=None, cpus=()):
    return Case(PATHS, running=running, ports=ports, polling=polling, mask=mask, cpus=cpus)


def port(kind, name="p0", error="", connected=None, **options):
    info = {} if connected is None else {"status": "connected" if connected else "disconnected"}
    words = {key.replace("_", "-"): value for key, value in options.items()}
    return PortCase(name, kind, words, error=error, info=info, bridge="br0")


def bad(findings):
    """What is not well: [(severity, subject, port)]."""
    return [(f.severity.value, f.subject, f.port) for f in findings if f.severity is not Severity.OK]
