"""Guests with checksum and TCP segmentation offload: large frames pass whole where they can, and the data is right."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from peers.guest import Machine
from peers.seats import GuestSeat, Seat, finish, transfer
from peers.switch import Switch
from peers.wait import until
from qemu_world import Port, World, guest_features, world

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(900)]

NONE = "csum=off,guest_csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,guest_tso4=off,guest_tso6=off,guest_ecn=off"
PORTS = {
    "tso": Port(),
    "packed": Port(options="packed=on"),
    "smallbuf": Port(options="mrg_rxbuf=off"),  # the guest gives chains of 64 KB
    "plain": Port(options=NONE),
}
LOCAL, VETH = "local", "veth"
SENDS_LARGE = {"tso", "packed", "smallbuf", LOCAL}
TAKES_LARGE = {*SENDS_LARGE, VETH}  # a packet socket hands them to the kernel as they are
OFFLOADS = {"CSUM": 0, "GUEST_CSUM": 1, "GUEST_TSO4": 7, "GUEST_TSO6": 8, "HOST_TSO4": 11, "HOST_TSO6": 12}
FRAME = 1514
BLOCK = 1 << 21
ATTEMPTS = 4


@pytest.fixture(scope="module")
def party() -> Iterator[World]:
    """The guest, the LOCAL device, and a host whose veth sends nothing large."""
    with world(PORTS, Machine(megabytes=320), local=True) as made, ExitStack() as stack:
        made.seats[LOCAL] = made.seats.pop("host")
        made.add_host(stack, local=False)
        made.seats[VETH] = made.seats.pop("host")
        for name in PORTS:
            for host in (LOCAL, VETH):
                made.seats[name].wait_ping(made.seats[host].address)
        yield made


def port_of(party: World, name: str) -> str:
    """The switch's name of a seat's port."""
    if name == LOCAL:
        return party.bridge
    return party.devices[0] if name == VETH else name


def device_counters(seat: Seat, way: str) -> tuple[int, int]:
    """Bytes and packets that the seat's device has sent ("tx") or received ("rx"), by its own kernel."""
    for line in seat.run("cat /proc/net/dev").splitlines():
        name, colon, numbers = line.partition(":")
        if colon and name.strip() != "lo":
            words = [int(word) for word in numbers.split()]
            return (words[0], words[1]) if way == "rx" else (words[8], words[9])
    raise AssertionError("no device")


def average(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Bytes a packet."""
    return (after[0] - before[0]) / (after[1] - before[1])


@pytest.mark.parametrize("name", PORTS)
def test_features(party: World, name: str) -> None:
    """The driver has accepted the offloads, or none of them."""
    seat = party.seats[name]
    assert isinstance(seat, GuestSeat)
    features = guest_features(seat)
    for feature, bit in OFFLOADS.items():
        assert bool(features >> bit & 1) == (name in SENDS_LARGE), feature


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("tso", "packed"),
        ("packed", "smallbuf"),
        ("smallbuf", "plain"),
        ("plain", "tso"),
        ("tso", LOCAL),
        (LOCAL, "packed"),
        (LOCAL, "plain"),
        ("packed", VETH),
        (VETH, "smallbuf"),
    ],
    ids=str,
)
def test_transfer(party: World, source: str, target: str) -> None:
    """TCP by checksum. Average frames tell whether large ones came, passed the switch whole, and were segmented."""
    for attempt in range(ATTEMPTS):
        short = transfer_once(party, source, target)
        if not short:
            return
        print(f"attempt {attempt}: {short}")
    pytest.fail(short)


def transfer_once(party: World, source: str, target: str) -> str:
    """What was too short to have been large frames; TCP that lost segments sends short ones for a while."""
    seats = {"tx": party.seats[source], "rx": party.seats[target]}
    ports = {"rx": port_of(party, source), "tx": port_of(party, target)}
    seen = {way: device_counters(seat, way) for way, seat in seats.items()}
    counted = {way: party.switch.statistics(port) for way, port in ports.items()}
    finish(transfer(party.seats[source], party.seats[target], BLOCK))
    sent, got = (average(seen[way], device_counters(seats[way], way)) for way in ("tx", "rx"))
    large = source in SENDS_LARGE, source in SENDS_LARGE and target in TAKES_LARGE
    assert large[0] or sent <= FRAME, "what the sender's device counted"
    assert large[1] or got <= FRAME, "what the receiver's device counted"
    if (large[0] and sent <= FRAME) or (large[1] and got <= FRAME):
        return f"{sent} bytes a frame sent, {got} received"
    if not isinstance(party.switch, Switch) or not large[1]:
        return ""  # the stand-in's counters come late
    for way, port in ports.items():

        def moved(way: str = way, port: str = port) -> tuple[int, int]:
            now, before = party.switch.statistics(port), counted[way]
            return now[f"{way}_bytes"] - before[f"{way}_bytes"], now[f"{way}_packets"] - before[
                f"{way}_packets"
            ]

        until(lambda moved=moved: moved()[0] > BLOCK, f"all is in the counters of port {port}")
        size, packets = moved()
        if size / packets <= FRAME:
            return f"{way} of port {port}: {size} bytes in {packets} packets"
    return ""


def test_jumbo_frames(party: World) -> None:
    """With MTU 9,000 frames of that size pass between devices with and without offloads."""
    if not isinstance(party.switch, Switch):
        pytest.skip("the stand-in makes its memory pool anew for another MTU")
    names = ("tso", "packed", "plain")
    for name in names:
        party.switch.vsctl("set", "Interface", name, "mtu_request=9000")
        seat = party.seats[name]
        assert isinstance(seat, GuestSeat)
        seat.run(f"ip link set dev {seat.device} mtu 9000")
    for source, target in (("tso", "plain"), ("plain", "packed")):
        address = party.seats[target].address
        text = party.seats[source].run(f"ping -c 3 -s 8900 -W 10 {address}")
        assert text.count("8908 bytes from") == 3
        finish(transfer(party.seats[source], party.seats[target], BLOCK))
    for name in names:
        party.switch.vsctl("clear", "Interface", name, "mtu_request")
        party.seats[name].run(f"ip link set dev {party.seats[name].device} mtu 1500")
