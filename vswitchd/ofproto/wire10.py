"""Objects of 1.3 on the wire of 1.0: fields in another order and of another width.

`Recast` describes a class by steps: `Columns` (a struct whose numbers are some of the class's fields, each perhaps
through a `Convert`), `Part` (one field with a codec of its own), `Pad`. Fields that no step has keep their default,
or what `absent` says. Ports have 16 bits in 1.0, the reserved ones at the top (5.2.1).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.ofproto.errors import EncodeError
from vswitchd.ofproto.wire import Codec, Pad, Reader, string_from_wire, string_sizes, string_to_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OFPP_MAX_10 = 0xFF00
_RESERVED = 0xFFFF0000


def port_from_10(port: int) -> int:
    """Widen a port number: 0xff00 and up are reserved."""
    return port | _RESERVED if port >= OFPP_MAX_10 else port


def port_to_10(port: int) -> int:
    """Narrow a port number; EncodeError for one that 1.0 cannot say."""
    if port < OFPP_MAX_10:
        return port
    if port >= _RESERVED | OFPP_MAX_10:
        return port & 0xFFFF
    raise EncodeError(f"port {port:#x} has no number in OpenFlow 1.0")


@dataclass(frozen=True, slots=True)
class Convert:
    """How a number of the wire becomes a field's value, and back."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


PORT16 = Convert(port_from_10, port_to_10)


class Columns:
    """One struct whose values are the named fields. `text` names those that hold NUL-padded text."""

    def __init__(
        self, fmt: str, *names: str, text: tuple[str, ...] = (), convert: Mapping[str, Convert] | None = None
    ) -> None:
        self.struct = struct.Struct("!" + fmt)
        self.names = names
        sizes = string_sizes(fmt)
        self.text = {name: sizes[names.index(name)] for name in text}
        self.convert = dict(convert or {})
        if len(self.struct.unpack(bytes(self.struct.size))) != len(names):
            raise TypeError(f"{fmt} does not have {len(names)} values")

    def read(self, rd: Reader) -> dict[str, Any]:
        """Read the fields' values by name."""
        values = dict(zip(self.names, rd.unpack(self.struct), strict=True))
        for name in self.text:
            values[name] = string_from_wire(values[name])
        for name, how in self.convert.items():
            values[name] = how.read(values[name])
        return values

    def write(self, value: Any) -> bytes:
        """Write the fields of an object."""
        values = {name: getattr(value, name) for name in self.names}
        for name, size in self.text.items():
            values[name] = string_to_wire(values[name])[: size - 1]
        for name, how in self.convert.items():
            values[name] = how.write(values[name])
        return self.struct.pack(*values.values())


@dataclass(frozen=True, slots=True)
class Part:
    """A field with a codec of its own."""

    name: str
    codec: Codec


Step = Columns | Part | Pad


class Recast:
    """See the module. Stands where a `Layout` can stand."""

    def __init__(self, cls: Any, *steps: Step, absent: Mapping[str, Any] | None = None) -> None:
        self.cls = cls
        self.steps = steps
        self.absent = dict(absent or {})
        first = steps[0] if steps else None
        self.fixed = first.struct if isinstance(first, Columns) else struct.Struct("!")
        self.parts: tuple[Codec | Pad, ...] = ()

    def read(self, rd: Reader, **more: Any) -> Any:
        """Read one object."""
        values: dict[str, Any] = {}
        for step in self.steps:
            if isinstance(step, Columns):
                values |= step.read(rd)
            elif isinstance(step, Part):
                values[step.name] = step.codec.read(rd)
            else:
                rd.skip(len(step.zeros))
        return self.cls(**self.absent, **values, **more)

    def write(self, value: Any, version: int) -> bytes:
        """Write one object."""
        chunks = []
        for step in self.steps:
            if isinstance(step, Columns):
                chunks.append(step.write(value))
            elif isinstance(step, Part):
                chunks.append(step.codec.write(getattr(value, step.name), version))
            else:
                chunks.append(step.zeros)
        return b"".join(chunks)
