"""A guest that sends numbered frames for ever from fixed buffers, and checks each that it gets: traffic for hostile tests."""

import os
import socket
import struct
import threading
import time

from fakes.front_end import FrontEnd

SIZE = 64
BUFFER = 2048
HEADER = 12
TYPE = b"\x88\xb5"
KIND = 0xFEED


class Talker:
    """One front-end with a split ring pair whose descriptors never change: only the available index moves."""

    def __init__(self, path, mac, peer):
        self.sock = meet(path)
        self.front = FrontEnd(self.sock, size=SIZE)
        self.guest = self.front.guest
        self.rx, self.tx = self.front.rings[0], self.front.rings[1]
        self.head = bytes.fromhex(peer + mac) + TYPE + struct.pack("!H", KIND)
        self.expected = bytes.fromhex(mac + peer) + TYPE + struct.pack("!H", KIND)
        self.sent = self.got = self.others = 0
        self.buffers = {}
        for ring, flags in ((self.rx, 2), (self.tx, 0)):
            for i in range(SIZE):
                at = self.guest.alloc(BUFFER)
                self.buffers[ring, i] = at
                ring.set_desc(i, at, BUFFER if flags else HEADER + 100, flags)
                self.guest.write(ring.avail + 4 + 2 * i, struct.pack("<H", i))
        self.rx.publish(SIZE)
        self.front.start()

    def kick(self, index):
        os.eventfd_write(self.front.events[index][0], 1)

    def send(self, n):
        """Offer n frames, at most what the ring holds."""
        for number in range(self.sent, self.sent + n):
            frame = self.head + struct.pack("!Q", number)
            at = self.buffers[self.tx, number % SIZE]
            self.guest.write(at, bytes(HEADER) + frame.ljust(100, b"\0"))
        self.sent += n
        self.tx.publish(self.sent)
        self.kick(1)

    def take(self):
        """Check and give back what came in; foreign frames (floods) are counted apart."""
        while self.rx.seen & 0xFFFF != self.rx.used_idx():
            slot = self.rx.used + 4 + 8 * (self.rx.seen % SIZE)
            index, length = struct.unpack("<II", self.guest.read(slot, 8))
            frame = self.guest.read(self.buffers[self.rx, index], length)[HEADER:]
            self.rx.seen += 1
            # The heads in the available ring are in the order of the buffers, and so must be the used ones.
            assert index == (self.rx.seen - 1) % SIZE
            if frame[:16] == self.expected:
                assert struct.unpack("!Q", frame[16:24])[0] == self.got, "a frame is lost or out of order"
                self.got += 1
            else:
                self.others += 1
            self.rx.publish(self.rx.seen + SIZE)
        self.kick(0)

    def close(self):
        self.front.close()


def meet(path, seconds=20):
    """Connect and wait until the switch answers: it turns away who comes before it saw the last one leave."""
    deadline = time.monotonic() + seconds
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(seconds)
        try:
            sock.connect(str(path))
            sock.sendall(struct.pack("=III", 15, 1, 0))  # GET_PROTOCOL_FEATURES
            if len(sock.recv(20, socket.MSG_WAITALL)) == 20:
                return sock
        except (ConnectionError, FileNotFoundError):
            pass
        sock.close()
        assert time.monotonic() < deadline, f"nobody answers on {path}"


class Exchange:
    """Two talkers, in a thread of their own, that send each other numbered frames until stopped."""

    MACS = ("0200000000a1", "0200000000b2")

    def __init__(self, first, second):
        one, two = self.MACS
        self.talkers = (Talker(first, one, two), Talker(second, two, one))
        self.error = None
        self.rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.is_set():
                self._round(SIZE // 4)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            self.error = error

    def _round(self, n):
        for talker in self.talkers:
            talker.send(n)
        deadline = time.monotonic() + 60
        while any(b.got < a.sent for a, b in (self.talkers, self.talkers[::-1])):
            for talker in self.talkers:
                talker.take()
            assert time.monotonic() < deadline, f"lost: {[(t.sent, t.got) for t in self.talkers]}"
            time.sleep(0)  # the switch may need this very processor
        self.rounds += 1

    def check(self):
        """Raise what went wrong; wait until some more rounds are through."""
        goal = self.rounds + 3
        while self.rounds < goal and self.error is None:
            time.sleep(0.001)
        if self.error is not None:
            raise self.error

    def stop(self):
        """Stop sending; the talkers stay connected until close()."""
        self._stop.set()
        self._thread.join()

    def close(self):
        self.stop()
        for talker in self.talkers:
            talker.close()
