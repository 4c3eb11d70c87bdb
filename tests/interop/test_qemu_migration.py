"""A guest moves between two QEMU processes, and ports, under traffic: its memory is whole, few packets are lost."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from peers.guest import Machine
from peers.machine import BEHIND_IOMMU
from peers.seats import GuestSeat, Held, finish, transfer
from peers.switch import Switch, total
from peers.wait import DeadlineError, until
from qemu_world import Port, World, world

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(900)]

UDP = 7100
PERIOD_US = 2000
"""From one datagram to the next."""
KINDS = {
    # Without GUEST_ANNOUNCE the switch is asked to announce the guest by RARP; with it the guest does it.
    "split": ("guest_announce=off", False),
    "packed": ("packed=on", False),
    "iommu": (BEHIND_IOMMU, True),
}
FIRST, SECOND = "from", "to"


@pytest.fixture(params=KINDS)
def moving(request: pytest.FixtureRequest) -> Iterator[World]:
    """A guest on the first of two ports; on one the switch listens, on the other QEMU does."""
    options, iommu = KINDS[request.param]
    # The stand-in counts nothing on ports that it listens on.
    first = Port(listen="VS_STANDIN" in os.environ, options=options)
    with world({FIRST: first}, Machine(megabytes=256, iommu=iommu), local=True) as made:
        other = replace(made.add_port(SECOND, Port(listen=True, options=options)), mac=made.nics[FIRST].mac)
        made.nics[SECOND] = other
        seat = made.seats[FIRST]
        assert isinstance(seat, GuestSeat)
        # Nobody is to say anything by himself: each knows the other's address.
        host_mac = made.host.run(f"cat /sys/class/net/{made.bridge}/address").strip()
        made.host.run(f"ip neigh replace {seat.address} lladdr {other.mac} dev {made.bridge} nud permanent")
        seat.run(f"arp -s {made.host.address} {host_mac}")
        seat.guest.run("echo 65536 65536 65536 > /proc/sys/net/ipv4/udp_mem")
        seat.wait_ping(made.host.address)
        yield made


def move(made: World, source: str, target: str) -> dict[str, int]:
    """Migrate; the guest stays until much has been sent to it that was not in the first copy of its memory."""
    assert made.guest is not None

    def meanwhile() -> None:
        if isinstance(made.switch, Switch):
            names = made.switch.vsctl("get", "Interface", source, "status:feature_names")
            assert "log_all" in names
        before = made.switch.statistics(source).get("tx_packets", 0)
        until(
            lambda: made.switch.statistics(source).get("tx_packets", 0) > before + 300,
            f"more is sent to port {source}",
        )

    account = made.guest.migrate([made.nics[target]], meanwhile)
    return {key: account[key] for key in ("total-time", "downtime")}


def received(made: World, port: str) -> float:
    """Packets that came from the guest, as of now, which a row of the database is not."""
    if not isinstance(made.switch, Switch):
        return 0
    return total(made.switch.metrics(), "vs_port_receive_packets_total", port=port)


def queued(seat: GuestSeat) -> int:
    """Bytes that wait in the guest's socket, -1 without one; asked without a packet on its NIC."""
    for line in seat.run("cat /proc/net/udp").splitlines()[1:]:
        words = line.split()
        if int(words[1].split(":")[1], 16) == UDP:
            return int(words[4].split(":")[1], 16)
    return -1


def drops(made: World) -> str:
    """What the switch has dropped at both ports, by reason."""
    if not isinstance(made.switch, Switch):
        return ""
    samples = made.switch.metrics().get("vs_port_drops_total", [])
    return ", ".join(
        f"{labels['port']} {labels.get('reason', '')} {int(value)}"
        for labels, value in samples
        if value and labels["port"] in (FIRST, SECOND)
    )


def report(
    made: World, capsys: pytest.CaptureFixture[str], what: str, found: Held, account: dict[str, int]
) -> None:
    """Say how many were lost, and why."""
    with capsys.disabled():
        print(
            f"\nmigration, {what}: down {account['downtime']} of {account['total-time']} ms, "
            f"{found.received} datagrams arrived, {found.missing} lost in {found.gaps} gaps (longest {found.longest}), "
            f"{found.late} twice, {found.corrupt} damaged; dropped so far: {drops(made) or 'none'}"
        )


def test_guest_moves_there_and_back(moving: World, capsys: pytest.CaptureFixture[str]) -> None:
    """First a silent guest, whose memory is written by the switch alone; then one that talks itself."""
    host, seat = moving.host, moving.seats[FIRST]
    assert isinstance(seat, GuestSeat)
    held = seat.start(f"exec probe hold {UDP} held")
    until(lambda: queued(seat) >= 0, "the guest's socket is there")
    stream = host.start(f"exec probe stream {seat.address} {UDP} 1400 {PERIOD_US}")
    until(lambda: queued(seat) > 0, "datagrams reach the guest")
    sent = received(moving, FIRST)
    account = move(moving, FIRST, SECOND)
    arrived = queued(seat)
    try:
        until(lambda: queued(seat) > arrived + 100_000, "datagrams reach the guest on its new port")
    except DeadlineError as error:
        raise DeadlineError(f"{error}; {arrived} bytes queued; dropped: {drops(moving)}") from None
    assert received(moving, FIRST) == sent, "the guest was not silent"
    stream.stop()
    seat.run("touch held")
    found = Held.parse(held.wait())
    report(moving, capsys, "to the guest", found, account)
    assert found.corrupt == 0
    assert found.first == 0

    held = host.start(f"exec probe hold {UDP} held")
    stream = seat.start(f"exec probe stream {host.address} {UDP} 1400 {PERIOD_US}")
    flows = [transfer(host, seat, 1 << 18, pause=0.05), transfer(seat, host, 1 << 18, pause=0.05)]
    account = move(moving, SECOND, FIRST)
    seat.wait_ping(host.address)
    finish(*flows)
    stream.stop()
    host.run("touch held")
    found = Held.parse(held.wait())
    report(moving, capsys, "from the guest", found, account)
    assert found.corrupt == 0
    assert host.ping(seat.address) == 3
