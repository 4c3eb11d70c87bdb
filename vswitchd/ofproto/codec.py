"""Whole messages: `decode`, `encode`, `frame` for streams, and the splitting of long multipart replies.

length = frame(buffer)                 None: read more; else the first message is buffer[:length]
xid, msg = decode(buffer[:length])     or OFError with the error message to send
data = encode(msg, xid)                or EncodeError
for data in encode_parts(reply, xid)   a list reply of any length, as messages of at most 65535 bytes
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from vswitchd.ofproto import bundle_messages as _bundle_messages  # noqa: F401  # fills the registry
from vswitchd.ofproto import messages10 as _messages10  # noqa: F401
from vswitchd.ofproto.constants import (
    OFP_HEADER_LEN,
    OFP_MAX_LEN,
    OFP_VERSION_10,
    OFP_VERSION_13,
    OFPMPF,
    OFPT,
)
from vswitchd.ofproto.constants10 import OFPT10
from vswitchd.ofproto.errors import OFP_ERROR_DATA_MIN, OFPBRC, EncodeError, OFError
from vswitchd.ofproto.messages import EchoReply, EchoRequest, Error, Hello
from vswitchd.ofproto.multipart import MultipartReply, MultipartRequest
from vswitchd.ofproto.registry import ANY_VERSION, BY_CLASS, BY_KEY, Message, Row
from vswitchd.ofproto.wire import ListOf, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_HEADER = struct.Struct("!BBHI")
# The header of multipart messages; in 1.0 (statistics) it has no padding.
_MULTIPART = {OFP_VERSION_10: struct.Struct("!HH"), OFP_VERSION_13: struct.Struct("!HH4x")}
_EXPERIMENTER = struct.Struct("!II")
_MULTIPART_TYPES = {
    OFP_VERSION_10: (OFPT10.STATS_REQUEST, OFPT10.STATS_REPLY),
    OFP_VERSION_13: (OFPT.MULTIPART_REQUEST, OFPT.MULTIPART_REPLY),
}
_UNFIT = (struct.error, OverflowError, TypeError, AttributeError, ValueError)
_SHARED = (Hello, Error, EchoRequest, EchoReply)  # the same in every version
P = TypeVar("P", bound=MultipartReply | MultipartRequest)


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

    Hello, error and echo are taken with any version in their header. Raises OFError and nothing else; its
    `data` and `xid` are filled in. Takes time linear in the length.
    """
    try:
        return _decode(data, version)
    except OFError as error:
        error.data = data[:OFP_ERROR_DATA_MIN]
        if len(data) >= OFP_HEADER_LEN:
            error.xid = _HEADER.unpack_from(data)[3]
        raise


def _decode(data: bytes, version: int) -> tuple[int, Message]:
    if len(data) < OFP_HEADER_LEN:
        raise OFError(OFPBRC.BAD_LEN, f"{len(data)} bytes are no header")
    got, kind, length, xid = _HEADER.unpack_from(data)
    if length != len(data):
        raise OFError(OFPBRC.BAD_LEN, f"{len(data)} bytes, but the header says {length}")
    if got != version and kind not in ANY_VERSION:
        raise OFError(OFPBRC.BAD_VERSION, f"version {got:#04x} on a connection of version {version:#04x}")
    rd = Reader(data, OFP_HEADER_LEN, length, OFPBRC.BAD_LEN, got)
    rows = BY_KEY[version]
    if kind in _MULTIPART_TYPES[version]:
        part, flags = rd.unpack(_MULTIPART[version])
        row = rows.get((kind, part))
        if row is None:
            raise OFError(OFPBRC.BAD_MULTIPART, f"multipart type {part}")
        return xid, row.read(rd, flags)
    row = rows.get(kind)
    if kind == OFPT.EXPERIMENTER and rd.end - rd.pos >= _EXPERIMENTER.size:
        known = rows.get((kind, *_EXPERIMENTER.unpack_from(data, rd.pos)))
        if known is not None:
            rd.skip(_EXPERIMENTER.size)
            row = known
    if row is None:
        raise OFError(OFPBRC.BAD_TYPE, f"message type {kind}")
    return xid, row.read(rd)


def _row(msg: Message, version: int) -> Row:
    try:
        return BY_CLASS[version][msg.__class__]
    except KeyError:
        raise EncodeError(f"no {msg.__class__.__name__} in version {version:#04x}") from None


def encode(msg: Message, xid: int, version: int = OFP_VERSION_13) -> bytes:
    """Encode one message; EncodeError if a value does not fit the wire or all is longer than 65535 bytes.

    A hello's header has the hello's own version; errors and echos may be encoded with any `version`.
    """
    shared = msg.__class__ in _SHARED
    row = _row(msg, OFP_VERSION_13 if shared else version)
    try:
        body = row.prefix + row.body.write(msg, version)
        if isinstance(msg, (MultipartRequest, MultipartReply)):
            body = _MULTIPART[version].pack(row.part, msg.flags) + body
        head = msg.version if isinstance(msg, Hello) else version
        return _HEADER.pack(head, row.type, OFP_HEADER_LEN + len(body), xid) + body
    except EncodeError:
        raise
    except _UNFIT as error:
        raise EncodeError(f"{msg.__class__.__name__} does not fit the wire: {error}") from None


def encode_parts(
    msg: MultipartReply | MultipartRequest,
    xid: int,
    version: int = OFP_VERSION_13,
    entries: Iterable[object] | None = None,
    limit: int = OFP_MAX_LEN,
) -> Iterator[bytes]:
    """Yield the messages of a multipart list of any length; all but the last have OFPMPF.MORE.

    The elements are those of `entries` (any iterable, read lazily) or, without it, of `msg.entries`. A
    message that is no list is yielded as it is. One element must fit one message: EncodeError.
    """
    row = _row(msg, version)
    codec = row.body.parts[0] if row.body.parts else None
    if not isinstance(codec, ListOf):
        yield encode(msg, xid, version)
        return
    header_len = OFP_HEADER_LEN + _MULTIPART[version].size
    room = limit - header_len
    chunks: list[bytes] = []
    size = 0

    def flush(flags: int) -> bytes:
        head = _HEADER.pack(version, row.type, header_len + size, xid)
        return b"".join([head, _MULTIPART[version].pack(row.part, flags), *chunks])

    for entry in getattr(msg, "entries", ()) if entries is None else entries:
        try:
            chunk = codec.element.write(entry, version)
        except EncodeError:
            raise
        except _UNFIT as error:
            raise EncodeError(f"{entry.__class__.__name__} does not fit the wire: {error}") from None
        if len(chunk) > room:
            raise EncodeError(f"{entry.__class__.__name__} of {len(chunk)} bytes does not fit one message")
        if size + len(chunk) > room:
            yield flush(msg.flags | OFPMPF.MORE)
            chunks, size = [], 0
        chunks.append(chunk)
        size += len(chunk)
    yield flush(msg.flags)


def join(parts: Sequence[P]) -> P:
    """Join the parts of one multipart message, all of one class, into one without OFPMPF.MORE."""
    whole: Any = parts[-1]
    if len(parts) > 1 and hasattr(whole, "entries"):
        entries: list[Any] = [entry for part in parts for entry in getattr(part, "entries", ())]
        whole = replace(whole, entries=tuple(entries))
    joined: P = replace(whole, flags=whole.flags & ~OFPMPF.MORE)
    return joined
