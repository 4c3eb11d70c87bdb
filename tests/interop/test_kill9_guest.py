"""kill -9 of the daemon under a guest's traffic: the guest, which knows of nothing, gets every buffer back once, and goes on."""

import random
import socket
import time

import pytest
from fakes.lasting_guest import LastingGuest
from peers.netns import unique
from peers.switch import Switch
from peers.wait import until

pytestmark = pytest.mark.interop
LIVES = 3
ECHO = "in_port=1,actions=in_port\n"


def dial(path):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def traffic(guest, frames):
    goal, deadline = guest.arrived + frames, time.monotonic() + 60
    while guest.arrived < goal:
        guest.turn()
        assert time.monotonic() < deadline, "no traffic any more"


@pytest.mark.parametrize(
    ("packed", "inflight"), [(False, True), (True, False), (True, True)], ids=["split", "packed", "inflight"]
)
def test_guest_outlives_switches(place, packed, inflight):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    guest = LastingGuest(seed, packed=packed, inflight=inflight, mergeable=True)
    bridge = unique("br")
    try:
        with Switch(place / "s") as switch:
            switch.add_bridge(bridge, secure=True)
            path = switch.add_vhost(bridge, "vu0", 1)
            for life in range(LIVES):
                guest.connect(until(lambda: dial(path), "the port's socket"))
                switch.set_flows(bridge, ECHO)
                traffic(guest, dice.randint(50, 400))
                if life < LIVES - 1:
                    for _ in range(dice.randrange(20)):
                        guest.turn()
                    switch.crash_and_restart()
            until(lambda: (guest.listen(), not guest.offered[1])[1], "all frames of the guest are taken")
            guest.stop()
    finally:
        guest.close()
