"""A QEMU guest lives through options that were changed while it ran, and through the restart of the switch after that."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from peers import need
from peers.guest import Guest, Nic, mac_address
from peers.netns import NetNs, unique
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(400)]
GUEST, OTHER = "10.77.0.1", "10.77.0.2"
LESS = (
    "options:features-off=mrg_rxbuf,event_idx,in_order",
    "options:protocol-features-off=configure_mem_slots",
    "options:vhost-max-queue-pairs=1",
)


def test_a_guest_keeps_what_it_negotiated(place: Path, stack: ExitStack) -> None:
    """QEMU gives up on a back-end that comes back with fewer features or queues than its guest has."""
    need.need_root()
    need.need_program("setpriv")
    need.need_guest()
    bridge = unique("br")
    switch = stack.enter_context(Switch(place / "state"))
    switch.add_bridge(bridge)
    nics = [
        Nic(switch.add_vhost(bridge, "vg1", 1), mac_address(1), listen=False, queues=2),
        Nic(switch.add_vhost(bridge, "vg2", 2, client=place / "vg2.sock"), mac_address(2), listen=True),
    ]
    host = stack.enter_context(NetNs())
    switch.add_device(bridge, host.add_veth(f"{OTHER}/24"), 3)
    guest = stack.enter_context(Guest(place, nics))
    guest.wait_ready(seconds=200)

    def features(port: str) -> str:
        return switch.vsctl("get", "Interface", port, "status:feature_names")

    for at, port in enumerate(("vg1", "vg2")):
        guest.set_address(f"eth{at}", f"{GUEST}/24")
        guest.wait_ping(OTHER)
        before = features(port)
        assert "mrg_rxbuf" in before
        switch.vsctl("set", "Interface", port, *LESS)
        switch.crash_and_restart()
        guest.wait_ping(OTHER)
        assert guest.ping(OTHER, count=3) == 3
        until(lambda name=port, was=before: features(name) == was, "the guest has what it had")  # type: ignore[misc]
        guest.run(f"ip addr flush dev eth{at}")
