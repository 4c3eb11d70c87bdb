"""A VLAN device for kernels without one: a tap whose frames leave another device with a tag, and come back from it.

python tests/peers/tagger.py DEVICE NAME VLAN     prints "ready" when the tap NAME is there, then goes on until it is ended
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8
AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
VLAN_VALID = 1 << 4
OUTGOING = 4
TPID = b"\x81\x00"
MAX_FRAME = 65536


def open_tap(name: str) -> int:
    """Make a tap; its file descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def open_device(name: str) -> socket.socket:
    """A packet socket on a device, which tells the tag that the kernel took out of a frame."""
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    device.bind((name, ETH_P_ALL))
    device.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    return device


def untagged(device: socket.socket, vlan: int) -> bytes | None:
    """Take a frame from the device; it without its tag if that is of the VLAN, else None."""
    frame, extra, _flags, source = device.recvmsg(MAX_FRAME, socket.CMSG_SPACE(AUXDATA.size))
    if source[2] == OUTGOING:
        return None
    for level, kind, data in extra:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tci, _tpid = AUXDATA.unpack(data[: AUXDATA.size])
            if status & VLAN_VALID:
                return frame if tci & 0xFFF == vlan else None
    if frame[12:14] == TPID and int.from_bytes(frame[14:16], "big") & 0xFFF == vlan:
        return frame[:12] + frame[16:]
    return None


def main(device_name: str, tap_name: str, vlan: int) -> None:
    """Carry frames both ways."""
    device, tap = open_device(device_name), open_tap(tap_name)
    tag = TPID + vlan.to_bytes(2, "big")
    print("ready", flush=True)
    while True:
        for ready in select.select([device, tap], [], [])[0]:
            try:
                if ready is tap:
                    frame = os.read(tap, MAX_FRAME)
                    device.send(frame[:12] + tag + frame[12:])
                elif inner := untagged(device, vlan):
                    os.write(tap, inner)
            except OSError:
                continue  # one of the two is down: the frame is lost, as on any wire


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
