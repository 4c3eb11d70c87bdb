"""Packets to be segmented that wait in a queue: they count as what they are on the wire, and come out as they went in."""

import pytest
from fakes.guest_box import GuestBox
from fakes.guest_pair import SENDS, TAKES
from fakes.offload_frames import partial, segmentable, segments
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from vswitchd.datapath import dp
from vswitchd.datapath.qos_spec import QosSpec

M = 1_000_000
STACK = (
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IP(src="10.1.2.3", dst="10.4.5.6", id=9)
    / TCP(sport=1, dport=2, flags="PA")
    / Raw(bytes(range(250)) * 240)
)


@pytest.fixture
def box():
    """Guest 2 sends; 1 is a test port, 3 a guest that takes everything."""
    box = GuestBox(1)
    box.ring = 4096
    box.dp.set_time_ms(1000)
    box.seat(2, SENDS | TAKES)
    box.seat(3, TAKES)
    box.post(100, 4096)
    yield box
    box.assert_ledgers()
    box.close()


def test_a_long_packet_costs_what_its_segments_cost(box):
    box.rule(1, (), dp.output(1))
    rate = 400 * M
    box.ports[1].set_qos(QosSpec(rate))
    frame, wish = segmentable(STACK, 536)
    cut = segments(STACK, 536)
    sent = []
    for ms in range(220):
        box.seats[2].send(frame, wish)
        box.dp.set_time_ms(1001 + ms)
        while box.dp.poll():
            pass
        sent.append(box.take().get(1, []))
        box.seats[2].out.take()
    frames = [f for ms in sent for f in ms]
    assert len(frames) % len(cut) == 0
    assert frames[: len(cut)] == cut
    steady = sum(len(f) for ms in sent[20:220] for f in ms)
    # A packet of 112 segments is 66 KB on the wire: 150 go in 200 ms, one more or less.
    assert steady * 8 * 5 == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("form", [segmentable, lambda stack, _: partial(stack)], ids=["segments", "sum"])
def test_a_guest_gets_its_header_with_what_waited(box, form):
    box.rule(1, (), dp.output(3))
    frame, wish = form(STACK if form is segmentable else STACK.__class__(bytes(STACK)[:1400]), 1400)
    before = box.through(2, frame, wish)
    box.seats[3].handle.set_qos(QosSpec(M))
    assert box.through(2, frame, wish) == before
    assert box.through(2, frame, wish) == {}
    box.dp.set_time_ms(100_000)
    while box.dp.poll():
        pass
    assert {3: box.seats[3].received()} == before


def test_a_guest_that_goes_while_packets_wait(box):
    box.rule(1, (), dp.output(3))
    frame, wish = partial(STACK.__class__(bytes(STACK)[:1400]))
    handle = box.seats[3].handle
    handle.set_qos(QosSpec(M))
    for _ in range(6):
        box.seats[2].send(frame, wish)
    while box.dp.poll():
        pass
    assert handle.waiting() == 5
    box.seats[3].port.stop(0)
    for ms in range(2000, 3000, 100):
        box.dp.set_time_ms(ms)
        box.dp.poll()
    assert handle.waiting() == 0
    assert handle.counters().tx_drops == {"not_ready": 5}
