"""A NIC model of QEMU and, on the host, the other end of its cable: exact frames out and in, compared byte for byte."""

import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

QUIET = 20.0
"""Seconds without a frame after which what is missing counts as lost."""
BUFFER = 4 << 20
LARGEST = 1 << 16
EXPERIMENTAL = b"\x88\xb5"
"""EtherType of frames that are nobody's: traffic that only has to be there."""
SHORTEST = 60
"""Bytes that Ethernet asks for, without checksum: a device may fill a shorter frame up with zeros, nothing else."""


@dataclass(frozen=True, slots=True)
class Emulated:
    """One device of `model`, whose cable ends in datagrams: one frame each, no header.

    `place`: "addr=0x8" or "bus=rp0"; `options`: further properties, as "iommu_platform=on"; `name`: of cable and device.
    `tap`: the cable ends in this tap of the host instead, with virtio-net headers.
    """

    name: str
    model: str
    mac: str
    place: str
    directory: Path
    options: str = ""
    tap: str = ""

    @property
    def near(self) -> Path:
        """Socket of QEMU's end."""
        return self.directory / f"{self.name}.qemu"

    @property
    def far(self) -> Path:
        """Socket of our end."""
        return self.directory / f"{self.name}.host"

    def arguments(self, number: int) -> list[str]:
        """QEMU arguments; the device's id is its name."""
        del number
        cable = f"dgram,id=n-{self.name},local.type=unix,local.path={self.near},remote.type=unix,remote.path={self.far}"
        if self.tap:
            cable = f"tap,id=n-{self.name},ifname={self.tap},script=no,downscript=no,vhost=off,vnet_hdr=on"
        device = f"{self.model},id={self.name},netdev=n-{self.name},mac={self.mac},{self.place},romfile="
        return ["-netdev", cable, "-device", device + (f",{self.options}" if self.options else "")]


@dataclass(frozen=True, slots=True)
class Fixture:
    """A device that carries others: a root port, a bridge. `words`: "pcie-root-port,id=rp0,slot=1"."""

    words: str

    def arguments(self, number: int) -> list[str]:
        """QEMU arguments."""
        del number
        return ["-device", self.words]


class Cable:
    """Our end of an emulated NIC's cable. Made before QEMU starts."""

    def __init__(self, nic: Emulated) -> None:
        self.nic = nic
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        nic.far.unlink(missing_ok=True)
        self.socket.bind(str(nic.far))
        self.socket.setblocking(False)

    def send(self, frame: bytes) -> bool:
        """Hand one frame to the NIC; False when it takes none now (no receive buffers, or not started)."""
        try:
            self.socket.sendto(frame, str(self.nic.near))
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bytes | None:
        """One frame that the NIC sent, None when there is none."""
        try:
            return self.socket.recv(LARGEST)
        except BlockingIOError:
            return None

    def drain(self) -> None:
        """Forget what has come in."""
        while self.receive() is not None:
            pass

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


@dataclass(slots=True)
class Flow:
    """Frames from one cable to another. `expected`: as they are to arrive (default: as sent); `window`: how many are on the way."""

    source: Cable
    target: Cable
    frames: Sequence[bytes]
    expected: Sequence[bytes] = ()
    window: int = 32
    sent: int = 0
    came: int = 0
    strange: list[bytes] = field(default_factory=list)
    _open: Counter[bytes] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.expected = self.expected or self.frames
        assert len(self.expected) == len(self.frames)

    def push(self) -> bool:
        """Send what the window allows; whether anything was sent."""
        before = self.sent
        while self.sent < len(self.frames) and self.sent - self.came < self.window:
            if not self.source.send(self.frames[self.sent]):
                break
            self._open[padded(self.expected[self.sent])] += 1
            self.sent += 1
        return self.sent > before

    def pull(self) -> bool:
        """Judge what came; whether anything did."""
        any_came = False
        while (frame := self.target.receive()) is not None:
            any_came = True
            if frame[12:14] == EXPERIMENTAL:
                continue
            key = padded(frame)
            if self._open[key] > 0:
                self._open[key] -= 1
                self.came += 1
            else:
                self.strange.append(frame)
        return any_came

    @property
    def done(self) -> bool:
        """Everything has arrived."""
        return self.came == len(self.frames)

    def account(self) -> str:
        """What happened, for a message."""
        way = f"{self.source.nic.name} -> {self.target.nic.name}"
        text = f"{way}: {self.sent} of {len(self.frames)} sent, {self.came} came right, {len(self.strange)} strange"
        if self.strange:
            text += f", the first: {self.strange[0][:80].hex()}"
        missing = [frame for frame, count in self._open.items() if count > 0]
        return text + (f"; first missing: {missing[0][:80].hex()}" if missing else "")


def padded(frame: bytes) -> bytes:
    """The frame as it is on an Ethernet."""
    return frame.ljust(SHORTEST, b"\0")


def run_flows(*flows: Flow, quiet: float = QUIET) -> None:
    """Carry all frames, and fail with an account unless each arrived once, unharmed, and nothing else did."""
    for flow in flows:
        flow.target.drain()
    deadline = time.monotonic() + quiet
    while not all(flow.done for flow in flows):
        moved = False
        for flow in flows:
            moved = flow.push() or moved
            moved = flow.pull() or moved
        if moved:
            deadline = time.monotonic() + quiet
        elif time.monotonic() > deadline:
            break
        else:
            select.select([flow.target.socket for flow in flows], [], [], 0.02)
    bad = [flow.account() for flow in flows if not flow.done or flow.strange]
    assert not bad, "\n".join(bad)
