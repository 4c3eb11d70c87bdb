"""Bundle messages: the ONF's extension 230 for 1.3, messages of its experimenter 0x4f4e4600.

A bundle-add holds a whole message. It is read at once and so refused at once if it is malformed; what a switch
can bundle is the switch's to say, only a bundle within a bundle is refused here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from vswitchd.ofproto.constants import OFP_HEADER_LEN, OFP_VERSION_13, OFPT, ONF_EXPERIMENTER, ONFT
from vswitchd.ofproto.errors import OFP_ERROR_DATA_MIN, OFPBFC, OFPBRC, EncodeError, OFError
from vswitchd.ofproto.registry import ANY_VERSION, BY_CLASS, BY_KEY, Message, message
from vswitchd.ofproto.wire import Layout, ListOf, Reader

_HEADER = struct.Struct("!BBHI")
_PROPERTY = struct.Struct("!HH")
_NEVER = (*ANY_VERSION, OFPT.EXPERIMENTER, OFPT.MULTIPART_REQUEST, OFPT.MULTIPART_REPLY)


@dataclass(frozen=True, slots=True)
class BundleProperty:
    """A property, opaque: no type but the experimenters' 0xffff is defined."""

    type: int
    data: bytes = b""


class _Property:
    """A property: type, length without padding, padding to 8 bytes."""

    cls = BundleProperty

    def read(self, rd: Reader) -> BundleProperty:
        """Read one."""
        kind, length = rd.unpack(_PROPERTY)
        if length < _PROPERTY.size:
            raise OFError(OFPBRC.BAD_LEN, f"a bundle property of {length} bytes")
        value = BundleProperty(kind, rd.sub(length - _PROPERTY.size).rest())
        rd.skip(-length % 8)
        return value

    def write(self, value: BundleProperty, _version: int) -> bytes:
        """Write one."""
        length = _PROPERTY.size + len(value.data)
        return _PROPERTY.pack(value.type, length) + value.data + bytes(-length % 8)


_PROPERTIES = ListOf(_Property())


@message((OFPT.EXPERIMENTER, ONF_EXPERIMENTER, ONFT.BUNDLE_CONTROL), "IHH", _PROPERTIES)
@dataclass(frozen=True, slots=True)
class BundleControl(Message):
    """Open, close, commit or discard a bundle, and the answers; type is OFPBCT, flags are OFPBF."""

    bundle_id: int
    type: int
    flags: int = 0
    properties: tuple[BundleProperty, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundled:
    """A message within a bundle-add; xid is that of both. `head` is its first 64 bytes, for an error."""

    xid: int
    message: Message
    head: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands before the message of a bundle-add: all bits but length and xid are in `mask`."""

    mask: bytes
    head: bytes

    @staticmethod
    def of(data: bytes) -> Envelope | None:
        """Take that of a bundle-add that was decoded; None where something is behind its message."""
        if ENVELOPE_BYTES + int.from_bytes(data[ENVELOPE_BYTES + 2 : ENVELOPE_BYTES + 4], "big") != len(data):
            return None
        mask = b"\xff\xff" + bytes(OFP_HEADER_LEN - 2) + b"\xff" * (ENVELOPE_BYTES - OFP_HEADER_LEN)
        return Envelope(mask, bytes(a & b for a, b in zip(data, mask, strict=False)))


class _Bundled:
    """The codec of the message within: whole, with its header, and of the same version and xid."""

    def read(self, rd: Reader) -> Bundled:
        """Read it; OFError of OFPBFC for its header, of the message's own kind for its body."""
        if rd.end - rd.pos < OFP_HEADER_LEN:
            raise OFError(OFPBFC.MSG_BAD_LEN, f"{rd.end - rd.pos} bytes left for a message")
        start = rd.pos
        version, kind, length, xid = _HEADER.unpack_from(rd.data, start)
        if not OFP_HEADER_LEN <= length <= rd.end - start:
            raise OFError(OFPBFC.MSG_BAD_LEN, f"a message of {length} bytes, {rd.end - start} are left")
        if rd.data[4:8] != rd.data[start + 4 : start + 8]:
            raise OFError(OFPBFC.MSG_BAD_XID, f"xid {xid:#x} is not that of the bundle-add")
        row = None if kind in _NEVER else BY_KEY[rd.version].get(kind)
        if version != rd.version or row is None:
            raise OFError(OFPBFC.MSG_UNSUP, f"message type {kind} of version {version} in a bundle")
        inner = Reader(rd.data, start + OFP_HEADER_LEN, start + length, OFPBRC.BAD_LEN, version)
        found = row.read(inner)
        rd.pos = start + length
        return Bundled(xid, found, rd.data[start : start + min(length, OFP_ERROR_DATA_MIN)])

    def write(self, value: Bundled, version: int) -> bytes:
        """Write it; EncodeError where this message cannot be bundled."""
        row = BY_CLASS[version].get(value.message.__class__)
        if row is None or not isinstance(row.key, int) or row.type in _NEVER:
            raise EncodeError(f"{value.message.__class__.__name__} cannot stand in a bundle")
        body = row.body.write(value.message, version)
        return _HEADER.pack(version, row.type, OFP_HEADER_LEN + len(body), value.xid) + body


class _Trailing(ListOf):
    """Properties behind the message, which is padded to 8 bytes where there are any (`_AddLayout` writes it)."""

    def read(self, rd: Reader) -> tuple[BundleProperty, ...]:
        """Read properties to the end."""
        if rd.pos < rd.end:
            rd.skip(-rd.pos % 8)
        found: tuple[BundleProperty, ...] = super().read(rd)
        return found


class _AddLayout(Layout):
    def write(self, value: BundleAdd, version: int) -> bytes:
        """Write the body; properties behind padding."""
        body = super().write(replace(value, properties=()), version)
        if value.properties:
            body += bytes(-len(body) % 8) + _PROPERTIES.write(value.properties, version)
        return body


@message((OFPT.EXPERIMENTER, ONF_EXPERIMENTER, ONFT.BUNDLE_ADD), "I2xH", _Bundled(), _Trailing(_Property()),
         layout=_AddLayout)  # fmt: skip
@dataclass(frozen=True, slots=True)
class BundleAdd(Message):
    """Add a message to a bundle; flags are OFPBF. The xid to encode it with is that of `bundled`."""

    bundle_id: int
    flags: int
    bundled: Bundled
    properties: tuple[BundleProperty, ...] = ()


_ROW = BY_CLASS[OFP_VERSION_13][BundleAdd]
assert isinstance(_ROW.body, Layout)
ENVELOPE_BYTES = OFP_HEADER_LEN + len(_ROW.prefix) + _ROW.body.fixed.size
"""Bytes of a bundle-add before its message."""
