"""The load generator against the least switch there is (`vload --loop`), which loses, changes or swaps frames when it is told to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.load.build import program
from bench.load.client import Generator, GeneratorError

CORES = sorted(os.sched_getaffinity(0))


@contextmanager
def generator(directory: Path, *faults: str, **options: object) -> Iterator[Generator]:
    sockets = [directory / "left", directory / "right"]
    words = [f"--listen={path}" for path in sockets]
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    switch = subprocess.Popen([program(), "--loop", f"--core={CORES[0]}", *words, *faults], env=environment)
    try:
        with Generator(sockets, CORES[-1], huge=False, **options) as load:
            yield load
        switch.wait(10)
    finally:
        switch.kill()
        switch.wait()


def test_counts_are_exact_in_both_ways(tmp_path: Path) -> None:
    with generator(tmp_path) as load:
        load.traffic(0, 1, flows=100, count=1000)
        load.traffic(1, 0, flows=7, count=333, vary="five_tuple", size=1518, dist="random", latency=True)
        load.start()
        done = load.finish()
    assert [(s.sent, s.received) for s in done.streams] == [(1000, 1000), (333, 333)]
    assert (done.lost, done.corrupt, done.out_of_order, done.foreign, done.interrupts) == (0, 0, 0, 0, 0)
    assert done.streams[0].latency is None
    latency = done.streams[1].latency
    assert latency is not None
    assert latency.samples == 333
    assert 0 < latency.p50 <= latency.p99 <= latency.p999 <= latency.max


def test_what_is_lost_is_counted_also_at_the_end(tmp_path: Path) -> None:
    with generator(tmp_path, "--drop=100") as load:
        load.traffic(0, 1, count=1000)  # the 1000th, too: no later sequence number tells of it
        load.start()
        done = load.finish()
    assert (done.streams[0].sent, done.streams[0].received, done.lost, done.corrupt) == (1000, 990, 10, 0)


@pytest.mark.parametrize("words", [{}, {"vary": "l2"}, {"vlan": 5, "size": 68}, {"proto": "tcp"}])
def test_a_changed_address_is_seen_in_every_kind_of_frame(tmp_path: Path, words: dict[str, object]) -> None:
    with generator(tmp_path, "--corrupt=50") as load:
        load.traffic(0, 1, flows=300, count=1000, **words)
        load.start()
        done = load.finish()
    assert (done.streams[0].received, done.lost, done.corrupt) == (1000, 0, 20)


def test_swapped_frames_are_out_of_order_and_not_lost(tmp_path: Path) -> None:
    with generator(tmp_path, "--swap=64") as load:
        load.traffic(0, 1, count=1024)
        load.start()
        done = load.finish()
    assert (done.streams[0].received, done.lost, done.corrupt) == (1024, 0, 0)
    assert done.out_of_order == 16


def test_a_device_that_keeps_no_order_is_not_promised_any(tmp_path: Path) -> None:
    with generator(tmp_path, in_order=False, mergeable=False, ring=64) as load:
        load.traffic(0, 1, flows=1_000_000, dist="zipf", count=5000)
        load.start()
        done = load.finish()
    assert (done.streams[0].received, done.lost, done.corrupt, done.out_of_order) == (5000, 0, 0, 0)


def test_replayed_frames_are_foreign_and_single_frames_are_timed(tmp_path: Path) -> None:
    (tmp_path / "frames").write_text("02" * 60 + "\n" + "03" * 300 + "\n")
    with generator(tmp_path) as load:
        woken = load.wake(0, 1, n=5, gap_us=10)
        assert (woken.n, woken.lost) == (5, 0)
        assert 0 < woken.p50 <= woken.max
        load.replay(0, tmp_path / "frames", rate=1e6)
        load.start()
        done = load.stop()
    assert done.foreign == done.streams[1].sent
    assert done.lost == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("traffic 0 2", "usage: traffic"),
        ("traffic 0 1 size=63", "size must be 64"),
        ("traffic 0 1 size=5000", "--max-frame"),
        ("traffic 0 1 colour=red", "no colour="),
        ("traffic 0 1 tuples=/nowhere", "cannot be read"),
        ("traffic 0 1 tso=on proto=tcp", "tso needs --tso"),
        ("replay 0 /nowhere", "cannot be read"),
        ("measure 1", "not started"),
        ("start", "no stream"),
        ("dance", "no command dance"),
    ],
)
def test_bad_commands_are_refused_by_name(refusing: Generator, line: str, words: str) -> None:
    with pytest.raises(GeneratorError, match=words):
        refusing.command(line)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    with generator(tmp_path_factory.mktemp("load")) as load:
        yield load


def test_the_histogram_is_right_to_three_percent(tmp_path: Path) -> None:
    """Against quantiles of the sorted samples, over eleven powers of two."""
    import ctypes

    source = tmp_path / "quantile.c"
    source.write_text(
        '#include "histogram.h"\n'
        "double quantile(const uint64_t *v, unsigned n, double share)\n"
        "{ static struct load_histogram h; h = (struct load_histogram){0};\n"
        "  for (unsigned i = 0; i < n; i++) load_histogram_add(&h, v[i]); return load_histogram_quantile(&h, share); }\n"
    )
    library = tmp_path / "quantile.so"
    include = Path(program.__code__.co_filename).parent
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-I{include}", source, "-o", library], check=True, env=environment
    )
    quantile = ctypes.CDLL(str(library)).quantile
    quantile.restype = ctypes.c_double
    for samples in ([0], [5, 5, 6], [31, 32, 33], [7 * i * i % 65_521 for i in range(1, 2001)], [1 << 40]):
        array = (ctypes.c_uint64 * len(samples))(*samples)
        for share in (0.0, 0.5, 0.99, 0.999, 1.0):
            found = quantile(array, len(samples), ctypes.c_double(share))
            rank = max(0, -int(-share * len(samples) // 1) - 1)
            assert found == pytest.approx(sorted(samples)[rank], rel=1 / 32), (samples[:3], share)
