"""What every port type must do, the same for all: bytes, ledgers, waking, stopping."""

import select

import pytest
from fakes.wire import frame
from outsides import OTHER, UNDER_TEST

from vswitchd.datapath import dp
from vswitchd.ports.base import PortConfig

LENGTHS = [14, 15, 60, 64, 191, 192, 193, 256, 1500, 1514, 2047, 4096, 9014]


def take_other(box, n):
    out = []

    def enough():
        out.extend(iter(box.other.take, None))
        return len(out) >= n

    box.until(enough, f"{n} frames out of the other port")
    return out


def closes(box):
    """No packet of any port is without a fate."""
    return all(port.counters().closes for port in box.dp.ports.values())


@pytest.mark.parametrize("length", LENGTHS)
def test_frames_come_in_as_they_are(outside, length):
    frames = [frame(length, seed) for seed in range(3)]
    for data in frames:
        outside.send(data)
    assert take_other(outside.box, 3) == frames
    counters = outside.handle.counters()
    assert (counters.rx_packets, counters.rx_bytes, counters.rx_forwarded) == (3, 3 * length, 3)
    assert closes(outside.box)


@pytest.mark.parametrize("length", LENGTHS)
def test_frames_go_out_as_they_are(outside, length):
    frames = [frame(length, seed) for seed in range(3)]
    for data in frames:
        assert outside.box.other.feed(data)
    came = outside.collect(3)
    assert [data[:length] for data in came] == frames
    assert {bytes(data[length:]) for data in came} <= {b"", bytes(max(0, outside.shortest - length))}
    counters = outside.handle.counters()
    assert (counters.tx_offered, counters.tx_packets, counters.tx_bytes) == (3, 3, 3 * length)
    assert closes(outside.box)


def test_groups_that_watch_the_port_find_it_live(outside):
    """Fast failover looks at the port's own word, which the driver keeps right."""
    to_port = dp.BucketSpec((dp.output(UNDER_TEST),), watch_port=UNDER_TEST)
    outside.box.bridge.set_group(1, 3, [to_port, dp.BucketSpec((dp.drop("runt"),), watch_port=OTHER)])
    rule = dp.RuleSpec(0, 20, (("IN_PORT", OTHER, 0xFFFFFFFF),), apply=(dp.group(1),))
    outside.box.bridge.add_rule(rule)
    outside.box.bridge.commit()
    assert outside.box.other.feed(frame(64))
    assert outside.collect(1) == [frame(64)]


def test_more_than_a_batch_keeps_its_order(outside):
    frames = [frame(64 + seed, seed) for seed in range(100)]
    for data in frames:
        outside.send(data)
    assert take_other(outside.box, 100) == frames
    for data in frames:
        assert outside.box.other.feed(data)
    assert outside.collect(100) == frames
    assert closes(outside.box)


def test_a_frame_made_longer_by_a_tag_goes_out_whole(outside):
    """The head moved, the tail is borrowed: both are sent."""
    actions = (dp.push_vlan(0x8100), dp.set_field("VLAN_VID", 0x1007), dp.output(UNDER_TEST))
    outside.box.bridge.add_rule(dp.RuleSpec(0, 20, (("IN_PORT", OTHER, 0xFFFFFFFF),), apply=actions))
    outside.box.bridge.commit()
    data = frame(1500)
    assert outside.box.other.feed(data)
    assert outside.collect(1) == [data[:12] + b"\x81\x00\x00\x07" + data[12:]]


def test_a_runt_is_refused_by_name(outside):
    runt = frame(14)[:13]
    if not outside.runts:
        with pytest.raises(OSError, match="Invalid argument"):
            outside.send(runt)
        outside.box.dp.poll()
        assert outside.handle.counters().rx_packets == 0
        return
    outside.send(runt)
    outside.send(frame(60))
    assert take_other(outside.box, 1) == [frame(60)]
    names = [port.counters().rx_drops for port in outside.box.dp.ports.values()]
    assert {"runt": 1} in names
    assert closes(outside.box)


