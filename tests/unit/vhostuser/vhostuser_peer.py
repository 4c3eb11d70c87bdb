"""A session on a fake device, spoken to byte by byte: for tests of the protocol without a datapath."""

import os
import socket
import struct

from fakes import front_end as fe
from fakes.back_channel import IOTLB_MSG
from fakes.fake_device import PAGE, FakeDevice

from vswitchd.ports.vhostuser.features import DEFAULT, Protocol, Virtio, mask
from vswitchd.ports.vhostuser.messages import HEADER, TABLE, Request
from vswitchd.ports.vhostuser.session import Session

NEEDED = {feature for row in TABLE.values() for feature in (row.feature, row.protocol) if feature is not None}
OFFER = DEFAULT.plus({*NEEDED, Virtio.LOG_ALL, Virtio.RING_PACKED})
QUIET = OFFER.without([Protocol.INBAND_NOTIFICATIONS]).protocol
BASE = 0x7F0000000000
SIZE = 1 << 20
PLAIN = mask(Virtio.VERSION_1, Virtio.PROTOCOL_FEATURES)
IOMMU = PLAIN | mask(Virtio.ACCESS_PLATFORM)
PACKED = PLAIN | mask(Virtio.RING_PACKED)
RING = {i: 0x10000 * (i + 1) for i in range(4)}  # where rings are: three pages each


def addr(index, base=BASE, flags=0, log=0):
    at = base + RING[index]
    return struct.pack("=IIQQQQ", index, flags, at, at + 2 * PAGE, at + PAGE, log)


class Peer:
    """A session on a fake device."""

    def __init__(self):
        self.device = FakeDevice()
        self.session = Session(self.device, OFFER)
        self.memory = os.memfd_create("guest")
        os.ftruncate(self.memory, SIZE)
        self.socks = []
        self.fds = []

    def tell(self, request, payload=b"", fds=(), flags=1):
        data, copies, out = fe.message(request, payload, flags=flags), [os.dup(fd) for fd in fds], b""
        while data:
            n = self.session.wanted
            out += self.session.receive(data[:n], copies)
            data, copies = data[n:], []
        return out

    def ask(self, request, payload=b"", fds=()):
        """The payload of the answer."""
        answer = self.tell(request, payload, fds)
        number, flags, size = HEADER.unpack_from(answer)
        assert (number, flags, size) == (request, 5, len(answer) - HEADER.size)
        return answer[HEADER.size :]

    def result(self, request, payload=b"", fds=()):
        answer = self.tell(request, payload, fds, flags=9)
        return struct.unpack_from("=Q", answer, HEADER.size)[0]

    def eventfd(self):
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.fds.append(fd)
        return fd

    def start(self, features=PLAIN, protocol=QUIET, rings=(0, 1), base=BASE):
        self.tell(Request.SET_PROTOCOL_FEATURES, fe.u64(protocol))
        self.tell(Request.SET_FEATURES, fe.u64(features))
        self.tell(Request.SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, SIZE, BASE, 0), [self.memory])
        for index in rings:
            self.tell(Request.SET_VRING_NUM, fe.state(index, 64))
            self.tell(Request.SET_VRING_ADDR, addr(index, base))
            self.tell(Request.SET_VRING_KICK, fe.u64(index), [self.eventfd()])
            self.tell(Request.SET_VRING_ENABLE, fe.state(index, 1))
        self.device.calls.clear()

    def channel(self):
        """Our end of a back-end channel; what the session wants to tell is read from `told`."""
        one, other = socket.socketpair()
        self.socks += [one, other]
        assert self.result(Request.SET_BACKEND_REQ_FD, fds=[other.fileno()]) == 0

    def told(self):
        """Requests that the session wants to send now, as (request, flags, payload)."""
        data, found = self.session.requests.outgoing(), []
        self.session.requests.sent(len(data))
        while data:
            number, flags, size = HEADER.unpack_from(data)
            found.append((number, flags, data[HEADER.size : HEADER.size + size]))
            data = data[HEADER.size + size :]
        return found

    def misses(self, result=0):
        """The pages that are asked for now; each question is answered."""
        found = []
        for number, _, payload in self.told():
            assert number == IOTLB_MSG
            found.append(struct.unpack_from("=Q", payload)[0])
            self.session.requests.receive(HEADER.pack(IOTLB_MSG, 5, 8) + fe.u64(result))
        return found

    def update(self, iova, size=PAGE, perm=3):
        return self.ask(Request.IOTLB_MSG, fe.iotlb(fe.UPDATE, iova, size, BASE + iova, perm))

    def update_ring(self, index):
        for page in range(3):
            assert self.update(RING[index] + page * PAGE) == fe.u64(0)

    def close(self):
        self.session.close()
        for sock in self.socks:
            sock.close()
        for fd in (*self.fds, self.memory):
            os.close(fd)
