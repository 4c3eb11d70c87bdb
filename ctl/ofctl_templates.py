"""Flow text to encoded flow-mods, fast for files whose lines differ in a few numbers only.

Lines of one shape (`priority=N,in_port=N,udp,nw_dst=A,actions=output:N`) give messages that differ in the
numbers' bytes only. Once a shape was seen some times, it is learned where each number goes: by encoding the
line with two other values for it and looking which bytes change. After that a line is a copy of a message
with its numbers written in. Whatever is not plain (a value out of its range, a mask, a hexadecimal port, a
word that is given twice) goes the ordinary way, which also makes the errors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LEARN_AFTER = 8
"""Lines of a shape before it is learned: learning costs as much as encoding two lines for each number."""
_MOST_SHAPES = 1000
_RESERVED_PORTS = 0xFF00  # from here on numbers have a meaning of their own (OpenFlow 1.0's reserved ports)
_XID = slice(4, 8)


def _u16(text: str) -> bytes:
    return int(text).to_bytes(2, "big")


def _port(text: str) -> bytes:
    number = int(text)
    if number >= _RESERVED_PORTS:
        raise ValueError(text)
    return number.to_bytes(2, "big")


def _u64(text: str) -> bytes:
    return int(text, 16 if text[:2] == "0x" else 10).to_bytes(8, "big")


def _ipv4(text: str) -> bytes:
    data = bytes(map(int, text.split(".")))
    if len(data) != 4 or ".".join(map(str, data)) != text:
        raise ValueError(text)
    return data


def _mac(text: str) -> bytes:
    if len(text) != 17 or text[2::3] != ":::::":
        raise ValueError(text)
    return bytes.fromhex(text.replace(":", ""))


# Word -> (how its value becomes bytes, two values that differ in every byte).
_MACS = ("02:10:20:30:40:50", "04:11:22:33:44:55")
_IPS = ("10.20.30.40", "11.22.33.44")
_WORDS: dict[str, tuple[Callable[[str], bytes], tuple[str, str]]] = {
    "priority": (_u16, ("258", "772")),
    "tp_src": (_u16, ("258", "772")),
    "tp_dst": (_u16, ("258", "772")),
    "in_port": (_port, ("258", "772")),
    "output": (_port, ("258", "772")),
    "cookie": (_u64, ("0x0102030405060708", "0x1112131415161718")),
    "nw_src": (_ipv4, _IPS),
    "nw_dst": (_ipv4, _IPS),
    "dl_src": (_mac, _MACS),
    "dl_dst": (_mac, _MACS),
}
_SLOT = re.compile(rf"((?:^|[,\s=])(?:{'|'.join(_WORDS)})[=:])([0-9A-Fa-fx.:]+)(?=[,\s]|$)")


class _Template(NamedTuple):
    """A message of a shape, and for each number how it is written and where."""

    data: bytes
    slots: list[tuple[Callable[[str], bytes], int, int]]


class Encoder:
    """Encodes flows; `plainly` (text, xid) is the ordinary way, whose errors (ValueError) are passed on."""

    def __init__(self, plainly: Callable[[str, int], bytes]) -> None:
        self._plainly = plainly
        self._seen: dict[tuple[str, ...], int] = {}
        self._templates: dict[tuple[str, ...], _Template | None] = {}

    def encode(self, text: str, xid: int) -> bytes:
        """Return the message for one flow."""
        shape_list = _SLOT.split(text)
        values = shape_list[2::3]
        del shape_list[2::3]
        shape = tuple(shape_list)
        template = self._templates.get(shape)
        if template is not None:
            data = bytearray(template.data)
            try:
                for (write, start, end), value in zip(template.slots, values, strict=True):
                    data[start:end] = write(value)
            except (ValueError, OverflowError):
                return self._plainly(text, xid)
            data[_XID] = xid.to_bytes(4, "big")
            return bytes(data)
        encoded = self._plainly(text, xid)
        if len(self._seen) < _MOST_SHAPES or shape in self._seen:
            seen = self._seen[shape] = self._seen.get(shape, 0) + 1
            if seen == LEARN_AFTER:
                self._templates[shape] = self._learn(shape_list, values, encoded)
        return encoded

    def _learn(self, parts: list[str], values: list[str], encoded: bytes) -> _Template | None:
        """Find where the numbers of a shape go; None where that is not plain."""
        slots = []
        for index in range(len(values)):
            word = parts[2 * index + 1].strip(", \t\r\n=:")
            write, examples = _WORDS[word]
            try:
                one, other = (self._example(parts, values, index, example) for example in examples)
            except ValueError:
                return None
            size = len(write(examples[0]))
            changed = [at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
            start = changed[0] if changed else 0
            if len(one) != len(encoded) or len(other) != len(encoded) or len(changed) != size:
                return None
            for data, example in zip((one, other), examples, strict=True):
                if data[start : start + size] != write(example):
                    return None
            slots.append((write, start, start + size))
        return _Template(encoded, slots)

    def _example(self, parts: list[str], values: list[str], index: int, value: str) -> bytes:
        """Encode the line with another value for one number."""
        words = [parts[0]]
        for at, own in enumerate(values):
            words += [parts[2 * at + 1], value if at == index else own, parts[2 * at + 2]]
        return self._plainly("".join(words), 0)
