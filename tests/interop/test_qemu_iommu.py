"""A QEMU guest behind a vIOMMU whose driver maps each buffer strictly: pings and TCP; no packet is lost to a missing translation."""

from collections.abc import Iterator

import pytest
from peers.guest import Machine
from peers.machine import BEHIND_IOMMU
from peers.seats import finish, transfer
from peers.switch import Switch, total
from qemu_world import Port, World, guest_features, world

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(900)]

PORTS = {
    "split": Port(options=BEHIND_IOMMU),
    "packed": Port(options=f"{BEHIND_IOMMU},packed=on", listen=True),
}
ACCESS_PLATFORM = 33
BLOCK = 1 << 18


@pytest.fixture(scope="module")
def party() -> Iterator[World]:
    """Two NICs behind the IOMMU, and a host."""
    with world(PORTS, Machine(megabytes=256, iommu=True)) as made:
        for seat in made.guest_seats().values():
            seat.wait_ping(made.host.address)
        yield made


@pytest.mark.parametrize("name", PORTS)
def test_the_driver_uses_the_iommu(party: World, name: str) -> None:
    assert guest_features(party.seats[name]) >> ACCESS_PLATFORM & 1


@pytest.mark.parametrize("name", PORTS)
def test_pings(party: World, name: str) -> None:
    """The reference loses most of these: it drops what has no translation yet."""
    assert party.seats[name].ping(party.host.address) == 3
    assert party.host.ping(party.seats[name].address) == 3


def test_transfers(party: World) -> None:
    """TCP between the NICs, and from and to the host, all at the same time."""
    split, packed, host = party.seats["split"], party.seats["packed"], party.host
    finish(
        transfer(split, packed, BLOCK),
        transfer(packed, host, BLOCK),
        transfer(host, split, BLOCK),
    )


@pytest.mark.parametrize("name", PORTS)
def test_translations_came_and_went_and_no_packet_was_dropped_for_them(party: World, name: str) -> None:
    if not isinstance(party.switch, Switch):
        pytest.skip("the stand-in has no counters of translations")
    samples = party.switch.metrics()
    for what in ("updates", "invalidations", "misses"):
        assert total(samples, f"vs_vhost_iotlb_{what}_total", port=name) > 100
    assert 0 < total(samples, "vs_vhost_iotlb_entries", port=name) <= 2048
    drops = {key: n for key, n in party.switch.statistics(name).items() if "drop" in key and n}
    assert not [key for key in drops if "translation" in key], drops
