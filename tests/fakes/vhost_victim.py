"""A session with running rings on a real port, to which bad messages are sent; and what a good message looks like, from the table."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from fakes import front_end as fe
from fakes.mock_guest import MODERN, Guest, Region, Ring, bits
from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.errors import ProtocolError
from vswitchd.ports.vhostuser.features import DEFAULT, Virtio
from vswitchd.ports.vhostuser.messages import HEADER, TABLE, Fds, Payload, Request
from vswitchd.ports.vhostuser.session import Session

BASE = 0x7F0000000000
SIZE = 8 << 20
ROWS = list(TABLE.values())
IDS = [row.request.name for row in ROWS]
NEED_REPLY = 8
# Every feature that a row needs, whether ports offer it or not.
NEEDED = {feature for row in ROWS for feature in (row.feature, row.protocol) if feature is not None}
OFFER = DEFAULT.plus({*NEEDED, Virtio.LOG_ALL, Virtio.RING_PACKED})


def valid_payload(row, index=0):
    """A payload that the row accepts; GET_* of rings included."""
    special = {
        Request.NET_SET_MTU: fe.u64(1500),
        Request.SET_FEATURES: fe.u64(bits(30, 32)),
        Request.SET_PROTOCOL_FEATURES: fe.u64(OFFER.protocol),
        Request.SET_STATUS: fe.u64(4),
        Request.SEND_RARP: b"\x02\0\0\0\0\1\0\0",
        Request.VRING_KICK: fe.state(index, 0),
        Request.GET_INFLIGHT_FD: fe.inflight_area(0, 0, 2, 64),
        Request.ADD_MEM_REG: fe.region(1 << 32, SIZE, 1 << 45, 0),  # beside the one that is there
        Request.REM_MEM_REG: fe.region(0, SIZE, BASE, 0),  # the one that is there
    }
    common = {
        Payload.EMPTY: b"",
        Payload.STATE: fe.state(index, 1),
        Payload.ADDR: struct.pack("=IIQQQQ", index, 0, BASE + 0x10000, BASE + 0x30000, BASE + 0x20000, 0),
        Payload.VRING_FD: fe.u64(index),
        Payload.MEMORY: struct.pack("=IIQQQQ", 1, 0, 0, SIZE, BASE, 0),
        Payload.LOG: fe.log_area(4096),
        Payload.IOTLB: fe.iotlb(fe.INVALIDATE, 0, 4096),
        Payload.INFLIGHT: fe.inflight_area(65536, 0, 2, 64),
    }
    return special[row.request] if row.request in special else common[row.payload]


def valid_fds(row):
    return {Fds.ONE: 1, Fds.UNLESS_NOFD: 1, Fds.PER_REGION: 1}.get(row.fds, 0)


class Victim:
    """A session with running rings, on a real port."""

    def __init__(self):
        self.handle = lib.vs_vhost_new(b"victim")
        self.session = Session(CoreDevice("victim", self.handle), OFFER)
        self.guest = Guest([Region(0, BASE, SIZE)])
        self.rings = {i: Ring(self.guest, 64) for i in (0, 1)}
        self.events = {i: (os.eventfd(0), os.eventfd(0)) for i in self.rings}
        self.socks = socket.socketpair()
        for data, fds in fe.set_up(self.guest, self.rings, MODERN | bits(30), self.events, OFFER.protocol):
            self.feed(data, fds)
        assert self.session.running == {0, 1}

    def file(self, row):
        """A descriptor of the kind that the row wants."""
        if row.request is Request.SET_BACKEND_REQ_FD:
            return self.socks[1].fileno()
        shared = (Payload.MEMORY, Payload.REGION, Payload.LOG, Payload.INFLIGHT)
        return self.guest.regions[0].fd if row.payload in shared else self.events[0][0]

    def negotiate(self, row):
        """Take the feature that the row needs, if it is not there; and what must come before it."""
        if (
            row.request in (Request.POSTCOPY_LISTEN, Request.POSTCOPY_END)
            and self.session.state.postcopy is None
        ):
            self.feed(fe.message(Request.POSTCOPY_ADVISE))
        if row.feature is not None and not self.session.state.negotiated(row.feature):
            self.feed(fe.message(Request.SET_FEATURES, fe.u64(MODERN | bits(30, row.feature))))

    def feed(self, data, fds=(), step=None):
        out, copies = b"", [os.dup(fd) for fd in fds]
        while data:
            n = min(self.session.wanted, step or len(data))
            out += self.session.receive(data[:n], copies)
            data, copies = data[n:], []
        return out

    def close(self):
        self.session.close()
        for sock in self.socks:
            sock.close()
        lib.vs_port_destroy(self.handle)
        self.guest.close()
        for pair in self.events.values():
            for fd in pair:
                os.close(fd)


def refused(victim, data, fds=(), *, nak=None):
    """The message must be refused, alone: by closing, or (nak: its number) by an answer."""
    state, running = victim.session.state, victim.session.running
    open_before = len(os.listdir("/proc/self/fd"))
    if nak is None:
        with pytest.raises(ProtocolError):
            victim.feed(data, fds)
    else:
        answer = victim.feed(data, fds)
        assert answer == HEADER.pack(nak, 5, 8) + fe.u64(1)
    assert victim.session.state is state
    assert victim.session.running == running
    assert len(os.listdir("/proc/self/fd")) == open_before


def refused_both_ways(victim, row, payload, fds):
    """Refused by an answer when one is asked for (or always given), and by closing when not."""
    if row.answer.may_refuse(asked=True):
        refused(victim, fe.message(row.request, payload, flags=1 | NEED_REPLY), fds, nak=row.request)
    nak = row.request if row.answer.may_refuse(asked=False) else None
    refused(victim, fe.message(row.request, payload), fds, nak=nak)


def other_file(kind):
    if kind == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        return writer
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            return os.dup(sock.fileno())
    if kind == "listening":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("")  # abstract
            sock.listen()
            return os.dup(sock.fileno())
    if kind == "datagram":
        one, other = socket.socketpair(type=socket.SOCK_DGRAM)
        other.close()
        return one.detach()
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            return socket.create_connection(server.getsockname()).detach()
    if kind == "eventfd":
        return os.eventfd(0)
    if kind == "memory":
        return os.memfd_create("x")
    return os.open("/dev/null" if kind == "null" else "/", os.O_RDONLY)
