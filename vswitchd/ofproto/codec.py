"""Whole messages: `decode`, `encode`, `frame` for streams, and the splitting of long multipart replies.

    length = frame(buffer)                 None: read more; else the first message is buffer[:length]
    xid, msg = decode(buffer[:length])     or OFError with the error message to send
    data = encode(msg, xid)                or EncodeError
    for data in encode_parts(reply, xid)   a list reply of any length, as messages of at most 65535 bytes
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from vswitchd.ofproto import messages as _messages  # noqa: F401  # fills the registry
from vswitchd.ofproto.constants import OFP_HEADER_LEN, OFP_MAX_LEN, OFP_VERSION_13, OFPMPF, OFPT
from vswitchd.ofproto.errors import OFPBRC, OFP_ERROR_DATA_MIN, EncodeError, OFError
from vswitchd.ofproto.messages import Hello
from vswitchd.ofproto.multipart import MultipartReply, MultipartRequest
from vswitchd.ofproto.registry import ANY_VERSION, BY_CLASS, BY_KEY, Message, Row
from vswitchd.ofproto.wire import ListOf, Reader

_HEADER = struct.Struct("!BBHI")
_MULTIPART = struct.Struct("!HH4x")
_MULTIPART_HEADER_LEN = OFP_HEADER_LEN + _MULTIPART.size
_MULTIPART_TYPES = (OFPT.MULTIPART_REQUEST, OFPT.MULTIPART_REPLY)
P = TypeVar("P", MultipartReply, MultipartRequest)


def frame(buffer: bytes | bytearray | memoryview) -> int | None:
    """Return the length of the first message in a stream, None while its header or body is incomplete.

    A length below 8 is an OFError (BAD_LEN): the stream cannot be resynchronized, so close the connection.
    """
    if len(buffer) < OFP_HEADER_LEN:
        return None
    _version, _kind, length, xid = _HEADER.unpack_from(buffer)
    if length < OFP_HEADER_LEN:
        raise OFError(OFPBRC.BAD_LEN, f"a message of {length} bytes", bytes(buffer[:OFP_ERROR_DATA_MIN]), xid)
    return length if len(buffer) >= length else None


def decode(data: bytes, version: int = OFP_VERSION_13) -> tuple[int, Message]:
    """Decode one whole message, header included, on a connection that speaks `version`: (xid, message).

    Hello, error and echo are taken with any version in their header. Raises OFError and nothing else; its `data` and
    `xid` are filled in. Takes time linear in the length.
    """
    xid = 0
    try:
        if len(data) < OFP_HEADER_LEN:
            raise OFError(OFPBRC.BAD_LEN, f"{len(data)} bytes are no header")
        got, kind, length, xid = _HEADER.unpack_from(data)
        if length != len(data):
            raise OFError(OFPBRC.BAD_LEN, f"{len(data)} bytes, but the header says {length}")
        if got != version and kind not in ANY_VERSION:
            raise OFError(OFPBRC.BAD_VERSION, f"version {got:#04x} on a connection of version {version:#04x}")
        rd = Reader(data, OFP_HEADER_LEN, length, OFPBRC.BAD_LEN, got)
        rows = BY_KEY[version]
        if kind in _MULTIPART_TYPES:
            part, flags = rd.unpack(_MULTIPART)
            row = rows.get((kind, part))
            if row is None:
                raise OFError(OFPBRC.BAD_MULTIPART, f"multipart type {part}")
            return xid, row.read(rd, flags)
        row = rows.get(kind)
        if row is None:
            raise OFError(OFPBRC.BAD_TYPE, f"message type {kind}")
        return xid, row.read(rd)
    except OFError as error:
        error.data = data[:OFP_ERROR_DATA_MIN]
        error.xid = xid
        raise


def _row(msg: Message, version: int) -> Row:
    try:
        return BY_CLASS[version][msg.__class__]
    except KeyError:
        raise EncodeError(f"no {msg.__class__.__name__} in version {version:#04x}") from None


def encode(msg: Message, xid: int, version: int = OFP_VERSION_13) -> bytes:
    """Encode one message; EncodeError if a value does not fit the wire or the whole is longer than 65535 bytes.

    A hello's header has the hello's own version; errors and echos may be encoded with any `version`.
    """
    if isinstance(msg, Hello):
        row, head = BY_CLASS[OFP_VERSION_13][Hello], msg.version
    else:
        row, head = _row(msg, version if version in BY_CLASS else OFP_VERSION_13), version
        if version not in BY_CLASS and row.key not in ANY_VERSION:
            raise EncodeError(f"no {msg.__class__.__name__} in version {version:#04x}")
    try:
        body = row.body.write(msg, version)
        if isinstance(msg, (MultipartRequest, MultipartReply)):
            kind, part = row.key  # type: ignore[misc]  # multipart rows have pairs
            body = _MULTIPART.pack(part, msg.flags) + body
        else:
            kind = row.key
        return _HEADER.pack(head, kind, OFP_HEADER_LEN + len(body), xid) + body
    except (struct.error, OverflowError, TypeError, ValueError) as error:
        raise EncodeError(f"{msg.__class__.__name__} does not fit the wire: {error}") from None


def encode_parts(
    msg: MultipartReply | MultipartRequest, xid: int, version: int = OFP_VERSION_13, entries: Iterable[object] | None = None,
    limit: int = OFP_MAX_LEN,
) -> Iterator[bytes]:  # fmt: skip
    """Yield the messages of a multipart list of any length; all but the last have OFPMPF.MORE.

    The elements are those of `entries` (any iterable, read lazily) or, without it, of `msg.entries`. A message without
    entries is yielded as it is. One element must fit one message: EncodeError.
    """
    row = _row(msg, version)
    codec = row.body.parts[0] if row.body.parts else None
    if not isinstance(codec, ListOf):
        yield encode(msg, xid, version)
        return
    kind, part = row.key  # type: ignore[misc]
    room = limit - _MULTIPART_HEADER_LEN
    chunks: list[bytes] = []
    size = 0

    def flush(flags: int) -> bytes:
        head = _HEADER.pack(version, kind, _MULTIPART_HEADER_LEN + size, xid)
        return b"".join([head, _MULTIPART.pack(part, flags), *chunks])

    for entry in msg.entries if entries is None else entries:  # type: ignore[union-attr]
        try:
            chunk = codec.element.write(entry, version)
        except (struct.error, OverflowError, TypeError) as error:
            raise EncodeError(f"{entry.__class__.__name__} does not fit the wire: {error}") from None
        if len(chunk) > room:
            raise EncodeError(f"{entry.__class__.__name__} of {len(chunk)} bytes does not fit one message")
        if size + len(chunk) > room:
            yield flush(msg.flags | OFPMPF.MORE)
            chunks, size = [], 0
        chunks.append(chunk)
        size += len(chunk)
    yield flush(msg.flags)


def join(parts: Iterable[P]) -> P:
    """Join the parts of one multipart message (same class) into one without OFPMPF.MORE."""
    received = list(parts)
    if len(received) == 1 or not hasattr(received[0], "entries"):
        return replace(received[-1], flags=received[-1].flags & ~OFPMPF.MORE)
    entries = tuple(entry for part in received for entry in part.entries)  # type: ignore[attr-defined]
    return replace(received[0], flags=received[0].flags & ~OFPMPF.MORE, entries=entries)  # type: ignore[call-arg]
