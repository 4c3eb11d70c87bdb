"""Kinds of virtio-net devices in one guest: features, pings, checksummed TCP; kill -9 of the switch under traffic."""

from collections.abc import Iterator

import pytest
from peers.guest import Machine
from peers.seats import GuestSeat, finish, transfer
from peers.switch import Switch, total
from qemu_traffic import kill_under_traffic
from qemu_world import Port, World, guest_features, world

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(900)]

PORTS = {
    "plain": Port(),
    "client": Port(listen=True),
    "smallbuf": Port(options="mrg_rxbuf=off,rx_queue_size=1024"),
    "packed": Port(options="packed=on"),
    "mq": Port(queues=2, options="packed=on", listen=True),
}
MRG_RXBUF, MQ, VERSION_1, RING_PACKED = 15, 22, 32, 34
BLOCK = 1 << 19


@pytest.fixture(scope="module")
def party() -> Iterator[World]:
    """Two processors, so that the driver uses two queue pairs."""
    with world(PORTS, Machine(megabytes=320, cpus=2)) as made:
        for seat in made.guest_seats().values():
            seat.wait_ping(made.host.address)
        yield made


@pytest.mark.parametrize("name", PORTS)
def test_features(party: World, name: str) -> None:
    """The guest's driver has what the device was made with, and the switch knows it."""
    seat, options = party.seats[name], PORTS[name].options
    assert isinstance(seat, GuestSeat)
    features = guest_features(seat)
    for bit, wanted in {
        VERSION_1: True,
        MRG_RXBUF: "mrg_rxbuf=off" not in options,
        RING_PACKED: "packed=on" in options,
        MQ: PORTS[name].queues > 1,
    }.items():
        assert bool(features >> bit & 1) == wanted, f"feature bit {bit} in {features:#x}"
    if isinstance(party.switch, Switch):
        rings = party.switch.vsctl("get", "Interface", name, "status:num_of_vrings").strip('"')
        assert int(rings) == 2 * PORTS[name].queues


def test_pings(party: World) -> None:
    """Each NIC reaches the next, and the host each NIC."""
    seats = list(party.seats.values())
    for seat, other in zip(seats, seats[1:] + seats[:1], strict=True):
        assert seat.ping(other.address) == 3
    for seat in party.guest_seats().values():
        assert party.host.ping(seat.address) == 3


def test_transfers(party: World) -> None:
    """TCP from each NIC to the next, all at the same time, and from the host to each."""
    seats = list(party.seats.values())
    under_way = [
        transfer(seat, other, BLOCK) for seat, other in zip(seats, seats[1:] + seats[:1], strict=True)
    ]
    under_way += [transfer(party.host, seat, BLOCK) for seat in party.guest_seats().values()]
    finish(*under_way)


@pytest.mark.parametrize("name", [name for name, port in PORTS.items() if port.queues > 1])
def test_all_queues_carry_traffic(party: World, name: str) -> None:
    """The driver sends on the queue pair of the processor that it runs on."""
    if not isinstance(party.switch, Switch):
        pytest.skip("the stand-in has no counters of rings")

    def taken(ring: int) -> float:
        return total(party.switch.metrics(), "vs_vhost_kicks_total", port=name, ring=str(ring))

    for queue in range(PORTS[name].queues):
        before = taken(2 * queue + 1)
        text = party.seats[name].run(f"taskset {1 << queue:x} ping -c 3 -W 10 {party.host.address}")
        assert text.count("bytes from") == 3
        assert taken(2 * queue + 1) > before


def test_switch_is_killed_under_traffic(party: World) -> None:
    """TCP goes on where it was; datagrams have a gap and nothing worse. Twice, as the first restart is a state too."""
    kill_under_traffic(party, times=2)
