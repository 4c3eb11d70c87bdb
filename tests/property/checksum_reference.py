"""Internet checksums of a whole frame, computed from scratch: what incremental updates must keep."""

from __future__ import annotations

import struct

from parse_reference import Reading, be16
from scapy.layers.sctp import crc32c


def ones_sum(data: bytes) -> int:
    """Ones' complement sum of the 16-bit words of data (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _final_destination(frame: bytes, l3: int, l4: int) -> bytes:
    """The address in the pseudo-header: the last one of a routing header still in use (RFC 8200, 8.1)."""
    proto, at = frame[l3 + 6], l3 + 40
    while at < l4:
        size = {44: 8, 51: 4 * (frame[at + 1] + 2)}.get(proto, 8 * (frame[at + 1] + 1))
        if proto == 43 and frame[at + 3] and size >= 24:
            return frame[at + size - 16 : at + size]
        proto, at = frame[at], at + size
    return frame[l3 + 24 : l3 + 40]


def sums(frame: bytes, r: Reading) -> dict[str, int]:
    """0xffff for each Internet checksum that is right, 0 for a CRC; `udp0` for a UDP header without one."""
    found: dict[str, int] = {}
    eth_type = r.members.get("eth_type")
    if eth_type == b"\x08\x00" and "ipv4_src" in r.members:
        found["ip"] = ones_sum(frame[r.l3 : r.l3 + 4 * (frame[r.l3] & 15)])
    if r.l4 == 0xFFFF:
        return found
    proto = r.members["ip_proto"][0]
    if eth_type == b"\x08\x00":
        end = r.l3 + be16(frame, r.l3 + 2)
        pseudo = frame[r.l3 + 12 : r.l3 + 20] + struct.pack(">HH", proto, end - r.l4)
    else:
        end = r.l3 + 40 + be16(frame, r.l3 + 4)
        pseudo = (
            frame[r.l3 + 8 : r.l3 + 24]
            + _final_destination(frame, r.l3, r.l4)
            + struct.pack(">II", end - r.l4, proto)
        )
    if proto == 17 and frame[r.l4 + 6 : r.l4 + 8] == b"\0\0":
        found["udp0"] = 0
    elif proto in (6, 17, 58):
        found["l4"] = ones_sum(pseudo + frame[r.l4 : end])
    elif proto == 1:
        found["l4"] = ones_sum(frame[r.l4 : end])
    elif proto == 132:  # whatever is wrong with it stays so
        stored = struct.unpack_from(">I", frame, r.l4 + 8)[0]  # scapy gives the CRC in the order of the wire
        found["crc"] = stored and stored ^ crc32c(frame[r.l4 : r.l4 + 8] + bytes(4) + frame[r.l4 + 12 : end])
    return found
