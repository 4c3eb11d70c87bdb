"""Capture files, and the frames that the interop tests send: UDP with a body that is checked."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")
_MAGIC = 0xA1B2C3D4
SMALLEST, LARGEST = 60, 1514


def write(path: Path, frames: Iterable[bytes]) -> None:
    """Write whole frames; the time stamps are their numbers."""
    with path.open("wb") as file:
        file.write(_FILE_HEADER.pack(_MAGIC, 2, 4, 0, 0, 65535, 1))
        for number, frame in enumerate(frames):
            file.write(_RECORD.pack(number, 0, len(frame), len(frame)) + frame)


def read(path: Path) -> list[bytes]:
    """Read the whole frames of a capture that may still be growing."""
    data = path.read_bytes()
    frames, at = [], _FILE_HEADER.size
    while at + _RECORD.size <= len(data):
        length = _RECORD.unpack_from(data, at)[2]
        at += _RECORD.size
        if at + length > len(data):
            break
        frames.append(data[at : at + length])
        at += length
    return frames


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) & 1))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(number: int, length: int, *, port: int = 1001, way: int = 0) -> bytes:
    """One frame of `length` bytes (from 46) with correct checksums; `way` 1 swaps the two ends.

    The body starts with `number` and every byte depends on it: a frame cut, merged or mixed up differs.
    """
    ends = [(b"\x02\0\0\0\0\x01", bytes([10, 0, 0, 1])), (b"\x02\0\0\0\0\x02", bytes([10, 0, 0, 2]))]
    (src_mac, src_ip), (dst_mac, dst_ip) = ends[way], ends[1 - way]
    body = struct.pack("!I", number) + bytes((number * 7 + at) & 0xFF for at in range(length - 46))
    size = 8 + len(body)
    plain = struct.pack("!HHHH", 1000, port, size, 0) + body
    pseudo = src_ip + dst_ip + struct.pack("!BBH", 0, 17, size)
    datagram = plain[:6] + struct.pack("!H", checksum(pseudo + plain) or 0xFFFF) + plain[8:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, number & 0xFFFF, 0, 64, 17, 0, src_ip, dst_ip)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return dst_mac + src_mac + b"\x08\0" + header + datagram


def tcp(number: int, size: int, *, v6: bool = False) -> bytes:
    """A TCP segment with `size` bytes of payload, however long that makes the frame, and correct checksums.

    Its sequence number is `number` * 100,000, its flags are PSH and ACK; the payload depends on both.
    """
    payload = bytes((number * 7 + at + (at >> 8)) & 0xFF for at in range(size))
    plain = struct.pack("!HHIIBBHHH", 1000, 80, number * 100_000, 1, 0x50, 0x18, 1000, 0, 0) + payload
    src, dst = (bytes(15) + b"\x01", bytes(15) + b"\x02") if v6 else (b"\x0a\0\0\x01", b"\x0a\0\0\x02")
    pseudo = src + dst + struct.pack("!IHBB", len(plain), 0, 0, 6)
    segment = plain[:16] + struct.pack("!H", checksum(pseudo + plain)) + plain[18:]
    ends = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01"
    if v6:
        return ends + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(plain), 6, 64) + src + dst + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(plain), number, 0, 64, 6, 0) + src + dst
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return ends + b"\x08\0" + header + segment


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment or UDP datagram: what says which it is, and whether its checksum is done or begun.

    `complete`: the checksum is right. `partial`: it is that of the pseudo header alone, for a device to complete.
    """

    v6: bool
    protocol: int
    sequence: int
    flags: int
    payload: bytes
    complete: bool
    partial: bool


def segment(frame: bytes) -> Segment:
    """Take an untagged IPv4 or IPv6 frame without options apart. AssertionError if the IPv4 header is wrong."""
    v6 = frame[12:14] == b"\x86\xdd"
    if v6:
        size, protocol, addresses, l4 = int.from_bytes(frame[18:20]), frame[20], frame[22:54], 54
    else:
        size, protocol, addresses, l4 = int.from_bytes(frame[16:18]) - 20, frame[23], frame[26:34], 34
        assert frame[12:15] == b"\x08\0\x45"
        assert checksum(frame[14:34]) == 0, "IPv4 header checksum"
    assert len(frame) == l4 + size, "length of the IP packet"
    data = frame[l4:]
    pseudo = addresses + struct.pack("!IHBB", size, 0, 0, protocol)
    field = int.from_bytes(data[16:18] if protocol == 6 else data[6:8])
    return Segment(
        v6=v6,
        protocol=protocol,
        sequence=int.from_bytes(data[4:8]) if protocol == 6 else 0,
        flags=data[13] if protocol == 6 else 0,
        payload=data[20 if protocol == 6 else 8 :],
        complete=checksum(pseudo + data) == 0,
        partial=field == ~checksum(pseudo) & 0xFFFF,
    )


def spread(count: int, *, way: int = 0, ports: Sequence[int] = (1001,)) -> list[bytes]:
    """`count` frames of sizes over the whole range from SMALLEST to LARGEST, their ports in turn."""
    sizes = (SMALLEST + (number * 37) % (LARGEST - SMALLEST + 1) for number in range(count))
    return [udp(number, size, port=ports[number % len(ports)], way=way) for number, size in enumerate(sizes)]
