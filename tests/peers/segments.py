"""A long TCP segment as a driver with offloads hands it over, and the check of the train that became of it."""

import struct
from collections.abc import Sequence

from .pcap import checksum

_VNET = struct.Struct("<BBHHHH")
NEEDS_CSUM, TCPV4 = 1, 1
HEADERS = 14 + 20 + 20
_SEQUENCE, _PORTS = 0x01020304, (40000, 80)
_ENDS = bytes([10, 0, 0, 1]) + bytes([10, 0, 0, 2])
_PUSH_ACK = 0x18


def payload(length: int) -> bytes:
    """`length` bytes without a period that a segment could have."""
    return bytes((at * 131 + (at >> 8) * 17) & 0xFF for at in range(length))


def large(length: int, mss: int) -> bytes:
    """struct virtio_net_hdr and frame: `length` bytes of TCP, to be sent as segments of `mss` (VIRTIO 1.2, 5.1.6.2)."""
    body = payload(length)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + length, 7, 0x4000, 64, 6, 0) + _ENDS
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    partial = ~checksum(_ENDS + struct.pack("!HH", 6, 20 + length)) & 0xFFFF
    tcp = struct.pack("!HHIIBBHHH", *_PORTS, _SEQUENCE, 99, 0x50, _PUSH_ACK, 4096, partial, 0)
    frame = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0" + ip + tcp + body
    return _VNET.pack(NEEDS_CSUM, TCPV4, HEADERS, mss, 34, 16) + frame


def check_train(frames: Sequence[bytes], length: int, mss: int) -> None:
    """Fail unless these are the segments of `large(length, mss)`, in order, each with right lengths and checksums."""
    sizes = [min(mss, length - at) for at in range(0, length, mss)]
    assert [len(frame) - HEADERS for frame in frames] == sizes
    at = 0
    for frame, size in zip(frames, sizes, strict=True):
        ip, tcp = frame[14:34], frame[34:]
        assert struct.unpack("!H", ip[2:4])[0] == 40 + size
        assert checksum(ip) == 0, "IP header checksum"
        assert checksum(ip[12:] + struct.pack("!HH", 6, len(tcp)) + tcp) == 0, "TCP checksum"
        assert struct.unpack("!I", tcp[4:8])[0] == _SEQUENCE + at
        at += size
    assert b"".join(frame[HEADERS:] for frame in frames) == payload(length)
