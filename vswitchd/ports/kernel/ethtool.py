"""What a driver says of itself and its link: the two ethtool requests that status needs (linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import NamedTuple

SIOCETHTOOL = 0x8946
ETHTOOL_GSET, ETHTOOL_GDRVINFO = 0x1, 0x3
_UNKNOWN_MBPS = (0, 0xFFFF, 0xFFFFFFFF)


class Driver(NamedTuple):
    """Name and versions as in struct ethtool_drvinfo; empty where the driver does not say."""

    name: str = ""
    version: str = ""
    firmware: str = ""
    bus: str = ""


def _ask(interface: str, command: int, size: int) -> bytes | None:
    data = array.array("B", struct.pack("=I", command) + bytes(size - 4))
    request = struct.pack("16sP16x", interface.encode(), data.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            fcntl.ioctl(sock, SIOCETHTOOL, request)
        except OSError:
            return None
    return data.tobytes()


def driver(interface: str) -> Driver:
    """Ask for the driver of an interface of our namespace."""
    answer = _ask(interface, ETHTOOL_GDRVINFO, 196)
    if answer is None:
        return Driver()
    return Driver(
        *(answer[at : at + 32].split(b"\0", 1)[0].decode("ascii", "replace") for at in (4, 36, 68, 100))
    )


def speed_bps(interface: str) -> int:
    """Speed of the link in bits per second, 0 when unknown or down."""
    answer = _ask(interface, ETHTOOL_GSET, 44)
    if answer is None:
        return 0
    low, high = struct.unpack_from("=H", answer, 12)[0], struct.unpack_from("=H", answer, 28)[0]
    mbps = high << 16 | low
    return 0 if mbps in _UNKNOWN_MBPS else mbps * 1_000_000
