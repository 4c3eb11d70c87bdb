"""Meters when packets run through them (5.7): rates, which band applies, counters, the controller's meter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

KBPS, PKTPS, BURST = 1, 2, 4
DROP, REMARK = 1, 2
CONTROLLER, OFPM_CONTROLLER = 0xFFFFFFFD, 0xFFFFFFFE
FRAME = bytes(
    Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / IP(src="10.0.0.1", dst="10.0.0.2", tos=10 << 2) / UDP()
)  # fmt: skip


class Metered(SwitchBox):
    """Port 1 to port 2 through meter 1; the time is the test's."""

    def __init__(self) -> None:
        super().__init__(2)
        self.ms = 1_000_000
        self.dp.set_time_ms(self.ms)
        self.rule(1, (("IN_PORT", 1, 0xFFFFFFFF),), dp.meter(1, remarks=True), dp.output(2))

    def meter(self, flags: int, *bands: dp.BandSpec, number: int = 1) -> None:
        self.bridge.set_meter(number, flags, bands)
        self.bridge.commit()

    def sleep(self, ms: int) -> None:
        self.ms += ms
        self.dp.set_time_ms(self.ms)

    def passed(self, *frames: bytes) -> list[bytes]:
        return self.send(1, *frames).get(2, [])

    def offer(self, a_millisecond: list[bytes], ms: int = 1000) -> list[bytes]:
        """The same frames each millisecond; what came through."""
        out = []
        for _ in range(ms):
            out += self.passed(*a_millisecond)
            self.sleep(1)
        return out


@pytest.fixture
def box() -> Iterator[Metered]:
    b = Metered()
    yield b
    b.assert_ledgers()
    b.close()


def drop(rate: int, burst: int = 0) -> dp.BandSpec:
    return dp.BandSpec(DROP, rate, burst)


# ---- rates


@pytest.mark.parametrize("rate", [700, 1000, 3333])
def test_packets_a_second(box: Metered, rate: int) -> None:
    box.meter(PKTPS, drop(rate))
    passed = len(box.offer([FRAME] * 5))
    assert passed == pytest.approx(rate, rel=0.01)
    (total, _), (over, _) = box.bridge.meter_stats(1, 1)
    assert (total, over) == (5000, 5000 - passed)
    assert box.ports[1].counters().rx_drops == {"meter": 5000 - passed}


def test_kilobits_a_second_of_frames_of_many_sizes(box: Metered) -> None:
    box.meter(KBPS, drop(10_000))
    sizes = [64, 1500, 400, 9000, 60]
    passed = box.offer([FRAME.ljust(size, b"\0") for size in sizes], 500)
    assert sum(map(len, passed)) * 8 == pytest.approx(
        10_000_000 / 2, rel=0.02
    )  # the burst is 1 % of half a second
    (_, total), (_, over) = box.bridge.meter_stats(1, 1)
    assert total - over == sum(map(len, passed))
    assert total == 500 * sum(sizes)


def test_a_rate_below_the_size_of_a_packet(box: Metered) -> None:
    box.meter(KBPS, drop(1))  # a frame of 125 bytes a second
    out = []
    for _ in range(100):
        out += box.passed(*[bytes(FRAME.ljust(125, b"\0"))] * 3)
        box.sleep(1000)
    assert len(out) == 100


def test_the_burst_is_what_may_come_at_once(box: Metered) -> None:
    box.meter(PKTPS | BURST, drop(10, 40))
    assert len(box.passed(*[FRAME] * 100)) == 40
    box.sleep(1000)
    assert len(box.passed(*[FRAME] * 100)) == 10
    box.sleep(100_000)
    assert len(box.passed(*[FRAME] * 100)) == 40
    box.meter(PKTPS | BURST, drop(10, 0))
    assert len(box.passed(*[FRAME] * 100)) == 1


def test_the_longest_burst_of_the_lowest_rate_overflows_nothing(box: Metered) -> None:
    box.meter(KBPS | BURST, drop(1, 0xFFFFFFFF))
    assert len(box.passed(*[FRAME] * 100)) == 100
    box.meter(PKTPS | BURST, drop(0xFFFFFFFF, 0xFFFFFFFF))
    assert len(box.passed(*[FRAME] * 100)) == 100


# ---- bands


def test_the_highest_rate_that_is_exceeded_applies(box: Metered) -> None:
    box.meter(PKTPS | BURST, drop(10, 10), dp.BandSpec(DROP, 30, 20))
    assert len(box.passed(*[FRAME] * 50)) == 10
    counts = [packets for packets, _ in box.bridge.meter_stats(1, 2)]
    assert counts == [50, 10, 30]  # in the order in which they were given


def test_below_a_drop_band_a_lower_rate_passes_as_it_is(box: Metered) -> None:
    box.meter(PKTPS, dp.BandSpec(REMARK, 1000, 0, 1), drop(2000))
    out = box.offer([FRAME] * 3)
    plain = out.count(FRAME)
    assert len(out) == pytest.approx(2000, rel=0.01)
    assert plain == pytest.approx(1000, rel=0.02)


def test_a_modified_meter_goes_on_counting_and_measures_anew(box: Metered) -> None:
    box.meter(PKTPS | BURST, drop(1, 2))
    assert len(box.passed(*[FRAME] * 5)) == 2
    box.meter(PKTPS | BURST, drop(1, 3))
    assert len(box.passed(*[FRAME] * 5)) == 3
    assert [packets for packets, _ in box.bridge.meter_stats(1, 1)] == [10, 2]
    box.meter(PKTPS)
    assert len(box.passed(*[FRAME] * 5)) == 5


def test_without_a_meter_packets_pass(box: Metered) -> None:
    assert len(box.passed(FRAME)) == 1
    with pytest.raises(dp.DatapathError):
        box.bridge.meter_stats(1, 1)


@pytest.mark.parametrize(
    "band", [drop(0), dp.BandSpec(3, 1), dp.BandSpec(REMARK, 1, 0, 0), dp.BandSpec(0xFFFF, 1)]
)
def test_bands_that_cannot_be(box: Metered, band: dp.BandSpec) -> None:
    with pytest.raises(dp.DatapathError):
        box.bridge.set_meter(1, PKTPS, [band])


# ---- the controller's


def test_the_controllers_meter_limits_packet_ins(box: Metered) -> None:
    box.rule(2, (), dp.output(CONTROLLER))
    box.meter(PKTPS | BURST, drop(10, 4), number=OFPM_CONTROLLER)
    assert box.send(1, *[FRAME] * 9) == {}
    assert len(box.dp.take_punts()) == 4
    assert box.ports[1].counters().rx_drops == {"meter": 5}
    box.bridge.remove_meter(OFPM_CONTROLLER)
    box.bridge.commit()
    box.send(1, *[FRAME] * 9)
    assert len(box.dp.take_punts()) == 9
