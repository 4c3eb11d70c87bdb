"""A bounded reader and the codecs that messages are composed of: struct, list, TLV, sized element.

A codec has `read(reader) -> value` and `write(value, version) -> bytes`. A `Reader` walks a window of an
immutable buffer; running out of it raises the OFError that fits where we are (`short`), so no codec checks a
length by itself. Every list element consumes at least its header or is refused: reading ends after at most
len(buffer) steps. Nothing here keeps state; any thread may use it.
"""

from __future__ import annotations

import re
import struct
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from vswitchd.ofproto.errors import EncodeError, OFError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from enum import IntEnum

_U16 = struct.Struct("!H")
_TLV = struct.Struct("!HH")


class Reader:
    """A window [pos, end) on `data`; `short` is the error for running out, `version` the wire version."""

    __slots__ = ("data", "end", "pos", "short", "version")

    def __init__(self, data: bytes, pos: int, end: int, short: IntEnum, version: int) -> None:
        self.data = data
        self.pos = pos
        self.end = end
        self.short = short
        self.version = version

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Read one struct."""
        pos = self.pos
        after = pos + layout.size
        if after > self.end:
            raise OFError(self.short, f"{layout.size} bytes are needed, {self.end - pos} are left")
        self.pos = after
        return layout.unpack_from(self.data, pos)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        if self.pos + size > self.end:
            raise OFError(self.short, f"{size} bytes are needed, {self.end - self.pos} are left")
        self.pos += size

    def sub(self, size: int, short: IntEnum | None = None) -> Reader:
        """Return a reader of the next `size` bytes and pass over them."""
        pos = self.pos
        self.skip(size)
        return Reader(self.data, pos, pos + size, self.short if short is None else short, self.version)

    def rest(self) -> bytes:
        """Return everything that is left."""
        pos, self.pos = self.pos, self.end
        return self.data[pos : self.end]

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self.pos != self.end:
            raise OFError(self.short, f"{self.end - self.pos} bytes too many")


class Codec(Protocol):
    """How a value is read and written."""

    def read(self, rd: Reader, /) -> Any:
        """Read a value, or raise OFError."""

    def write(self, value: Any, version: int, /) -> bytes:
        """Write a value; struct.error or EncodeError where it does not fit."""


class TypedCodec(Codec, Protocol):
    """A codec of the objects of one class."""

    @property
    def cls(self) -> Any:
        """Return the class."""


class Rest:
    """All the bytes that are left."""

    def read(self, rd: Reader) -> bytes:
        """Read them."""
        return rd.rest()

    def write(self, value: bytes, _version: int) -> bytes:
        """Write them."""
        return value


class Counted:
    """A codec behind a prefix (a struct format with one number) that counts its bytes."""

    def __init__(self, prefix: str, inner: Codec) -> None:
        self.prefix = struct.Struct("!" + prefix)
        self.inner = inner

    def read(self, rd: Reader) -> Any:
        """Read the count and what it counts."""
        (size,) = rd.unpack(self.prefix)
        return self.inner.read(rd.sub(size))

    def write(self, value: Any, version: int) -> bytes:
        """Write the count and what it counts."""
        body = self.inner.write(value, version)
        return self.prefix.pack(len(body)) + body


class Pad:
    """Bytes that mean nothing and make no field."""

    def __init__(self, size: int) -> None:
        self.zeros = bytes(size)


class Layout:
    """A dataclass on the wire: one struct for its first fields, then one codec for each further one.

    `fmt` is a struct format (big endian, "x" for padding) that fills the fields in their order; `parts` are
    codecs for the next fields, or `Pad`. `text` names bytes fields that hold NUL-padded text. The last
    `extra` fields are not on this part of the wire (they keep their default, or the caller of `read()` gives them).
    """

    def __init__(
        self, cls: Any, fmt: str, *parts: Codec | Pad, text: tuple[str, ...] = (), extra: int = 0
    ) -> None:
        self.cls = cls
        self.fixed = struct.Struct("!" + fmt)
        self.parts = parts
        names = list(cls.__dataclass_fields__)
        if extra:
            del names[-extra:]
        n_parts = sum(not isinstance(part, Pad) for part in parts)
        n_fixed = len(self.fixed.unpack(bytes(self.fixed.size)))
        if n_fixed + n_parts != len(names):
            raise TypeError(f"{cls.__name__} has {len(names)} fields, its layout {n_fixed + n_parts}")
        self.text = tuple(names.index(name) for name in text)
        self.strings = string_sizes(fmt)
        self.get = _getter(names[:n_fixed])
        self.head = tuple(names[:n_fixed])
        self.tail = tuple(names[n_fixed:])

    def values(self, rd: Reader) -> list[Any]:
        """Read the fields' values in their order."""
        values = list(rd.unpack(self.fixed))
        for index in self.text:
            values[index] = string_from_wire(values[index])
        for part in self.parts:
            if isinstance(part, Pad):
                rd.skip(len(part.zeros))
            else:
                values.append(part.read(rd))
        return values

    def read(self, rd: Reader, **more: Any) -> Any:
        """Read one object; `more` are fields that are not on this part of the wire."""
        return self.cls(*self.values(rd), **more)

    def write(self, value: Any, version: int) -> bytes:
        """Write one object."""
        fixed = self.get(value)
        if self.strings:
            fixed = self._strings_to_bytes(fixed)
        out = self.fixed.pack(*fixed)
        if not self.parts:
            return out
        chunks = [out]
        tail = iter(self.tail)
        for part in self.parts:
            if isinstance(part, Pad):
                chunks.append(part.zeros)
            else:
                chunks.append(part.write(getattr(value, next(tail)), version))
        return b"".join(chunks)

    def _strings_to_bytes(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Cut text so that a NUL ends it, as section 7.2.1 demands; refuse bytes of another size."""
        out = list(values)
        for index, size in self.strings.items():
            if index in self.text:
                out[index] = string_to_wire(out[index])[: size - 1]
            elif len(out[index]) != size:
                raise EncodeError(f"{self.cls.__name__}: {out[index]!r} is not {size} bytes")
        return tuple(out)


def places(fmt: str, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Find (offset, size) of each named column of a struct format."""
    found, at, rest = {}, 0, iter(names)
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", fmt):
        size = struct.calcsize("!" + kind) * (int(count or 1) if kind in "xs" else 1)
        for _ in range(1 if kind in "xs" else int(count or 1)):
            if kind != "x":
                found[next(rest)] = (at, size)
            at += size
    return found


def string_from_wire(data: bytes) -> str:
    """Read NUL-padded text; its last byte is a NUL whatever it is (7.2.1)."""
    return data[:-1].split(b"\0", 1)[0].decode("utf-8", "replace")


def string_to_wire(text: str) -> bytes:
    """Write text; the struct pads it."""
    return text.encode(errors="replace")


def string_sizes(fmt: str) -> dict[int, int]:
    """Find the sizes of the string columns of a struct format, by their index."""
    sizes = {}
    index = 0
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", fmt):
        if kind == "s":
            sizes[index] = int(count)
        index += 0 if kind == "x" else 1 if kind == "s" else int(count or 1)
    return sizes


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _value: ()
    if len(names) == 1:
        single = attrgetter(names[0])
        return lambda value: (single(value),)
    return attrgetter(*names)


class Body(TypedCodec, Protocol):
    """What describes a class on the wire: a `Layout`, or a `Recast` of wire10.py."""

    @property
    def fixed(self) -> struct.Struct:
        """Return the struct it begins with."""

    @property
    def parts(self) -> tuple[Codec | Pad, ...]:
        """Return the codecs after that struct, where the table of messages asks for them."""

    def read(self, rd: Reader, **more: Any) -> Any:
        """Read one object; `more` are fields that are not on this part of the wire."""


class Sized:
    """An element that holds its own length (u16 at offset `at`; the layout has padding there)."""

    def __init__(self, layout: Body, at: int, bad_len: IntEnum | None = None) -> None:
        self.layout = layout
        self.at = at
        self.least = layout.fixed.size
        self.bad_len = bad_len

    def read(self, rd: Reader) -> Any:
        """Read one element; its parts must fill it exactly."""
        bad_len = rd.short if self.bad_len is None else self.bad_len
        if rd.end - rd.pos < self.least:
            raise OFError(bad_len, f"{rd.end - rd.pos} bytes left for a {self.layout.cls.__name__}")
        (length,) = _U16.unpack_from(rd.data, rd.pos + self.at)
        if length < self.least or length > rd.end - rd.pos:
            raise OFError(bad_len, f"a {self.layout.cls.__name__} of {length} bytes")
        inner = rd.sub(length, bad_len)
        value = self.layout.read(inner)
        inner.finish()
        return value

    def write(self, value: Any, version: int) -> bytes:
        """Write one element."""
        body = self.layout.write(value, version)
        return body[: self.at] + _U16.pack(len(body)) + body[self.at + 2 :]


class ListOf:
    """As many elements as fill the reader, as a tuple."""

    def __init__(self, element: Codec) -> None:
        self.element = element

    def read(self, rd: Reader) -> tuple[Any, ...]:
        """Read elements to the end."""
        read = self.element.read
        out = []
        while rd.pos < rd.end:
            out.append(read(rd))
        return tuple(out)

    def write(self, value: tuple[Any, ...], version: int) -> bytes:
        """Write all elements."""
        write = self.element.write
        return b"".join([write(item, version) for item in value])


class Tlv:
    """One of several elements that begin with u16 type and u16 length.

    `rows` gives, for each version, the codec of each type (of what follows the four bytes). The length counts
    the whole element, its padding included, and is a multiple of 8.
    """

    def __init__(
        self, rows: Mapping[int, Mapping[Any, TypedCodec]], bad_type: IntEnum, bad_len: IntEnum
    ) -> None:
        self.rows: dict[int, Mapping[Any, TypedCodec]] = {}
        self.bad_type = bad_type
        self.bad_len = bad_len
        self.types: dict[int, dict[Any, tuple[int, TypedCodec]]] = {}
        for version, table in rows.items():
            self.add(version, table)

    def add(self, version: int, table: Mapping[Any, TypedCodec]) -> None:
        """Add the rows of a version."""
        self.rows[version] = table
        self.types[version] = {codec.cls: (int(kind), codec) for kind, codec in table.items()}

    def read(self, rd: Reader) -> Any:
        """Read one element; unknown types and bad lengths are refused with this union's codes."""
        left = rd.end - rd.pos
        if left < 4:
            raise OFError(self.bad_len, f"{left} bytes left for a header of 4")
        kind, length = _TLV.unpack_from(rd.data, rd.pos)
        layout = self.rows[rd.version].get(kind)
        if layout is None:
            raise OFError(self.bad_type, f"unknown type {kind}")
        if length < 8 or length > left or length & 7:
            raise OFError(self.bad_len, f"a {layout.cls.__name__} of {length} bytes")
        inner = Reader(rd.data, rd.pos + 4, rd.pos + length, self.bad_len, rd.version)
        value = layout.read(inner)
        inner.finish()
        rd.pos += length
        return value

    def write(self, value: Any, version: int) -> bytes:
        """Write one element."""
        try:
            kind, layout = self.types[version][value.__class__]
        except KeyError:
            name = value.__class__.__name__
            raise EncodeError(f"{name} cannot stand here in version {version:#04x}") from None
        body = layout.write(value, version)
        return _TLV.pack(kind, 4 + len(body)) + body
