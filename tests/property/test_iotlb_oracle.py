"""Any sequence of updates, invalidations and frames against a table of bytes: what is read is what was mapped last, the rest waits."""

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/, for fakes.*

from fakes.iommu_port import PAGE, IommuPort
from fakes.mock_guest import Guest, Region, Ring

BASE = 0x7_0000_0000
UNIT = 1024  # smaller than a page: entries may begin and end within one
WORLD = 48  # units of IOVA, and of memory behind them
MEMORY = 1 << 20
HEADER = 12

units = st.integers(0, WORLD - 1)
sizes = st.integers(1, WORLD)
updates = st.tuples(st.just("map"), units, sizes, units, st.sampled_from([1, 2, 3]))
invalidations = st.tuples(st.just("unmap"), units, sizes)
frames = st.tuples(st.just("frame"), st.integers(0, WORLD * UNIT - 100), st.integers(60, 18000))


class Oracle:
    """IOVA unit -> (unit of memory, permissions)."""

    def __init__(self, memory: bytes) -> None:
        self.memory, self.table = memory, {}

    def read(self, at: int, n: int) -> bytes | None:
        """Bytes, None when some are not mapped for reading."""
        out = b""
        while n:
            target, perm = self.table.get(at // UNIT, (0, 0))
            if not perm & 1:
                return None
            part = min(n, UNIT - at % UNIT)
            start = target * UNIT + at % UNIT
            out += self.memory[start : start + part]
            at, n = at + part, n - part
        return out


@settings(deadline=None, max_examples=150)
@given(st.lists(st.one_of(updates, invalidations, frames), min_size=5, max_size=60))
def test_translations_are_those_of_the_oracle(steps) -> None:
    # Two regions that are neighbours to the front-end, and two mappings to us.
    half = WORLD * UNIT // 2
    regions = [Region(0, 0x7F0000000000 - MEMORY, MEMORY)]
    regions += [Region(MEMORY * (i + 1), 0x7F0000000000 + i * half, half) for i in (0, 1)]
    port = IommuPort(Guest(regions))
    memory = bytes((i * 31 + i // 251) & 0xFF for i in range(2 * half))
    for i in (0, 1):
        port.guest.write(MEMORY * (i + 1), memory[i * half : (i + 1) * half])
    oracle = Oracle(memory)
    ring = Ring(port.guest, 256)
    port.start_known(1, ring)
    try:
        for step in steps:
            if step[0] == "map":
                _, iova, n, target, perm = step
                n = min(n, WORLD - max(iova, target))
                assert port.update(BASE + iova * UNIT, n * UNIT, 0x7F0000000000 + target * UNIT, perm) == 0
                oracle.table |= {iova + i: (target + i, perm) for i in range(n)}
            elif step[0] == "unmap":
                _, iova, n = step
                port.unmap(BASE + iova * UNIT, n * UNIT)
                for i in range(n):
                    oracle.table.pop(iova + i, None)
            else:
                check(port, ring, oracle, step[1], step[2])
    finally:
        port.close()


def check(port: IommuPort, ring: Ring, oracle: Oracle, at: int, n: int) -> None:
    """One frame at this address; when it waits, it is asked for where it is not known, answered, and received."""
    ring.chain([(BASE + at, n)])
    expected = oracle.read(at, n)
    got = port.rx()
    if expected is None:
        assert got == []
        missing = [page for page, perm in port.misses() if perm & 1]
        span = range((BASE + at) // PAGE * PAGE, BASE + at + n, PAGE)
        assert set(missing) <= set(span), "asked for what is not needed"
        for i in range(at // UNIT, (at + n - 1) // UNIT + 1):  # the front-end maps the rest
            if not oracle.table.get(i, (0, 0))[1] & 1:
                target = i % WORLD
                assert port.update(BASE + i * UNIT, UNIT, 0x7F0000000000 + target * UNIT, 3) == 0
                oracle.table[i] = (target, 3)
        expected = oracle.read(at, n)
        got = port.rx()
    assert expected is not None
    assert got == [expected[HEADER:]]
    ring.take()
