"""A switch, one QEMU guest with several NICs on it, each in a namespace of its own, and a host beside them."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from peers import need
from peers.guest import Guest, Machine, Nic, mac_address
from peers.netns import NetNs, unique
from peers.ovs import OvsDpdk, OvsSetup
from peers.seats import GuestSeat, HostSeat, Seat
from peers.switch import Switch
from peers.wait import until


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the guest: who listens, and the properties of the device."""

    listen: bool = False
    queues: int = 1
    options: str = ""


def start_switch(stack: ExitStack, place: Path) -> Switch | OvsDpdk:
    """The switch under test; with VS_STANDIN=ovs Open vSwitch, to tell our faults from the harness's."""
    if os.environ.get("VS_STANDIN") != "ovs":
        return stack.enter_context(Switch(place / "state"))
    need.need_ovs_dpdk()
    cores = sum(1 << core for core in os.sched_getaffinity(0))
    setup = OvsSetup(pmd_mask=cores, lcore_mask=1, max_sleep=200)
    return stack.enter_context(OvsDpdk(place / "ovs", setup))


@dataclass(slots=True)
class World:
    """What a module of tests shares. `seats`: the guest's NICs by the names of their ports, and "host"."""

    place: Path
    switch: Switch | OvsDpdk
    bridge: str
    nics: dict[str, Nic]
    seats: dict[str, Seat]
    guest: Guest | None = None
    hosts: int = 0
    devices: list[str] = field(default_factory=list)

    @property
    def host(self) -> Seat:
        """The host's seat."""
        return self.seats["host"]

    def guest_seats(self) -> dict[str, Seat]:
        """All but the host's."""
        return {name: seat for name, seat in self.seats.items() if name != "host"}

    def add_port(self, name: str, port: Port) -> Nic:
        """Add a vhost-user port and describe the guest's end of it."""
        number = len(self.nics) + 1
        client = self.place / f"{name}.sock" if port.listen else None
        socket = self.switch.add_vhost(self.bridge, name, number, client=client)
        nic = Nic(socket, mac_address(number), port.listen, port.queues, port.options)
        self.nics[name] = nic
        return nic

    def add_host(self, stack: ExitStack, *, local: bool) -> HostSeat:
        """Make a host: on a veth, or the bridge's LOCAL device, which takes offloads and dies with the switch."""
        self.hosts += 1
        space, address = stack.enter_context(NetNs()), f"10.77.0.{200 + self.hosts}"
        if local:
            until((Path("/sys/class/net") / self.bridge).exists, f"LOCAL device {self.bridge} is there")
            space.take(self.bridge, f"{address}/24")
        else:
            device = space.add_veth(f"{address}/24")
            self.switch.add_device(self.bridge, device, 100 + self.hosts)
            self.devices.append(device)
        seat = HostSeat(space, address, self.place)
        self.seats["host"] = seat
        return seat

    def seat_guest(self) -> None:
        """Once the guest runs, put each of its NICs into a namespace."""
        assert self.guest is not None
        for at, name in enumerate(self.nics):
            self.seats[name] = GuestSeat(self.guest, f"eth{at}", f"10.77.0.{at + 1}")


@contextmanager
def world(
    ports: Mapping[str, Port], machine: Machine | None = None, *, local: bool = False
) -> Iterator[World]:
    """A bridge with these ports and a host, and a guest that has booted with a NIC on each. Needs root."""
    need.need_root()
    need.need_program("setpriv", "ip", "ping", "ethtool")
    need.need_guest()
    with tempfile.TemporaryDirectory(prefix="vsq") as directory, ExitStack() as stack:
        place = Path(directory)
        switch, bridge = start_switch(stack, place), unique("br")
        switch.add_bridge(bridge)
        made = World(place, switch, bridge, {}, {})
        nics = [made.add_port(name, port) for name, port in ports.items()]
        made.guest = stack.enter_context(Guest(place, nics, machine=machine))
        made.add_host(stack, local=local)
        made.guest.wait_ready(seconds=300)
        made.seat_guest()
        yield made


def guest_features(seat: GuestSeat) -> int:
    """The device features that the guest's driver has accepted: sysfs writes bit 0 first."""
    # A network namespace shows its own devices only in a sysfs mounted inside.
    text = seat.run(
        f"mkdir -p /run/sys && mount -t sysfs sys /run/sys && cat /run/sys/class/net/{seat.device}/device/features; "
        "umount /run/sys"
    )
    return int(text.strip()[::-1], 2)
