"""Two QEMU guests, each on one vhost-user device, ping each other and carry TCP. Needs no root; see test_qemu_*.py."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from peers import need
from peers.backend import Backend
from peers.guest import Guest, Nic, mac_address
from peers.netns import unique

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

GUEST, OTHER = "10.77.0.1", "10.77.0.2"


@pytest.fixture(autouse=True)
def _needed() -> None:
    need.need_program("setpriv")
    need.need_guest()


def both_modes(backend: Backend, bridge: str, place: Path, port: str, number: int, *, listen: bool) -> Nic:
    """Add a vhost-user port and describe the guest's end of it."""
    client = place / f"{port}.sock" if listen else None
    return Nic(backend.add_vhost(bridge, port, number, client=client), mac_address(number), listen=listen)


def test_guest_pings_guest(backend: Backend, place: Path, stack: ExitStack) -> None:
    """One guest on a socket of the switch, with two queues; the other on QEMU's, without mergeable buffers.

    Needs no root.
    """
    bridge = unique("br")
    backend.add_bridge(bridge)
    nics = [
        replace(both_modes(backend, bridge, place, "vg1", 1, listen=False), queues=2),
        replace(both_modes(backend, bridge, place, "vg2", 2, listen=True), options="mrg_rxbuf=off"),
    ]
    # Both boot at the same time: one after the other would take twice as long on two cores.
    first, second = (stack.enter_context(Guest(place, [nic], name=f"g{at}")) for at, nic in enumerate(nics))
    for guest, address in ((first, GUEST), (second, OTHER)):
        guest.wait_ready()
        guest.set_address("eth0", f"{address}/24")
    first.wait_ping(OTHER)
    assert first.ping(OTHER, count=3) == 3
    assert second.ping(GUEST, count=3) == 3
    # The pipe keeps nc's input open: at its end nc would close its side, and the sender stop in the middle.
    second.run(
        "mkfifo /run/open; exec 9<>/run/open; "
        "(nc -l -p 5001 <&9 > /run/got; md5sum < /run/got > /run/sum) >&- 2>&- &"
    )
    first.run(
        "i=0; while [ $i -lt 4096 ]; do printf 0123456789abcdef; i=$((i + 1)); done > /run/body; "
        f"nc -w 10 {OTHER} 5001 < /run/body"
    )
    _, sent = first.run("md5sum < /run/body")
    _, got = second.run("while [ ! -s /run/sum ]; do sleep 0.1; done; cat /run/sum", seconds=30)
    assert got == sent
