"""The guest with emulated NICs behind VT-d in which our switch runs: which NICs, their ports, and what tests ask."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers import need
from peers.guestswitch import BRIDGE, TREE, GuestSwitch
from peers.machine import Machine
from peers.netns import unique
from peers.nicpeer import EXPERIMENTAL, Cable, Emulated, Fixture
from peers.wait import until

VIRTIO = "iommu_platform=on,disable-legacy=on"
TAP, TAP_PORT = "t0", 100


@dataclass(frozen=True, slots=True)
class Slot:
    """A NIC: QEMU's model and place, the address that the guest's firmware gives it there."""

    name: str
    model: str
    place: str
    address: str
    options: str = ""

    @property
    def ofport(self) -> int:
        """OpenFlow number of its port."""
        return list(SLOTS).index(self.name) + 1


def _slot(name: str, model: str, number: int, options: str = "") -> Slot:
    return Slot(name, model, f"addr={number:#x}", f"0000:00:{number:02x}.0", options)


# An igb takes slots 16 and 17 above its own for its VFs.
SLOTS = {
    slot.name: slot
    for slot in (
        _slot("g0", "igb", 4),
        _slot("g1", "igb", 6),
        _slot("g2", "igb", 8),
        _slot("e0", "e1000e", 9),
        _slot("e1", "e1000e", 10),
        _slot("x0", "vmxnet3", 11),
        _slot("x1", "vmxnet3", 12),
        _slot("w0", "virtio-net-pci", 16, f"{VIRTIO},packed=on"),
        _slot("w1", "virtio-net-pci", 17, VIRTIO),
        _slot("w2", "virtio-net-pci", 18, VIRTIO),
        Slot("h0", "e1000e", "bus=rp0", "0000:01:00.0"),
        Slot("o0", "e1000", "bus=pb0,addr=1", "0000:02:01.0"),
        Slot("o1", "e1000", "bus=pb0,addr=2", "0000:02:02.0"),
    )
}
CARRIERS = (
    Fixture("virtio-rng-pci,addr=0x5,iommu_platform=on,disable-legacy=on"),
    Fixture("pcie-root-port,id=rp0,addr=0xe,chassis=1,slot=1"),
    Fixture("pcie-pci-bridge,id=pb0,addr=0xf"),
)
NO_NIC = "0000:00:05.0"
"""A device that is no NIC, bound to vfio-pci too."""
PAIRS = {"igb": ("g0", "g1"), "e1000e": ("e0", "e1"), "vmxnet3": ("x0", "x1"), "virtio": ("w0", "w1")}
"""Two ports of each model, which forward to each other unless a test says otherwise."""
KERNEL_DRIVEN = "g2"
"""Left to the guest's kernel, for the VFs."""
ON_TAP = "w2"
"""Its cable ends in a tap of the host, with virtio-net headers."""
QUEUES = {"g0": 4}


