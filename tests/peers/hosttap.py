"""A tap of the host that carries a NIC's cable with virtio-net headers: what a driver's offloads asked for is seen as it is."""

import socket
import struct
from pathlib import Path

from .proc import run

_SOL_PACKET, _VNET_HDR, _OUTGOING = 263, 15, 4
_ALL = 3
_HEADER = struct.Struct("<BBHHHH")
LARGEST = 1 << 17


class HostTap:
    """Our end of the tap `name`, which QEMU has made. Frames come with (flags, gso_type, hdr_len, gso_size, start, offset)."""

    def __init__(self, name: str) -> None:
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        run(["ip", "link", "set", name, "up"])
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        self.socket.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        self.socket.bind((name, _ALL))
        self.socket.settimeout(30)

    def receive(self) -> tuple[tuple[int, ...], bytes]:
        """One frame of the guest's and its virtio-net header; TimeoutError when none comes."""
        while True:
            data, (_, _, kind, _, _) = self.socket.recvfrom(LARGEST)
            if kind != _OUTGOING:
                return _HEADER.unpack_from(data), data[_HEADER.size :]

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
