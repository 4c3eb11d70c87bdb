"""The life of split rings: start and stop, notifications, spreading over cores."""

import os
import threading

import pytest
from fakes.loose_port import StartError, eventfd_count
from fakes.mock_guest import EVENT_IDX, MODERN, Guest, Region, Ring, bits
from vhostuser_frames import frame

from vswitchd.datapath.core import lib

EVENTS = MODERN | bits(EVENT_IDX)


@pytest.mark.parametrize("features", [MODERN, EVENTS])
def test_base_is_exact_after_a_stop(loose, features):
    port = loose(features)
    ring = Ring(port.guest, 64, features, base=65530)
    port.start(1, ring)
    for i in range(40):
        ring.send(frame(60, i))
    assert len(port.rx(n=17)) == 17
    assert port.stop(1) == (65530 + 17) & 0xFFFF
    assert ring.used_idx() == (65530 + 17) & 0xFFFF
    assert port.rx() == []
    port.start(1, ring, base=(65530 + 17) & 0xFFFF)
    assert port.rx() == [frame(60, i) for i in range(17, 40)]


def test_start_believes_used_idx(loose):
    """A front-end that lost us cannot know the base; the used index in memory is right."""
    port = loose()
    ring = Ring(port.guest, 64)
    port.start(1, ring)
    for i in range(5):
        ring.send(frame(60, i))
    port.rx()
    port.stop(1)
    ring.send(frame(60, 9))
    port.start(1, ring, base=0)
    assert port.rx() == [frame(60, 9)]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"size": 0}, "EINVAL"),
        ({"size": 3}, "EINVAL"),
        ({"size": 65536}, "EINVAL"),
        ({"desc": 1}, "EFAULT"),
        ({"avail": 0x7F0000000000 + (8 << 20) - 8}, "EFAULT"),
        ({"used": 0x7F0000000000 + (8 << 20)}, "EFAULT"),
        ({"used": 2**64 - 1}, "EFAULT"),
        ({"desc": 0x7F0000001008}, "EINVAL"),
        ({"avail": 0x7F0000001001}, "EINVAL"),
        ({"used": 0x7F0000001002}, "EINVAL"),
    ],
)
def test_bad_ring_does_not_start(loose, changed, error):
    import errno

    port = loose()
    with pytest.raises(StartError) as caught:
        port.start(1, Ring(port.guest, 64), **changed)
    assert caught.value.args[0] == -getattr(errno, error)
    assert port.info(1).size == 0


def test_ring_must_fit_one_region(loose):
    guest = Guest([Region(0, 0x10000, 0x10000), Region(0x10000, 0x20000, 0x10000)])
    port = loose(guest=guest)
    ring = Ring(guest, 64)
    with pytest.raises(StartError):
        port.start(1, ring, desc=0x20000 - 64)


def test_call_is_signalled_and_suppressed(loose, eventfd):
    port = loose()
    out, back, call = Ring(port.guest, 16), Ring(port.guest, 16), eventfd()
    port.start(1, out, call=call)
    port.start(0, back, call=call)
    assert eventfd_count(call) == 2  # once for each start
    out.send(frame(60))
    port.rx()
    assert eventfd_count(call) == 1
    back.post(200)
    port.tx(frame(60))
    assert eventfd_count(call) == 1
    out.set_avail_flags(1)
    out.send(frame(60))
    port.rx()
    assert eventfd_count(call) == 0
    assert (port.info(1).stats.kicks_sent, port.info(1).stats.kicks_suppressed) == (1, 1)


