"""Where DMA memory lies in IOVA space: one range that every container allows, chosen by us."""

from __future__ import annotations

from collections.abc import Sequence

GIGABYTE = 1 << 30
PREFERRED = 4 * GIGABYTE
"""From here up nobody confuses an IOVA with a physical address below 4 GB, and there is no hole for MSI."""


def intersect(
    left: Sequence[tuple[int, int]], right: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Ranges (first, last) that both allow, ascending."""
    common = (
        (max(a_first, b_first), min(a_last, b_last)) for a_first, a_last in left for b_first, b_last in right
    )
    return tuple(sorted(piece for piece in common if piece[0] <= piece[1]))


def inside(ranges: Sequence[tuple[int, int]], base: int, size: int) -> bool:
    """Whether one of the ranges holds all of [base, base + size)."""
    return any(first <= base and base + size - 1 <= last for first, last in ranges)


def choose(ranges: Sequence[tuple[int, int]], wanted: int, least: int) -> tuple[int, int] | None:
    """Choose (base, size): the largest size wanted / 2^n not under `least` that fits, from 4 GB up if it fits there.

    The base is a multiple of 1 GB, or of the size when that is smaller, so that huge pages stay whole. It is never 0:
    zero is what a device reads from a descriptor that nobody wrote. None: nothing fits.
    """
    size = wanted
    while size >= least:
        align = min(GIGABYTE, size)
        for floor in (PREFERRED, align):
            for first, last in sorted(ranges):
                base = -(-max(first, floor) // align) * align
                if base + size - 1 <= last:
                    return base, size
        size //= 2
    return None