@dataclass(slots=True)
class Rig:
    """What the tests of a module share."""

    switch: GuestSwitch
    cables: dict[str, Cable]
    tap: str

    def add(self, *names: str) -> None:
        """Add the ports of NICs; `wait_link` or `wait_error` says how it went."""
        words: list[str] = []
        for name in names:
            slot = SLOTS[name]
            queues = {"n_rxq": str(QUEUES[name])} if name in QUEUES else {}
            words += _port(name, slot.ofport, {"pci": slot.address, **queues})
        self.switch.vsctl("--no-wait", *words[1:])

    def add_port(self, name: str, ofport: int, **options: str) -> None:
        """Add a port with these options."""
        self.switch.vsctl("--no-wait", *_port(name, ofport, options)[1:])

    def add_vf(self, name: str, ofport: int, mac: str) -> None:
        """Add the first of two VFs of the NIC that the guest's kernel drives."""
        nic = f"/sys/bus/pci/devices/{SLOTS[KERNEL_DRIVEN].address}"
        script = f"""set -e
            modprobe igb
            device=$(ls {nic}/net)
            [ $(cat {nic}/sriov_numvfs) = 2 ] || echo 2 > {nic}/sriov_numvfs
            ip link set $device up
            ip link set $device vf 0 mac {mac}
            basename $(readlink {nic}/virtfn0)"""
        address = self.switch.guest.run(script)[1].split()[-1]
        self.bind(address)
        self.add_port(name, ofport, pci=address)

    def remove(self, name: str) -> None:
        """Remove a port."""
        self.switch.vsctl("--if-exists", "del-port", BRIDGE, name)

    def column(self, name: str, column: str) -> str:
        """A column of an Interface row, as text without quotes; "" when empty."""
        return self.switch.vsctl("--if-exists", "get", "Interface", name, column).strip('"').replace("[]", "")

    def error(self, name: str) -> str:
        """Column `error`."""
        return self.column(name, "error")

    def wait_link(self, name: str, state: str = "up") -> None:
        """Until link_state of a port is so, and then that it has no error."""
        until(lambda: self.column(name, "link_state") == state, f"link_state of {name} is {state}")
        assert self.error(name) == ""

    def wait_error(self, name: str, *words: str) -> None:
        """Until the port shows an error, one line, with these words in it."""
        until(lambda: self.error(name), f"{name} shows an error")
        line = self.error(name)
        assert "\\n" not in line, line
        assert all(word in line for word in words), f"{words} are not in: {line}"

    def bind(self, *names: str, driver: str = "vfio-pci") -> str:
        """Give NICs (names, or addresses of others) to a driver; what vs-bind printed."""
        addresses = " ".join(SLOTS[name].address if name in SLOTS else name for name in names)
        return self.switch.guest.run(f"{TREE}/deploy/vs-bind bind --force {driver} {addresses}")[1]

    def connect(self, *lines: str) -> None:
        """Replace the flows by `lines`, or by those that forward between the two of each pair."""
        if not lines:
            ends = [(SLOTS[a].ofport, SLOTS[b].ofport) for a, b in PAIRS.values()]
            lines = tuple(f"in_port={a} actions=output:{b}" for pair in ends for a, b in (pair, pair[::-1]))
        self.switch.set_flows(BRIDGE, "\n".join(lines))

    def revive(self) -> None:
        """Start the daemon if it is not there."""
        if self.switch.guest.run(f"kill -0 {self.switch.pid}", check=False)[0]:
            self.switch.start()

    @contextmanager
    def reflector(self) -> Iterator[None]:
        """Meanwhile a program in the guest sends back what comes to the tap."""
        guest = self.switch.guest
        pid = guest.run(f"wire reflect {TAP} < /dev/null > /run/reflect.out 2>&1 & echo $!")[1].strip()
        try:
            # Its socket is there when it stands in the list of packet sockets.
            until(lambda: int(guest.run("wc -l < /proc/net/packet")[1]) > 1, "the reflector listens")
            yield
        finally:
            guest.run(f"kill {pid}")

    def cross(self, one: str, other: str) -> None:
        """Flows between two ports alone, by name (TAP: the tap)."""
        a, b = (TAP_PORT if name == TAP else SLOTS[name].ofport for name in (one, other))
        self.connect(f"in_port={a} actions=output:{b}", f"in_port={b} actions=output:{a}")

    def faults(self) -> list[str]:
        """Lines of the guest's kernel about accesses that the IOMMU refused."""
        text = self.switch.guest.run("dmesg | grep -i 'DMAR:.*fault' || true")[1]
        return [line for line in text.splitlines() if "fault addr" in line.lower() or "fault_addr" in line]

    def interrupts(self, name: str) -> int:
        """How many interrupts of a NIC VFIO has passed on."""
        text = self.switch.guest.run("cat /proc/interrupts")[1]
        mine = (line.split() for line in text.splitlines() if f"({SLOTS[name].address})" in line)
        return sum(int(word) for words in mine for word in words[1:] if word.isdigit())

    @contextmanager
    def storm(self, *names: str) -> Iterator[None]:
        """Meanwhile frames of an experimental type come in on these NICs without end."""
        over = threading.Event()
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\x09" + EXPERIMENTAL + bytes(100)

        def blow() -> None:
            while not over.is_set():
                for name in names:
                    self.cables[name].send(frame)
                    self.cables[name].drain()  # QEMU's main loop spins while a peer takes no more
                over.wait(0.02)

        thread = threading.Thread(target=blow)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _port(name: str, ofport: int, options: dict[str, str]) -> list[str]:
    """Words of vsctl that add a port, after a separator."""
    values = [f"options:{key}={value}" for key, value in options.items()]
    words = ["--", "add-port", BRIDGE, name, "--", "set", "Interface", name, "type=vfio"]
    return [*words, f"ofport_request={ofport}", *values]


@contextmanager
def rig_of() -> Iterator[Rig]:
    """Boot the guest, bind the NICs, start the switch, add a port for each NIC and a tap. Needs root."""
    need.need_root()
    need.need_guest()
    with tempfile.TemporaryDirectory(prefix="vsg") as directory, ExitStack() as stack:
        place, tap = Path(directory), unique("vt")
        nics = [
            Emulated(
                *(
                    slot.name,
                    slot.model,
                    f"02:00:00:00:10:{slot.ofport:02x}",
                    slot.place,
                    place,
                    slot.options,
                ),
                tap=tap if slot.name == ON_TAP else "",
            )
            for slot in SLOTS.values()
        ]
        cables = {nic.name: Cable(nic) for nic in nics if not nic.tap}
        for cable in cables.values():
            stack.callback(cable.close)
        machine = Machine(megabytes=1024, iommu=True, hugepages=128)
        switch = GuestSwitch(place, machine, [*CARRIERS, *nics])
        stack.callback(switch.close)
        rig = Rig(switch, cables, tap)
        rig.bind(*(name for name in SLOTS if name != KERNEL_DRIVEN), NO_NIC)
        switch.start()
        switch.add_bridge(BRIDGE, secure=True)
        rig.add(*(name for name in SLOTS if name != KERNEL_DRIVEN))
        switch.add_tap(BRIDGE, TAP, TAP_PORT)
        yield rig
