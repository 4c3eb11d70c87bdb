"""The MAC table with a virtual clock, against a dictionary, and under several threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitchd.datapath.dp import ffi, lib

A, B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def table(limit: int = 1024, ageing: int = 300) -> Any:
    t = lib.vs_mac_table_new(limit, ageing)
    assert t != ffi.NULL
    return ffi.gc(t, lib.vs_mac_table_free)


@pytest.fixture
def macs() -> Any:
    return table()


def stats(t: Any) -> Any:
    s = ffi.new("struct vs_mac_stats *")
    lib.vs_mac_stats(t, s)
    return s


def dump(t: Any, now: int, room: int = 4096) -> set[tuple[bytes, int, int, int]]:
    to = ffi.new("struct vs_mac_entry[]", room)
    n = lib.vs_mac_dump(t, to, room, now)
    return {(bytes(e.mac), e.vlan, e.port, e.age_s) for e in to[0 : min(n, room)]}


def test_learn_and_look_up(macs: Any) -> None:
    assert lib.vs_mac_lookup(macs, A, 1, 100) == 0
    lib.vs_mac_learn(macs, A, 1, 7, 100)
    assert lib.vs_mac_lookup(macs, A, 1, 100) == 7
    assert lib.vs_mac_lookup(macs, A, 2, 100) == 0, "another VLAN"
    assert lib.vs_mac_lookup(macs, B, 1, 100) == 0
    lib.vs_mac_learn(macs, A, 0xFFF, 9, 100)
    assert (lib.vs_mac_lookup(macs, A, 1, 100), lib.vs_mac_lookup(macs, A, 0xFFF, 100)) == (7, 9)
    assert (stats(macs).learned, stats(macs).entries, stats(macs).moved) == (2, 2, 0)


def test_move(macs: Any) -> None:
    lib.vs_mac_learn(macs, A, 1, 7, 100)
    lib.vs_mac_learn(macs, A, 1, 8, 101)
    assert lib.vs_mac_lookup(macs, A, 1, 101) == 8
    assert (stats(macs).learned, stats(macs).entries, stats(macs).moved) == (1, 1, 1)


def test_ageing(macs: Any) -> None:
    lib.vs_mac_learn(macs, A, 1, 7, 100)
    assert lib.vs_mac_lookup(macs, A, 1, 400) == 7, "exactly the ageing time"
    assert lib.vs_mac_lookup(macs, A, 1, 401) == 0
    assert dump(macs, 401) == set()
    lib.vs_mac_learn(macs, A, 1, 8, 500)
    assert lib.vs_mac_lookup(macs, A, 1, 500) == 8
    s = stats(macs)
    assert (s.learned, s.expired, s.moved, s.entries) == (2, 1, 0, 1)


def test_traffic_keeps_an_entry(macs: Any) -> None:
    for now in (100, 350, 600, 850):
        lib.vs_mac_learn(macs, A, 1, 7, now)
    assert lib.vs_mac_lookup(macs, A, 1, 1000) == 7
    assert dump(macs, 1000) == {(A, 1, 7, 150)}
    assert stats(macs).learned == 1


def test_a_core_whose_second_is_late(macs: Any) -> None:
    lib.vs_mac_learn(macs, A, 1, 7, 101)
    lib.vs_mac_learn(macs, A, 1, 7, 100)
    assert lib.vs_mac_lookup(macs, A, 1, 100) == 7
    assert dump(macs, 100) == {(A, 1, 7, 0)}
    assert lib.vs_mac_lookup(macs, A, 1, 401) == 7, "the later second counts"


def test_clock_wraps(macs: Any) -> None:
    lib.vs_mac_learn(macs, A, 1, 7, 2**32 - 10)
    assert lib.vs_mac_lookup(macs, A, 1, 10) == 7
    assert lib.vs_mac_lookup(macs, A, 1, 300) == 0


@pytest.mark.parametrize("mac", ["010000000001", "ffffffffffff", "000000000000"])
def test_no_source(macs: Any, mac: str) -> None:
    lib.vs_mac_learn(macs, bytes.fromhex(mac), 1, 7, 100)
    assert lib.vs_mac_lookup(macs, bytes.fromhex(mac), 1, 100) == 0
    assert stats(macs).entries == 0


def test_flush(macs: Any) -> None:
    lib.vs_mac_learn(macs, A, 1, 7, 100)
    lib.vs_mac_learn(macs, B, 1, 8, 100)
    lib.vs_mac_flush_port(macs, 7)
    assert dump(macs, 100) == {(B, 1, 8, 0)}
    lib.vs_mac_flush(macs)
    assert dump(macs, 100) == set()
    assert stats(macs).entries == 0


def mac_of(i: int) -> bytes:
    return b"\x02" + i.to_bytes(5, "big")


@pytest.mark.parametrize("limit", [1, 10, 100, 2000])
def test_limit(limit: int) -> None:
    t = table(limit)
    for i in range(3 * limit):
        lib.vs_mac_learn(t, mac_of(i), 1, 7, 100 + i // limit)
        assert lib.vs_mac_lookup(t, mac_of(i), 1, 100 + i // limit) == 7, "the newest is always known"
    s = stats(t)
    assert s.entries == len(dump(t, 102)) <= limit
    assert s.entries >= limit - limit // 100
    assert (s.learned, s.learned - s.evicted, s.expired) == (3 * limit, s.entries, 0)


def test_full_table_reuses_what_is_aged() -> None:
    t = table(10)
    for i in range(10):
        lib.vs_mac_learn(t, mac_of(i), 1, 7, 100)
    for i in range(10, 20):
        lib.vs_mac_learn(t, mac_of(i), 1, 8, 1000)
    assert {port for _, _, port, _ in dump(t, 1000)} == {8}
    assert stats(t).expired > 0
    assert stats(t).entries == 10
    assert lib.vs_mac_lookup(t, mac_of(19), 1, 1000) == 8


def test_expire(macs: Any) -> None:
    lib.vs_mac_learn(macs, A, 1, 7, 100)
    lib.vs_mac_learn(macs, B, 1, 7, 200)
    assert lib.vs_mac_expire(macs, 401) == 1
    assert (stats(macs).entries, stats(macs).expired) == (1, 1)


def test_settings(macs: Any) -> None:
    for i in range(100):
        lib.vs_mac_learn(macs, mac_of(i), 1, 7, 100 + i)
    assert lib.vs_mac_table_set(macs, 20, 50) == 20
    assert stats(macs).entries == len(dump(macs, 100)) == 20
    assert stats(macs).evicted == 80
    assert (stats(macs).limit, stats(macs).ageing_s) == (20, 50)
    assert len(dump(macs, 500)) == 0
    assert lib.vs_mac_table_set(macs, 10**6, 300) == 4096, "what was allocated"
    assert lib.vs_mac_table_set(macs, 0, 300) == 0
    lib.vs_mac_learn(macs, A, 1, 7, 500)
    assert lib.vs_mac_lookup(macs, A, 1, 500) == 0


def test_dump_into_too_little_room(macs: Any) -> None:
    for i in range(10):
        lib.vs_mac_learn(macs, mac_of(i), 1, 7, 100)
    assert lib.vs_mac_dump(macs, ffi.NULL, 0, 100) == 10
    assert len(dump(macs, 100, room=3)) == 3


operations = st.one_of(
    st.tuples(st.just("learn"), st.integers(0, 20), st.integers(0, 2), st.integers(1, 4)),
    st.tuples(st.just("look"), st.integers(0, 20), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 40), st.just(0), st.just(0)),
    st.tuples(st.sampled_from(["flush", "flush_port", "expire"]), st.just(0), st.just(0), st.integers(1, 4)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(operations, max_size=60))
def test_against_a_dictionary(todo: list[tuple[str, int, int, int]]) -> None:
    t, now, known = table(64, 60), 1000, {}
    for what, n, vlan, port in todo:
        if what == "learn":
            lib.vs_mac_learn(t, mac_of(n + 1), vlan, port, now)
            known[mac_of(n + 1), vlan] = (port, now)
        elif what == "wait":
            now += n
        elif what == "flush":
            lib.vs_mac_flush(t)
            known.clear()
        elif what == "flush_port":
            lib.vs_mac_flush_port(t, port)
            known = {k: v for k, v in known.items() if v[0] != port}
        elif what == "expire":
            lib.vs_mac_expire(t, now)
            known = {k: v for k, v in known.items() if now - v[1] <= 60}
            assert stats(t).entries == len(known)
        else:
            seen = known.get((mac_of(n + 1), vlan), (0, -100))
            want = seen[0] if now - seen[1] <= 60 else 0
            assert lib.vs_mac_lookup(t, mac_of(n + 1), vlan, now) == want
    assert dump(t, now) == {(m, v, p, now - s) for (m, v), (p, s) in known.items() if now - s <= 60}


@pytest.mark.parametrize("limit", [8, 4096])
def test_threads(limit: int) -> None:
    """A lookup never answers another address's port, whatever two writers and a flushing control thread do."""
    t = table(limit, 3)
    wrong: list[int] = []
    threads = [
        threading.Thread(target=lambda s=seed: wrong.append(lib.vs_mac_stress(t, s, 1_000_000)))
        for seed in (11, 22)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        lib.vs_mac_flush_port(t, 5)
        lib.vs_mac_expire(t, 4)
    for thread in threads:
        thread.join()
    assert wrong == [0, 0]
    assert stats(t).entries == lib.vs_mac_dump(t, ffi.NULL, 0, 0) <= limit
    assert stats(t).learned - stats(t).evicted - stats(t).expired >= stats(t).entries
