"""A machine of files for vs-bind: devices, drivers and groups below tmp_path, and a "kernel" that acts on writes."""

import errno
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
sys.path.insert(0, str(DEPLOY))

from bind.host import WHY, BindError, Host  # noqa: E402

PCI = "/sys/bus/pci/devices"


class Machine(Host):
    """The tree, with the kernel's part: unbind, drivers_probe, modprobe. `takes` says which driver the kernel would
    choose for an address, `refuses` which (driver, address) fail to probe, `modules` what modprobe can load."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.tree = root
        self.takes: dict[str, str] = {}
        self.refuses: set[tuple[str, str]] = set()
        self.modules: set[str] = set()
        self.fails: dict[str, int] = {}
        self.programs: dict[str, str] = {"modprobe": ""}
        self.ran: list[tuple[str, ...]] = []
        self.wrote: list[tuple[str, str]] = []
        self.nodes: dict[str, tuple[str, str, str]] = {}
        self.addresses: dict[str, str] = {}
        self.allowed = True
        self.put("/sys/bus/pci/drivers_probe", "")
        (root / "sys/bus/pci/devices").mkdir()

    def put(self, path: str, text: str) -> None:
        file = self.tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def directory(self, path: str) -> Path:
        made = self.tree / path.lstrip("/")
        made.mkdir(parents=True, exist_ok=True)
        return made

    def driver(self, name: str) -> None:
        self.directory(f"/sys/bus/pci/drivers/{name}")

    def device(
        self, address, driver="", *, group="", kind="0x020000", ids="8086:10d3", interface="", virtio=False
    ):
        vendor, model = ids.split(":")
        real = self.directory(f"/sys/devices/pci0000:00/{address}")
        for name, text in (
            ("vendor", "0x" + vendor), ("device", "0x" + model), ("class", kind), ("numa_node", "-1"),
            ("driver_override", "(null)"), ("modalias", f"pci:v{vendor}d{model}"),
        ):  # fmt: skip
            (real / name).write_text(text + "\n")
        (self.tree / f"sys/bus/pci/devices/{address}").symlink_to(real)
        if group:
            members = self.directory(f"/sys/kernel/iommu_groups/{group}/devices")
            (members / address).symlink_to(real)
            (real / "iommu_group").symlink_to(members.parent)
            self.directory("/sys/class/iommu/dmar0")
        if driver:
            self.takes[address] = driver
            self.driver(driver)
            self._attach(address, driver)
        if interface:
            net = real / ("virtio0/net" if virtio else "net") / interface
            net.mkdir(parents=True)
            (net / "flags").write_text("0x1002\n")
            (net / "device").symlink_to(real / "virtio0" if virtio else real)
            (self.directory("/sys/class/net") / interface).symlink_to(net)
        return address

    def _attach(self, address: str, driver: str) -> None:
        (self.tree / f"sys/bus/pci/devices/{address}/driver").symlink_to(
            self.tree / f"sys/bus/pci/drivers/{driver}"
        )

    def bound(self, address: str) -> str:
        return self.link(f"{PCI}/{address}/driver")

    def override(self, address: str) -> str:
        return (self.tree / f"sys/bus/pci/devices/{address}/driver_override").read_text().strip()

    def write(self, path: str, text: str) -> None:
        self.wrote.append((path, text))
        if number := self.fails.get(path.rpartition("/")[2]):
            raise BindError(f"{path}: {WHY[number]}")
        if path.endswith("/driver/unbind"):
            assert path == f"{PCI}/{text}/driver/unbind"
            (self.tree / path.lstrip("/")).parent.unlink()
        elif path == "/sys/bus/pci/drivers_probe":
            self._probe(text)
        else:
            super().write(path, text)

    def _probe(self, address: str) -> None:
        if self.bound(address):
            return
        wanted = self.override(address)
        driver = self.takes.get(address, "") if wanted in {"", "(null)"} else wanted
        there = driver and self.exists(f"/sys/bus/pci/drivers/{driver}")
        if there and (driver, address) not in self.refuses:
            self._attach(address, driver)
            if driver == "vfio-pci":
                group = self.link(f"{PCI}/{address}/iommu_group")
                self.nodes.setdefault(f"/dev/vfio/{group}", ("crw-------", "root", "root"))

    def which(self, program: str) -> str:
        return f"/sbin/{program}" if program in self.programs else ""

    def run(self, *words: str) -> tuple[int, str]:
        self.ran.append(words)
        if words[0] != "modprobe":
            return (0, "") if words[0] in self.programs else (127, "")
        if words[1] not in self.modules:
            return 1, f"modprobe: FATAL: Module {words[1]} not found in directory /lib/modules/6.1"
        if not words[1].startswith("pci:"):
            self.driver(words[1])
            return 0, ""
        for driver in self.takes.values():
            self.driver(driver)
        return 0, ""

    def check_permission(self) -> None:
        if not self.allowed:
            raise BindError("binding drivers needs root: put sudo before it", 5)

    def node(self, path: str):
        return self.nodes.get(path)

    def ipv4(self, interface: str) -> str:
        return self.addresses.get(interface, "")


BUSY = errno.EBUSY