def test_event_idx_calls_when_used_passes_it(loose, eventfd):
    port = loose(EVENTS)
    ring, call = Ring(port.guest, 64, EVENTS, base=65534), eventfd()
    port.start(1, ring, call=call)
    assert eventfd_count(call) == 1
    signalled = []
    for i in range(8):  # the driver asks for a call when the fourth is used
        ring.set_used_event(65534 + 3)
        ring.send(frame(60, i))
        port.rx()
        signalled.append(eventfd_count(call))
    assert signalled == [0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("features", [MODERN, EVENTS])
def test_a_new_call_descriptor_tells_what_the_old_one_told_nobody(loose, eventfd, features):
    """QEMU starts the ring first, drops what came by the descriptor before, and gives the one that interrupts the guest then."""
    port = loose(features)
    ring, nobody, guest = Ring(port.guest, 16, features), eventfd(), eventfd()
    port.start(0, ring, call=nobody)
    for _ in range(2):
        ring.post(200)
    ring.set_used_event(0)  # the driver sleeps until the first buffer is used
    port.tx(frame(60), frame(60, 1))
    assert eventfd_count(nobody) > 0
    lib.vs_vhost_ring_set_call(port.handle, 0, guest)
    assert eventfd_count(guest) == 1
    lib.vs_vhost_ring_set_call(port.handle, 0, -1)
    assert (eventfd_count(nobody), eventfd_count(guest)) == (0, 0)


@pytest.mark.parametrize("features", [MODERN, EVENTS])
def test_a_start_tells_what_the_switch_before_did_not(loose, eventfd, features):
    """It may have died between the used index and the call."""
    port = loose(features)
    ring, call = Ring(port.guest, 16, features), eventfd()
    port.start(0, ring)  # no call descriptor: the driver hears nothing
    ring.post(200)
    ring.set_used_event(0)
    port.tx(frame(60))
    port.stop(0)
    port.start(0, ring, call=call)
    assert eventfd_count(call) == 1


def test_kicks_are_off_while_polling_and_on_while_asleep(loose, eventfd):
    port = loose()
    ring, kick = Ring(port.guest, 16), eventfd()
    port.start(1, ring, kick=kick)
    assert lib.vs_port_test_rx_fd(port.handle, 0) == kick
    assert ring.used_flags() == 1
    assert lib.vs_port_test_arm(port.handle, 0) == 0
    assert ring.used_flags() == 0
    ring.send(frame(60))
    os.eventfd_write(kick, 1)
    lib.vs_port_test_disarm(port.handle, 0)
    assert ring.used_flags() == 1
    assert eventfd_count(kick) == 0  # drained
    assert lib.vs_port_test_arm(port.handle, 0) == 1  # there is work: do not sleep
    port.rx()
    assert lib.vs_port_test_arm(port.handle, 0) == 0
    port.stop(1)
    assert lib.vs_port_test_rx_fd(port.handle, 0) == -1


def test_event_idx_arms_at_the_next_buffer(loose, eventfd):
    port = loose(EVENTS)
    ring = Ring(port.guest, 16, EVENTS)
    port.start(1, ring, kick=eventfd())
    for i in range(3):
        ring.send(frame(60, i))
    port.rx()
    assert lib.vs_port_test_arm(port.handle, 0) == 0
    assert ring.avail_event() == 3


def test_a_ring_without_kick_must_be_polled(loose):
    port = loose()
    assert lib.vs_port_test_arm(port.handle, 0) == 0
    port.start(1, Ring(port.guest, 16), kick=-1)
    assert lib.vs_port_test_arm(port.handle, 0) == 1


def test_cores_spread_over_running_transmit_rings(loose):
    port = loose()
    rings = {i: Ring(port.guest, 16) for i in (0, 2, 6)}
    for i, ring in rings.items():
        port.start(i, ring)
        for _ in range(4):
            ring.post(200)
    for core in range(6):
        port.tx(frame(60, core), core=core)
    assert [[f for _, f in r.received()] for r in rings.values()] == [
        [frame(60, 0), frame(60, 3)],
        [frame(60, 1), frame(60, 4)],
        [frame(60, 2), frame(60, 5)],
    ]
    port.stop(2)
    port.tx(frame(60, 1), core=1)
    assert [f for _, f in rings[6].received()] == [frame(60, 1)]
    assert lib.vs_port_n_rxq(port.handle) == 1
    port.start(5, Ring(port.guest, 16))
    assert lib.vs_port_n_rxq(port.handle) == 3


def test_a_call_descriptor_that_was_filled_and_set_to_block_holds_nobody(loose):
    """The front-end shares it, and may do both after we looked."""
    port = loose()
    ring = Ring(port.guest, 64)
    full = os.eventfd(0)
    os.eventfd_write(full, 0xFFFFFFFFFFFFFFFE)
    done = []

    def live():
        port.start(1, ring, call=full)
        ring.send(frame(60, 1))
        done.append(port.rx())
        lib.vs_vhost_ring_set_call(port.handle, 1, full)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    thread.join(20)
    held = thread.is_alive()
    os.eventfd_read(full)
    thread.join()
    os.close(full)
    assert not held
    assert done == [[frame(60, 1)]]
