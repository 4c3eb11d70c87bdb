"""The table of messages: which class is which type in which versions, and how its body lies on the wire.

A row is added by the decorator above each message class, so class and row stand together:

    @message(OFPT.ROLE_REQUEST, "I4xQ")
    @dataclass(frozen=True, slots=True)
    class RoleRequest(Message): ...

Multipart bodies are rows too, under (type, multipart type), and messages of experimenters that we know, under
(type, experimenter, experimenter's type). `BY_KEY[version]` and `BY_CLASS[version]` find a row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vswitchd.ofproto.constants import OFP_VERSION_13, OFPT
from vswitchd.ofproto.wire import Body, Codec, Layout, Pad, Reader

_EXPERIMENTER = struct.Struct("!II")
M = TypeVar("M", bound="type[Message]")
Key = int | tuple[int, int] | tuple[int, int, int]
Check = Callable[[Any], None]


class Message:
    """Any message, without its xid."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One message in one version; `key` as in the module's text."""

    version: int
    key: Key
    cls: type[Message]
    body: Body
    check: Check | None = None

    @property
    def type(self) -> int:
        """The message type."""
        return self.key[0] if isinstance(self.key, tuple) else self.key

    @property
    def part(self) -> int:
        """The multipart type."""
        return self.key[1] if isinstance(self.key, tuple) else 0

    @property
    def prefix(self) -> bytes:
        """What stands between the header and the body of an experimenter's message that we know."""
        return (
            _EXPERIMENTER.pack(*self.key[1:]) if isinstance(self.key, tuple) and len(self.key) == 3 else b""
        )

    def read(self, rd: Reader, flags: int | None = None) -> Message:
        """Read the body (all of it) and check the values."""
        msg: Message = self.body.read(rd) if flags is None else self.body.read(rd, flags=flags)
        rd.finish()
        if self.check is not None:
            self.check(msg)
        return msg


BY_KEY: dict[int, dict[Key, Row]] = {}
BY_CLASS: dict[int, dict[type[Message], Row]] = {}
# What every version of OpenFlow shares and a peer may send before the version is agreed on (7.5).
ANY_VERSION = (OFPT.HELLO, OFPT.ERROR, OFPT.ECHO_REQUEST, OFPT.ECHO_REPLY)


def message(
    kind: Key, fmt: str = "", *parts: Codec | Pad, text: tuple[str, ...] = (),
    versions: tuple[int, ...] = (OFP_VERSION_13,), check: Check | None = None, layout: type[Layout] = Layout,
    absent: int = 0,
) -> Callable[[M], M]:  # fmt: skip
    """Add a message class to the table; `check` raises OFError for values that this version cannot mean.

    `absent`: how many of the last fields (before `flags`) are not on the wire of these versions.
    """

    def add(cls: M) -> M:
        extra = (
            1 if isinstance(kind, tuple) and len(kind) == 2 else 0
        )  # the flags of a multipart message, its last field
        body = layout(cls, fmt, *parts, text=text, extra=extra + absent)
        for version in versions:
            add_row(Row(version, kind, cls, body, check))
        return cls

    return add


def add_row(row: Row) -> None:
    """Add a row that does not stand at its class: how another version writes it."""
    BY_KEY.setdefault(row.version, {})[row.key] = row
    BY_CLASS.setdefault(row.version, {})[row.cls] = row