def test_a_frame_longer_than_the_port_takes_is_dropped_by_name(outside):
    bounded = outside.max_frame is not None
    big, small = frame(outside.max_frame + 1 if bounded else 65000), frame(100)
    assert outside.box.other.feed(big)
    assert outside.box.other.feed(small)
    want = [small] if bounded else [big, small]
    assert outside.collect(len(want)) == want
    counters = outside.handle.counters()
    assert counters.tx_drops == ({"mtu_exceeded": 1} if bounded else {})
    assert counters.tx_offered == 2
    assert closes(outside.box)


def test_a_full_receiver_loses_frames_by_name_only(outside):
    """Nobody takes what is sent: offered = sent + drops all the same."""
    total, data = 0, frame(1500)
    for _ in range(3):
        while outside.box.other.feed(data):
            total += 1
        outside.box.until(lambda: outside.handle.counters().tx_offered == total, "all offered")  # noqa: B023
    counters = outside.handle.counters()
    assert counters.tx_offered == total == counters.tx_packets + sum(counters.tx_drops.values())
    assert closes(outside.box)


def test_a_sleeping_core_is_woken(polled):
    """Armed and empty: the descriptor is quiet. A frame comes: it is readable, until the frame is taken."""
    box, handle = polled.box, polled.handle.cdata
    box.dp.poll()
    assert dp.lib.vs_port_test_arm(handle, 0) == 0
    fd = dp.lib.vs_port_test_rx_fd(handle, 0)
    assert not select.select([fd], [], [], 0)[0]
    polled.send(frame(60))
    assert select.select([fd], [], [], 10)[0]
    dp.lib.vs_port_test_disarm(handle, 0)
    assert take_other(box, 1) == [frame(60)]
    assert dp.lib.vs_port_test_arm(handle, 0) == 0
    assert not select.select([fd], [], [], 0)[0]


def test_arming_looks_once_more(polled):
    """A frame that came before arming is not slept over: arm says so, or the descriptor is readable."""
    handle = polled.handle.cdata
    polled.send(frame(60))
    busy = dp.lib.vs_port_test_arm(handle, 0)
    fd = dp.lib.vs_port_test_rx_fd(handle, 0)
    assert busy == 1 or select.select([fd], [], [], 10)[0]
    dp.lib.vs_port_test_disarm(handle, 0)
    assert take_other(polled.box, 1) == [frame(60)]


def test_status_says_up(outside):
    status = outside.port.status()
    assert status.link_up
    assert status.admin_up
    assert status.info["driver_name"]
    assert status.mtu >= 1500


def test_the_same_configuration_applies_in_place(outside):
    assert outside.port.reconfigure(outside.port.config)
    other = PortConfig("another", outside.port.config.type, outside.port.config.options)
    assert not outside.port.reconfigure(other)


def test_stopping_twice_is_harmless(outside):
    outside.box.inside(outside.port.stop)
    outside.box.inside(outside.port.stop)
    outside.box.dp.detach(outside.handle)
    assert outside.box.other.feed(frame(60))
    outside.box.until(lambda: outside.box.other_handle.counters().rx_drops, "a drop with a name")
    assert closes(outside.box)


def test_a_core_forwards_and_wakes(live):
    """With a polling core that sleeps at once when idle."""
    box = live.box
    box.dp.set_idle_sleep(0)
    box.dp.set_cores([-1])
    for seed in range(20):
        box.until(lambda: box.dp.core_stats()[0].sleeps > 0, "the core sleeps")
        live.send(frame(300, seed))
        assert take_other(box, 1) == [frame(300, seed)]
        assert box.other.feed(frame(400, seed))
        assert live.collect(1) == [frame(400, seed)]


def test_a_port_is_removed_under_traffic(live):
    """The core is in the middle of it; the rest of the switch goes on."""
    box = live.box
    third, _ = box.add("third", "test", 3)
    box.dp.set_cores([-1])
    for seed in range(300):
        live.send(frame(300, seed)) if seed < 100 else None
        box.other.feed(frame(400, seed))
        if seed == 150:
            box.inside(live.port.stop)
            box.dp.detach(live.handle)
    box.bridge.add_rule(dp.RuleSpec(0, 30, (("IN_PORT", OTHER, 0xFFFFFFFF),), apply=(dp.output(3),)))
    box.bridge.commit()
    box.until(lambda: box.other.feed(frame(500)), "room in the other port")
    box.until(lambda: frame(500) in iter(third.take, None), "a frame of the rest of the switch")
    box.until(lambda: closes(box), "the ledgers close")
