"""Traffic between the NICs of a guest and a host while something happens to the switch."""

from peers.seats import Held, finish, transfer
from peers.wait import until
from qemu_world import World

BLOCK = 1 << 14


def kill_under_traffic(party: World, *, times: int) -> None:
    """kill -9 while every NIC sends and receives: TCP goes on where it was, datagrams have a gap and nothing worse."""
    host, guests = party.host, party.guest_seats()
    held = {name: host.start(f"exec probe hold {7000 + at} held") for at, name in enumerate(guests)}
    streams = [
        seat.start(f"exec probe stream {host.address} {7000 + at} 1000 20000")
        for at, seat in enumerate(guests.values())
    ]
    flows = [transfer(host, seat, BLOCK, pause=1) for seat in guests.values()]
    flows += [transfer(seat, host, BLOCK, pause=1) for seat in guests.values()]
    for _ in range(times):
        before = {name: party.switch.statistics(name) for name in guests}

        def moves(before: dict[str, dict[str, int]] = before) -> bool:
            now = {name: party.switch.statistics(name) for name in before}
            return all(
                now[name].get(key, 0) > before[name].get(key, 0) + 20
                for name in before
                for key in ("rx_packets", "tx_packets")
            )

        until(moves, "each port sends and receives", seconds=120)
        party.switch.crash_and_restart()
        for seat in guests.values():
            seat.wait_ping(host.address)
    finish(*flows)
    for stream in streams:
        stream.stop()
    host.run("touch held")
    for name, job in held.items():
        found = Held.parse(job.wait())
        print(f"{name}: {found}")
        assert found.received > 0
        assert found.corrupt == 0
    assert party.guest is not None
    assert party.guest.run("dmesg -r | grep -E '^<[0-3]>' | grep -i -E 'virtio|net' || true")[1] == ""
