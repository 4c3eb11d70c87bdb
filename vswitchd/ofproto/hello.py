"""The elements of a hello message: the bitmap of versions (1.3.5, section 7.5.1)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING

from vswitchd.ofproto.errors import OFError

if TYPE_CHECKING:
    from vswitchd.ofproto.wire import Reader

_HEAD = struct.Struct("!HH")


class OFPHET(IntEnum):
    """Hello element types (7.5.1)."""

    VERSIONBITMAP = 1


class HelloElements:
    """Hello elements as the set of the versions (wire numbers) in the bitmap.

    Unknown elements are skipped, as the section demands; so is a missing padding after the last element.
    """

    def read(self, rd: Reader) -> frozenset[int]:
        """Read all elements."""
        versions: set[int] = set()
        while rd.pos < rd.end:
            kind, length = rd.unpack(_HEAD)
            if length < 4:
                raise OFError(rd.short, f"a hello element of {length} bytes")
            body = rd.sub(length - 4).rest()
            rd.skip(min(-length % 8, rd.end - rd.pos))
            if kind == OFPHET.VERSIONBITMAP:
                words = struct.unpack(f"!{len(body) // 4}I", body[: len(body) & ~3])
                versions |= {
                    32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1
                }
        return frozenset(versions)

    def write(self, value: frozenset[int], _version: int) -> bytes:
        """Write one bitmap, or nothing."""
        if not value:
            return b""
        words = [sum(1 << v % 32 for v in value if v // 32 == i) for i in range(max(value) // 32 + 1)]
        length = 4 + 4 * len(words)
        return (
            _HEAD.pack(OFPHET.VERSIONBITMAP, length)
            + struct.pack(f"!{len(words)}I", *words)
            + bytes(-length % 8)
        )


class HeaderVersion:
    """The version in the header as a field: takes no bytes here."""

    def read(self, rd: Reader) -> int:
        """Return it."""
        return rd.version

    def write(self, _value: int, _version: int) -> bytes:
        """Write nothing: `encode()` puts it into the header."""
        return b""


HELLO_ELEMENTS = HelloElements()
HEADER_VERSION = HeaderVersion()
