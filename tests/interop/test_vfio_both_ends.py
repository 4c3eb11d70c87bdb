"""Both ends ours: vhost-user with an IOTLB here, QEMU between, VFIO over virtio-net in a guest behind VT-d there."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers import need
from peers.guestpmd import GuestPmd
from peers.guestswitch import BRIDGE, TREE, GuestSwitch
from peers.hosttap import HostTap
from peers.machine import BEHIND_IOMMU, Machine, Nic
from peers.netns import unique
from peers.nicpeer import padded
from peers.pcap import udp
from peers.switch import Switch, total
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(600)]

ENDS = ("near", "far")
ADDRESSES = ("0000:00:10.0", "0000:00:11.0")
COLLECTOR = 10
CIRCLING, HOPS = 64, 200_000
FEW = 64
"""Translations: the guest's huge pages are few, ordinary pages would be hundreds."""


@dataclass(slots=True)
class Both:
    """The host's switch, the guest's switch, and a tap of the host at which everything can be collected."""

    host: Switch
    bridge: str
    guest: GuestSwitch
    tap: HostTap

    def circle(self) -> float:
        """Let frames go round by both switches until many hops are done, then collect all of them. Packets a second."""
        sent = [udp(at, 60 + at * 22) for at in range(CIRCLING)]
        self.host.set_flows(self.bridge, "in_port=1 actions=output:2\nin_port=2 actions=output:1")
        start, began = self._received(), time.monotonic()
        self.host.ofctl("packet-out", self.bridge, "none", "output:1", *(frame.hex() for frame in sent))
        done = until(self._enough(start), f"{HOPS} packets", seconds=200, every=0.5)
        rate = done / (time.monotonic() - began)
        # The same matches: no frame finds no flow.
        self.host.ofctl("mod-flows", self.bridge, f"actions=output:{COLLECTOR}")
        came = Counter(padded(self.tap.receive()[1]) for _ in sent)
        assert came == Counter(padded(frame) for frame in sent), (
            "a frame was lost, doubled or damaged on its way"
        )
        return rate

    def _received(self) -> float:
        metrics = self.host.metrics()
        return sum(total(metrics, "vs_port_receive_packets_total", port=name) for name in ENDS)

    def _enough(self, start: float) -> Callable[[], float]:
        def look() -> float:
            seen = self._received() - start
            return seen if seen >= HOPS else 0

        return look

    def check(self, what: str) -> None:
        """Let frames circle; again, which needs no translation that was not there; and every packet is accounted for."""
        start = self._translations()
        rates = [self.circle()]
        before = self._translations()
        answers = {name: before[name] - start[name] for name in before if name.startswith("updates")}
        assert all(0 < count < FEW for count in answers.values()), answers
        rates.append(self.circle())
        assert self._translations() == before
        print(f"{what}: {', '.join(f'{rate:.0f}' for rate in rates)} packets/s")
        metrics = self.host.metrics()
        for name in ENDS:
            assert 0 < total(metrics, "vs_vhost_iotlb_entries", port=name) < FEW
            drops = total(metrics, "vs_port_drops_total", port=name, direction="transmit")
            offered = total(metrics, "vs_port_offered_packets_total", port=name)
            assert offered == total(metrics, "vs_port_transmit_packets_total", port=name) + drops

    def _translations(self) -> dict[str, float]:
        metrics = self.host.metrics()
        return {
            f"{what} of {name}": total(metrics, f"vs_vhost_iotlb_{what}_total", port=name)
            for what in ("misses", "updates", "invalidations", "evictions")
            for name in ENDS
        }


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """Both switches, the guest's without ports."""
    need.need_root()
    need.need_guest()
    need.need_program("dpdk-testpmd")
    with tempfile.TemporaryDirectory(prefix="vsb") as directory, ExitStack() as stack:
        place, bridge, tap = Path(directory), unique("br"), unique("vt")
        host = stack.enter_context(Switch(place / "host"))
        host.add_bridge(bridge, secure=True)
        sockets = [host.add_vhost(bridge, name, at) for at, name in enumerate(ENDS, start=1)]
        host.add_tap(bridge, tap, COLLECTOR)
        nics = [
            Nic(socket, f"02:00:00:00:30:{at:02x}", listen=False, options=f"{BEHIND_IOMMU},addr=0x1{at}")
            for at, socket in enumerate(sockets)
        ]
        guest = GuestSwitch(place, Machine(megabytes=1024, iommu=True, hugepages=160), nics)
        stack.callback(guest.close)
        guest.guest.run(f"{TREE}/deploy/vs-bind bind vfio-pci {' '.join(ADDRESSES)}")
        until(lambda: Path(f"/proc/sys/net/ipv6/conf/{tap}").exists(), "the tap is there")
        collector = HostTap(tap)
        stack.callback(collector.close)
        yield Both(host, bridge, guest, collector)


def test_testpmd_in_the_guest(both: Both) -> None:
    """DPDK's driver over our vhost."""
    with GuestPmd(both.guest.guest, ADDRESSES):
        both.check("testpmd in the guest")


def test_our_switch_in_the_guest(both: Both) -> None:
    """Our driver over our vhost."""
    guest = both.guest.start()
    guest.add_bridge(BRIDGE, secure=True)
    for at, address in enumerate(ADDRESSES, start=1):
        words = (
            "--",
            "set",
            "Interface",
            f"w{at}",
            "type=vfio",
            f"options:pci={address}",
            f"ofport_request={at}",
        )
        guest.vsctl("--no-wait", "add-port", BRIDGE, f"w{at}", *words)
    guest.set_flows(BRIDGE, "in_port=1 actions=output:2\nin_port=2 actions=output:1")
    for at in (1, 2):
        until(lambda at=at: guest.vsctl("get", "Interface", f"w{at}", "link_state") == "up", f"w{at} is up")  # type: ignore[misc]
    both.check("our switch in the guest")
