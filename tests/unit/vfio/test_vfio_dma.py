"""DMA memory: where the window lies, how it grows, rings cut from it, and that no device reaches what was given back."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.fake_vfio import MSI_HOLE, FakeDevice, FakeKernel
from vswitchd.ports.vfio.arena import Arena
from vswitchd.ports.vfio.dma import HUGE_1G
from vswitchd.ports.vfio.errors import VfioError
from vswitchd.ports.vfio.session import Vfio
from vswitchd.ports.vfio.window import choose, inside

CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
"""Other tests share the processor."""
KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
A, B = "0000:01:00.0", "0000:02:00.0"


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (MSI_HOLE, (4 * GB, 16 * GB)),
        (((0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)), (4 * GB, 16 * GB)),
        (((0x1000, 0xFEDFFFFF),), (1 * GB, 2 * GB)),
        (((0, (1 << 34) - 1),), (4 * GB, 8 * GB)),
        (((0, (1 << 32) - 1), (1 << 32, (1 << 35) - 1)), (4 * GB, 16 * GB)),
        (((5 * GB + 4096, 40 * GB),), (6 * GB, 16 * GB)),
        (((0, 128 * MB - 1),), (64 * MB, 64 * MB)),
        (((0, 127 * MB),), None),
        (((0, (1 << 64) - 1),), (4 * GB, 16 * GB)),
        ((), None),
    ],
)
def test_place_of_the_window(ranges, expected):
    assert choose(ranges, 16 * GB, 64 * MB) == expected


def test_inside_counts_both_ends():
    assert inside([(4096, 8191)], 4096, 4096)
    assert not inside([(4096, 8191)], 4095, 4096)
    assert not inside([(4096, 8191)], 4096, 4097)


@CALM
@given(
    st.lists(st.tuples(st.integers(0, 1 << 48), st.integers(0, 1 << 40)), max_size=5),
    st.integers(26, 40),
)
def test_window_is_inside_one_range_and_as_large_as_may_be(pairs, power):
    ranges = [(first, first + length) for first, length in pairs]
    place = choose(ranges, 1 << power, 64 * MB)
    if place is None:
        assert all(last - first + 1 < 4 * 64 * MB for first, last in ranges)
        return
    base, size = place
    assert inside(ranges, base, size)
    assert base > 0
    assert base % min(size, GB) == 0
    if size < 1 << power:
        assert choose(ranges, 2 * size, 2 * size) is None


@CALM
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.sampled_from([1, 4, 16])), max_size=60))
def test_arena_never_gives_a_byte_twice_and_gets_whole_again(steps):
    arena, taken = Arena(128), {}
    for give, length, align in steps:
        if give and taken:
            offset = sorted(taken)[length % len(taken)]
            assert arena.length(offset) == arena.give(offset) == taken.pop(offset)
            continue
        used = {byte for start, size in taken.items() for byte in range(start, start + size)}
        offset = arena.take(length, align)
        free = [at for at in range(0, 129 - length, align) if not used & set(range(at, at + length))]
        assert offset == (free[0] if free else None)
        if offset is not None:
            taken[offset] = length
    assert arena.idle == (not taken)
    for offset in list(taken):
        arena.give(offset)
    assert arena.take(128, 1) == 0


def test_arena_knows_its_pieces():
    arena = Arena(64)
    arena.take(8, 1)
    with pytest.raises(KeyError):
        arena.give(4)
    assert Arena(0).take(1, 1) is None
    assert arena.fits(56)
    assert not arena.fits(57)


@pytest.fixture
def kernel():
    kernel = FakeKernel(FakeDevice(A, "7"), FakeDevice(B, "8"))
    yield kernel
    assert kernel.left() == []
    assert kernel.locked == 0


@pytest.fixture
def vfio(kernel):
    vfio = Vfio(kernel, 4 * GB)
    vfio.open(A)
    yield vfio
    vfio.close()


def mappings(kernel):
    (container,) = kernel.containers()
    return container.mappings


def test_memory_has_one_constant(vfio, kernel):
    window = vfio.window
    first, second = window.grow(1), window.grow(5 * MB)
    assert (first.length, second.length) == (2 * MB, 6 * MB)
    assert window.delta == window.iova_base - window.base
    assert mappings(kernel) == {
        window.base + chunk.offset + window.delta: (chunk.length, window.base + chunk.offset)
        for chunk in (first, second)
    }
    assert window.backed == 8 * MB
    assert window.iova_base == 4 * GB


def test_huge_pages_as_asked(vfio, kernel):
    window = vfio.window
    assert window.grow(2 * MB).page_shift == 21
    assert window.grow(2 * MB, 0).page_shift == 0
    big = window.grow(3 * MB, HUGE_1G)
    assert (big.page_shift, big.length, big.offset % GB) == (30, GB, 0)
    kernel.free_huge[30] = 0
    assert window.grow(2 * MB, HUGE_1G).page_shift == 21


def test_ordinary_pages_when_no_huge_one_is_free_is_said_once(vfio, kernel, caplog):
    kernel.free_huge = {21: 2, 30: 0}
    with caplog.at_level(logging.WARNING):
        shifts = [vfio.window.grow(2 * MB).page_shift for _ in range(4)]
    assert shifts == [21, 21, 0, 0]
    assert [record.getMessage() for record in caplog.records] == [
        (
            "no 1 free huge pages of 2 MB for packets of VFIO ports (Cannot allocate memory): ordinary pages are used, which "
            "costs speed; sysctl vm.nr_hugepages gives more"
        )
    ]


def test_shrunk_memory_is_used_again(vfio, kernel):
    chunks = [vfio.window.grow(2 * MB) for _ in range(3)]
    vfio.window.shrink(chunks[1].offset)
    assert len(mappings(kernel)) == 2
    assert vfio.window.grow(2 * MB).offset == chunks[1].offset
    with pytest.raises(KeyError):
        vfio.window.shrink(4096)


def test_rings_share_chunks(vfio, kernel):
    window = vfio.window
    rings = [window.alloc(16 * KB) for _ in range(4)]
    assert len({offset // (2 * MB) for offset in rings}) == 1
    assert all(offset % 4096 == 0 for offset in rings)
    odd = window.alloc(100, 128)
    assert odd % 128 == 0
    large = window.alloc(3 * MB)
    assert len(mappings(kernel)) == 2
    window.free(large)
    assert len(mappings(kernel)) == 1
    for offset in (*rings, odd):
        window.free(offset)
    assert mappings(kernel) == {}
    with pytest.raises(KeyError):
        window.free(0)


def test_ring_memory_is_zero_when_it_comes_again(vfio, kernel):
    window = vfio.window
    keep, ring = window.alloc(4096), window.alloc(4096)
    memory = kernel.window._map
    memory[ring : ring + 4096] = b"\xaa" * 4096
    window.free(ring)
    assert window.alloc(4096) == ring
    assert memory[ring : ring + 4096] == bytes(4096)
    assert keep != ring


def test_mapping_that_fails_in_one_container_is_taken_back_in_the_others(kernel):
    kernel.devices[B].iommu = "other"
    kernel.ranges["other"] = MSI_HOLE
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    vfio.open(B)
    first, second = kernel.containers()
    kernel.fail_at(len(kernel.calls) + 2, 22)  # back, the first container, the second
    with pytest.raises(VfioError, match="cannot map 0x200000 bytes for devices at IOVA 0x100000000"):
        vfio.window.grow(2 * MB)
    assert first.mappings == second.mappings == kernel.backed == {}
    vfio.window.grow(2 * MB)
    assert first.mappings == second.mappings
    vfio.close()


def test_memory_that_the_kernel_does_not_unmap_is_kept(vfio, kernel, caplog):
    """A device may still reach it: nobody else may get it."""
    chunk = vfio.window.grow(2 * MB)
    kernel.fail("IOMMU_UNMAP_DMA", 5)
    vfio.window.shrink(chunk.offset)
    assert chunk.offset in kernel.backed
    assert vfio.window.grow(2 * MB).offset != chunk.offset
    assert "did not unmap DMA memory at IOVA 0x100000000" in caplog.text


def test_narrow_iommu_makes_the_window_smaller(kernel, caplog):
    kernel.ranges["dmar0"] = ((0, 0xFEDFFFFF),)
    vfio = Vfio(kernel, 4 * GB)
    vfio.open(A)
    assert (vfio.window.iova_base, vfio.window.size) == (GB, 2 * GB)
    assert "the IOMMU allows only 2048 MB of IOVA space" in caplog.text
    vfio.close()


def test_no_memory_without_a_device(kernel):
    with pytest.raises(RuntimeError, match="while no device is open"):
        Vfio(kernel).window.grow(1)


def test_group_that_narrows_its_container_is_put_out_again(kernel, vfio):
    """The kernel lets it in while nothing is mapped where it cannot reach; what we map later would fail."""
    narrow = ((0, 5 * GB),)
    whole = kernel._allowed
    kernel._allowed = lambda container: narrow if "8" in container.groups else whole(container)
    with pytest.raises(VfioError, match=r"0000:02:00\.0 cannot reach the DMA memory"):
        vfio.open(B)
    assert [container.groups for container in kernel.containers()] == [{"7"}]
    vfio.window.grow(2 * MB)


def test_many_ranges_need_a_larger_answer(kernel):
    kernel.ranges["dmar0"] = (*tuple((n << 33, (n << 33) + 65535) for n in range(1, 300)), (1 << 43, 1 << 44))
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    assert vfio.window.iova_base == 1 << 43
    vfio.close()
