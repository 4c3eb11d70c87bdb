"""The frames that the tests of rings send."""

import struct


def frame(n: int, seed: int = 0) -> bytes:
    return bytes((i * 7 + seed) & 0xFF for i in range(n))


def tso(payload):
    """A TCP segment of that many bytes, longer than any frame, and what asks for cutting it."""
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + payload, 7, 0x4000, 64, 6, 0) + bytes(
        [10, 0, 0, 1, 10, 0, 0, 2]
    )
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 1000, 0, 0x50, 0x10, 512, 0, 0)
    data = bytes(12) + b"\x08\x00" + ip + tcp + frame(payload)
    return data, {
        "csum": 1,
        "csum_start": 34,
        "csum_offset": 16,
        "gso_type": 1,
        "gso_size": 1448,
        "gso_hdr_len": 54,
    }
