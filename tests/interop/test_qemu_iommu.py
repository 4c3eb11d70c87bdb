"""A guest behind VT-d whose kernel maps and unmaps every buffer: nothing is lost, nothing is damaged."""

import os
from collections.abc import Iterator

import pytest
from peers.guest import Machine
from peers.machine import BEHIND_IOMMU
from peers.seats import GuestSeat, finish, transfer
from peers.switch import Switch, total
from peers.wait import until
from qemu_traffic import kill_under_traffic
from qemu_world import Port, World, guest_features, world

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(900)]

PORTS = {
    "split": Port(options=BEHIND_IOMMU),
    "packed": Port(listen=True, options=f"{BEHIND_IOMMU},packed=on"),
    "open": Port(),  # the same guest's, with guest physical addresses
}
BEHIND = ("split", "packed")
ACCESS_PLATFORM = 33
PINGS = 25
BLOCK = 1 << 18


@pytest.fixture(scope="module")
def party() -> Iterator[World]:
    """The guest with its kernel's strict mode."""
    if os.environ.get("VS_STANDIN"):
        pytest.skip("the stand-in loses packets that it finds no translation for")
    with world(PORTS, Machine(megabytes=320, iommu=True)) as made:
        yield made


def test_guest_is_strict(party: World) -> None:
    """Its kernel says so, and the devices that are behind it have taken the feature."""
    assert party.guest is not None
    domains = party.guest.run("cat /sys/kernel/iommu_groups/*/type | sort | uniq -c")[1]
    assert domains.split()[1:] == ["DMA"], f"not every group is strict:\n{domains}"
    for name in PORTS:
        seat = party.seats[name]
        assert isinstance(seat, GuestSeat)
        assert bool(guest_features(seat) >> ACCESS_PLATFORM & 1) == (name in BEHIND)


@pytest.mark.parametrize("name", PORTS)
def test_no_ping_is_lost(party: World, name: str) -> None:
    """Each needs a translation that was not there before: the packet waits for it."""
    seat, host = party.seats[name], party.host
    seat.wait_ping(host.address)  # addresses are resolved, links are up
    text = seat.run(f"ping -c {PINGS} -i 0.05 -W 20 {host.address}", seconds=120)
    assert text.count("bytes from") == PINGS
    assert host.ping(seat.address, count=5) == 5


def test_transfers(party: World) -> None:
    """TCP between all of them, both ways, at the same time."""
    seats = list(party.seats.values())
    under_way = [
        transfer(seat, other, BLOCK) for seat, other in zip(seats, seats[1:] + seats[:1], strict=True)
    ]
    under_way += [
        transfer(other, seat, BLOCK) for seat, other in zip(seats, seats[1:] + seats[:1], strict=True)
    ]
    finish(*under_way)


@pytest.mark.parametrize("name", BEHIND)
def test_counters(party: World, name: str) -> None:
    """Misses were asked for and answered, and the guest has taken translations back."""
    assert isinstance(party.switch, Switch)
    party.seats[name].wait_ping(party.host.address)
    metrics = party.switch.metrics()
    for what in ("misses", "updates", "invalidations"):
        assert total(metrics, f"vs_vhost_iotlb_{what}_total", port=name) > 0, what
    assert total(metrics, "vs_vhost_iotlb_misses_total", port="open") == 0
    assert 0 < total(metrics, "vs_vhost_iotlb_entries", port=name) <= 2048

    def nothing_pending() -> bool:
        assert isinstance(party.switch, Switch)
        return total(party.switch.metrics(), "vs_vhost_iotlb_pending", port=name) == 0

    until(nothing_pending, "every miss is answered")


def test_switch_is_killed_under_traffic(party: World) -> None:
    """The new one knows no translation, not even of the rings."""
    kill_under_traffic(party, times=1)
