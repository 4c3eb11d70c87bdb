"""How a disturbance is compared: neighbours, both orders, one switch at a time, one of them disturbed."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from bench import pairs
from bench.contenders import Layout
from bench.pairs import Pairs, compare, nothing
from bench.scenario import Traffic

TIMES = SimpleNamespace(pairs=(4, 0.04))


class FakeSwitch:
    layout = Layout(ports=3)

    def __init__(self):
        self.stands = self.disturbed = False

    def pids(self):
        return []

    def pause(self):
        self.stands = True

    def resume(self):
        self.stands = False

    def begin(self):
        assert not self.stands, "who stands still does not answer"

    def cycles(self):
        self.begin()
        return 200.0 if self.disturbed else 100.0


class FakeGenerator:
    """What a switch does that is disturbed is half; what stands still does nothing."""

    pid = 1

    def __init__(self, pair):
        self.pair, self.defined, self.turns = pair, [], []

    def traffic(self, source, sink, **options):
        self.defined.append((source, sink))
        return SimpleNamespace(number=len(self.defined) - 1)

    def measure(self, seconds):
        running = [which for which, one in enumerate(self.pair) if not one.stands]
        self.turns += running
        streams = [
            SimpleNamespace(
                stream=number,
                mpps=0.0
                if self.pair[number // 2].stands
                else 3.0
                if self.pair[number // 2].disturbed
                else 6.0,
            )
            for number in range(4)
        ]
        return SimpleNamespace(streams=streams, seconds=seconds)


@pytest.fixture
def pair(monkeypatch):
    monkeypatch.setattr(pairs, "pause", lambda _seconds: None)
    noise = SimpleNamespace(noise=lambda: {"others": 0.0, "stolen": 0.0})
    monkeypatch.setattr(pairs, "Clock", SimpleNamespace(read=lambda _pids: noise))
    return FakeSwitch(), FakeSwitch()


@pytest.fixture
def generator(pair):
    return FakeGenerator(pair)


@pytest.fixture
def plugged(pair, generator):
    return Pairs(*pair, generator, [Traffic(0, 1), Traffic(1, 0)])


def test_the_second_switch_has_the_same_traffic_at_its_own_ports(plugged, generator):
    assert generator.defined == [(0, 1), (1, 0), (3, 4), (4, 3)]


def test_one_runs_at_a_time_and_the_order_changes_from_pair_to_pair(plugged, generator, pair):
    plugged.row(TIMES)
    assert generator.turns == [0, 1, 1, 0] * 2
    assert not any(one.stands for one in pair)


def test_only_the_first_is_disturbed_and_only_in_its_turns(plugged, pair):
    entered = []

    @contextmanager
    def disturbance(seconds):
        entered.append(seconds)
        assert not pair[0].stands
        assert pair[1].stands
        pair[0].disturbed = True
        yield
        pair[0].disturbed = False

    figures, measured = plugged.row(TIMES, disturbance)
    assert len(entered) == len(measured) == TIMES.pairs[0]
    assert min(entered) > TIMES.pairs[1]
    assert (figures["mpps"], figures["mpps_alone"], figures["mpps_ratio"]) == (6.0, 12.0, 0.5)
    assert (figures["cycles"], figures["cycles_alone"], figures["cycles_ratio"]) == (200.0, 100.0, 2.0)


def test_left_alone_they_are_the_same(plugged):
    assert plugged.row(TIMES, nothing)[0]["mpps_ratio"] == 1.0


def test_the_ratio_is_the_median_of_neighbours_not_of_the_whole():
    slow_then_fast = compare("mpps", [9.0, 9.0, 18.0, 18.0, 9.0], [10.0, 10.0, 20.0, 20.0, 20.0])
    assert slow_then_fast["mpps_ratio"] == 0.9
    assert (slow_then_fast["mpps"], slow_then_fast["mpps_alone"]) == (9.0, 20.0)


def test_nothing_through_the_one_left_alone_is_a_failure():
    with pytest.raises(AssertionError, match="left alone"):
        compare("mpps", [1.0, 1.0], [0.0, 0.0])
