"""A range of offsets cut into pieces: first fit, neighbours joined when given back. Holds no memory itself."""

from __future__ import annotations

from bisect import bisect_left, insort


class Arena:
    """Offsets 0 to size. Pieces are named by their offset. A few hundred pieces at most, so plain lists do."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: list[tuple[int, int]] = (
            [(0, size)] if size else []
        )  # (offset, length), ascending, not touching
        self._taken: dict[int, int] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is taken."""
        return not self._taken

    def fits(self, length: int) -> bool:
        """Whether a gap of this length is left, wherever it begins."""
        return any(room >= length for _, room in self._free)

    def take(self, length: int, align: int) -> int | None:
        """Take a piece at a multiple of `align` (a power of two); None when no gap is large enough."""
        for index, (start, room) in enumerate(self._free):
            offset = -(-start // align) * align
            if offset + length > start + room:
                continue
            del self._free[index]
            for piece in ((start, offset - start), (offset + length, start + room - offset - length)):
                if piece[1]:
                    insort(self._free, piece)
            self._taken[offset] = length
            return offset
        return None

    def length(self, offset: int) -> int:
        """Length of the piece taken at `offset`. Raises KeyError when there is none."""
        return self._taken[offset]

    def give(self, offset: int) -> int:
        """Give a piece back; returns its length. Raises KeyError when none was taken there."""
        length = self._taken.pop(offset)
        start, end = offset, offset + length
        at = bisect_left(self._free, (offset, 0))
        if at < len(self._free) and self._free[at][0] == end:
            end += self._free.pop(at)[1]
        if at and sum(self._free[at - 1]) == start:
            at -= 1
            start = self._free.pop(at)[0]
        self._free.insert(at, (start, end - start))
        return length
