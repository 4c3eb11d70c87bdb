"""The kernel's side of a kernel port under test: a network namespace of the test, raw sockets in it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import subprocess
from pathlib import Path

from peers import need

CLONE_NEWNET = 0x40000000
SOL_PACKET, AUXDATA, VNET_HDR, IGNORE_OUTGOING = 263, 8, 15, 23
ETH_P_ALL = 3
VLAN_VALID = 0x10
VNET = struct.Struct(
    "=BBHHHH"
)  # struct virtio_net_hdr: flags, gso type, header length, gso size, csum start, csum offset
AUX = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_PATTERN = bytes(i * 7 % 251 for i in range(251))  # a prime length: no power of two repeats
EXPERIMENTAL = 0x88B5  # the Ethertype of test frames: the kernel sends none of its own with it


def need_root():
    if os.geteuid() != 0:
        need.missing("needs root: makes network namespaces and devices")


@contextlib.contextmanager
def namespace():
    """This thread is in a network namespace of its own; all devices in it are gone afterwards."""
    need_root()
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as old:
        if libc.unshare(CLONE_NEWNET) != 0:
            need.missing(f"cannot make a network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            for kind in ("all", "default"):  # the kernel sends nothing of its own: no neighbour discovery
                knob = Path(f"/proc/sys/net/ipv6/conf/{kind}/disable_ipv6")
                if knob.exists():
                    knob.write_text("1", encoding="ascii")
            yield
        finally:
            if libc.setns(old.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "cannot return to the first network namespace")


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


def frame(length, seed=0, ethertype=EXPERIMENTAL):
    """A test frame of that many bytes (14 at least), different for each seed."""
    start = seed * 13 % 251
    body = (_PATTERN * (length // 251 + 2))[start : start + length - 14]
    return bytes.fromhex("0200000000aa0200000000bb") + struct.pack("!H", ethertype) + body


class Wire:
    """A raw socket on an interface: the host behind a tap, or the other end of a veth.

    Sends and receives whole frames, VLAN tags in place, with their offload header.
    """

    def __init__(self, interface):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        for option in (VNET_HDR, AUXDATA, IGNORE_OUTGOING):
            self.sock.setsockopt(SOL_PACKET, option, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.sock.bind((interface, ETH_P_ALL))
        self.interface = interface

    def send(self, data, *, flags=0, gso_type=0, hdr_len=0, gso_size=0, csum_start=0, csum_offset=0):
        self.sock.send(VNET.pack(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset) + data)

    def receive(self, timeout=30.0):
        """The next test frame and its offload header, or None; other traffic is skipped."""
        while select.select([self.sock], [], [], timeout)[0]:
            try:
                data, ancillary, _flags, _from = self.sock.recvmsg(1 << 17, 256)
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # told once, when somebody sets it down
                    continue
                raise
            header, data = VNET.unpack_from(data), data[VNET.size :]
            for level, kind, value in ancillary:
                if (level, kind) == (SOL_PACKET, AUXDATA):
                    status, _len, _snap, _mac, _net, tci, tpid = AUX.unpack_from(value)
                    if status & VLAN_VALID:
                        data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
            if is_test_frame(data):
                return data, header
        return None

    def frames(self, n, timeout=30.0):
        """The next n test frames; fewer when they do not come in time."""
        out = []
        while len(out) < n and (got := self.receive(timeout)) is not None:
            out.append(got[0])
        return out

    def close(self):
        self.sock.close()


def is_test_frame(data):
    """Is it from a test, not the kernel's own (IPv6 neighbour discovery and the like)?"""
    return data[:12] == bytes.fromhex("0200000000aa0200000000bb")


class Host:
    """Another network namespace, for a host behind a port; its devices are gone with it."""

    def __init__(self):
        self._sleeper = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE, text=True
        )
        assert self._sleeper.stdout.readline() == "ready\n"
        self.pid = self._sleeper.pid

    def command(self, *words):
        return ["nsenter", "-t", str(self.pid), "-n", *map(str, words)]

    def run(self, *words):
        return subprocess.run(self.command(*words), check=True, capture_output=True, text=True).stdout

    def take(self, device, address):
        """Move a device in and give it an address."""
        ip("link", "set", device, "netns", self.pid)
        subprocess.run(self.command("sysctl", "-qew", f"net.ipv6.conf.{device}.disable_ipv6=1"), check=False)
        self.run("ip", "addr", "add", address, "dev", device)
        self.run("ip", "link", "set", device, "up")

    def close(self):
        self._sleeper.kill()
        self._sleeper.wait()
        self._sleeper.stdout.close()
