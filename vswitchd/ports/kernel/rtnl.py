"""Route netlink as far as it tells of interfaces: requests built, messages parsed, no I/O (rtnetlink(7))."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
RTMGRP_LINK = 1

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO = 1, 3, 4, 18
IFLA_TARGET_NETNSID = 46
IFLA_INFO_KIND = 1
RTM_NEWNSID, RTM_GETNSID = 88, 90
NETNSA_NSID, NETNSA_FD = 1, 3

IFF_UP, IFF_LOWER_UP = 0x1, 0x10000

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_IFINFO = struct.Struct("=BxHiII")  # ifinfomsg: family, ARP type, index, flags, change
_ATTR = struct.Struct("=HH")
_ATTR_TYPE = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


@dataclass(frozen=True, slots=True)
class Link:
    """One interface, as the kernel described it. index and name are unique in one namespace only."""

    index: int
    name: str = ""
    flags: int = 0
    mtu: int = 0
    mac: str = "00:00:00:00:00:00"
    kind: str = ""
    """What made it: "veth", "tun", "bridge", ...; "" for hardware."""
    gone: bool = False
    """It left this namespace: deleted, or moved to another one."""

    @property
    def admin_up(self) -> bool:
        """Somebody set it up."""
        return bool(self.flags & IFF_UP)

    @property
    def link_up(self) -> bool:
        """Up, and with a carrier."""
        return self.admin_up and bool(self.flags & IFF_LOWER_UP)


@dataclass(frozen=True, slots=True)
class Ack:
    """Answer to the request of that sequence number; errno 0 is success."""

    sequence: int
    errno: int


@dataclass(frozen=True, slots=True)
class Done:
    """End of a dump."""

    sequence: int


@dataclass(frozen=True, slots=True)
class NamespaceId:
    """By what number our namespace knows another one; negative: by none yet."""

    value: int


Message = Link | Ack | Done | NamespaceId


def _attr(kind: int, value: bytes) -> bytes:
    return _ATTR.pack(_ATTR.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def get_link(sequence: int, name: str, netns: int | None = None) -> bytes:
    """Ask for one interface (in the namespace of that identifier). Answer: Link, or Ack with an error."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + _attr(IFLA_IFNAME, name.encode() + b"\0")
    if netns is not None:
        body += _attr(IFLA_TARGET_NETNSID, struct.pack("=i", netns))
    return _request(RTM_GETLINK, 0, sequence, body)


def get_namespace_id(sequence: int, fd: int) -> bytes:
    """Ask for the identifier of the namespace of an open file. Answer: NamespaceId."""
    return _request(RTM_GETNSID, 0, sequence, bytes(4) + _attr(NETNSA_FD, struct.pack("=I", fd)))


def new_namespace_id(sequence: int, fd: int) -> bytes:
    """Give the namespace of an open file an identifier that the kernel chooses. Answer: Ack."""
    body = bytes(4) + _attr(NETNSA_FD, struct.pack("=I", fd)) + _attr(NETNSA_NSID, struct.pack("=i", -1))
    return _request(RTM_NEWNSID, NLM_F_ACK, sequence, body)


def dump_links(sequence: int) -> bytes:
    """Ask for all interfaces. Answer: Links, then Done."""
    return _request(RTM_GETLINK, NLM_F_DUMP, sequence, _IFINFO.pack(0, 0, 0, 0, 0))


def set_link(
    sequence: int,
    index: int,
    *,
    mtu: int | None = None,
    mac: str | None = None,
    up: bool | None = None,
    netns: int | None = None,
) -> bytes:
    """Change one interface (netns: in the namespace of that identifier). Answer: Ack."""
    body = _IFINFO.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    if netns is not None:
        body += _attr(IFLA_TARGET_NETNSID, struct.pack("=i", netns))
    if mtu is not None:
        body += _attr(IFLA_MTU, struct.pack("=I", mtu))
    if mac is not None:
        body += _attr(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    return _request(RTM_NEWLINK, NLM_F_ACK, sequence, body)


def _attributes(data: memoryview) -> Iterator[tuple[int, bytes]]:
    """Attributes in order; what is cut short ends the list."""
    at = 0
    while at + _ATTR.size <= len(data):
        length, kind = _ATTR.unpack_from(data, at)
        if length < _ATTR.size or at + length > len(data):
            return
        yield kind & _ATTR_TYPE, bytes(data[at + _ATTR.size : at + length])
        at += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


def _int(value: bytes) -> int:
    return int.from_bytes(value[:4], "little" if struct.pack("=H", 1) == b"\1\0" else "big", signed=True)


def _parse_link(body: memoryview, gone: bool) -> Link | None:
    if len(body) < _IFINFO.size:
        return None
    _family, _arp, index, flags, _change = _IFINFO.unpack_from(body)
    attrs = dict(_attributes(body[_IFINFO.size :]))
    info = dict(_attributes(memoryview(attrs.get(IFLA_LINKINFO, b""))))
    return Link(
        index=index,
        name=_text(attrs.get(IFLA_IFNAME, b"")),
        flags=flags,
        mtu=_int(attrs.get(IFLA_MTU, b"")),
        mac=attrs.get(IFLA_ADDRESS, bytes(6)).hex(":"),
        kind=_text(info.get(IFLA_INFO_KIND, b"")),
        gone=gone,
    )


def parse(data: bytes) -> list[Message]:
    """Parse the messages of one datagram. One that is cut short ends the list, other kinds are skipped."""
    view, at, out = memoryview(data), 0, list[Message]()
    while at + _HEADER.size <= len(view):
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(view, at)
        if length < _HEADER.size or at + length > len(view):
            break
        body = view[at + _HEADER.size : at + length]
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            link = _parse_link(body, kind == RTM_DELLINK)
            if link is not None:
                out.append(link)
        elif kind == RTM_NEWNSID:
            out.append(NamespaceId(_int(dict(_attributes(body[4:])).get(NETNSA_NSID, b"\xff" * 4))))
        elif kind == NLMSG_ERROR and len(body) >= 4:
            out.append(Ack(sequence, -_int(bytes(body[:4]))))
        elif kind == NLMSG_DONE:
            out.append(Done(sequence))
        at += (length + 3) & ~3
    return out
