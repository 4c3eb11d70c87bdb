"""Records of where the rings of one port stand, that outlive a killed switch: the front-end's, or files of our own.

A front-end with INFLIGHT_SHMFD brings a record back itself. QEMU's network device has none, and does not know how far
its packed rings got when we are killed (split rings tell it themselves): for those the port keeps a small file per ring
in the run directory. It counts only for the front-end process that it was written with (pid and start time) and a ring
of the same size at the same addresses, and only for the first start of a ring in a connection: from then on the
front-end and we agree on where it stands. inflight.h says what is in a record, and when it is not believed.

No file, no recovery: one line in the log, and the ring runs all the same. Thread: the control thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.features import Virtio, has
from vswitchd.ports.vhostuser.memo import DIRECTORY, Peer, alive

if TYPE_CHECKING:
    from pathlib import Path

    from vswitchd.ports.vhostuser.state import RingSpec

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<8sQQQQQQ8x")  # what it was written with; the record stands behind it
_MAGIC = b"vsring1\n"


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """A record of a front-end, mapped."""

    mapping: Any
    size: int


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of one ring: of an area, or of a file of ours."""

    handle: Any
    area: Area | None
    own: Any
    """The mapping of our file."""


class Recovery:
    """Finds the record of a ring that starts, and forgets it when the ring has ended in order."""

    def __init__(self, name: str, run_dir: Path | None = None) -> None:
        """Keep files in `run_dir`, or none. None of this port is read yet, but those of ended processes go."""
        self._name = name
        self._dir = None if run_dir is None else run_dir / DIRECTORY
        self._stem = hashlib.sha256(name.encode()).hexdigest()[:32]
        self._peer: Peer | None = None
        self._running: dict[int, _Part] = {}
        self._idle: dict[int, _Part] = {}
        self._known: set[int] = set()
        self._failed = False
        self._remove_dead()

    def begin(self, peer: Peer | None) -> None:
        """Note that this front-end connected: what the records say counts again."""
        self._peer = peer
        self._known.clear()

    @property
    def own(self) -> int:
        """How many of the rings that run have a file of ours."""
        return sum(part.own is not None for part in self._running.values())

    def open(self, index: int, spec: RingSpec) -> Any:
        """Return the struct vs_inflight * that the ring is to start with, or NULL. `started` or `failed` follows."""
        self.failed(index)
        packed = has(spec.features, Virtio.RING_PACKED)
        if spec.inflight is not None:
            part = self._shared(index, spec.inflight.handle, spec.inflight.queue_size, packed=packed)
        elif packed and self._peer is not None and self._dir is not None:
            part = self._own(self._dir / f"{self._stem}.{index}.ring", index, spec, self._peer)
        else:
            part = None
        if part is None:
            return ffi.NULL
        self._running[index] = part
        return part.handle

    def started(self, index: int) -> None:
        """Note that the ring runs: from now on in this connection its place is known."""
        self._known.add(index)

    def failed(self, index: int) -> None:
        """Note that the ring did not start; its record stays as it is."""
        self.stopped(index)
        self._drop(index)

    def stopped(self, index: int) -> None:
        """Note that the ring does not run; `settled` or a lost connection says what that means."""
        if index in self._running:
            self._idle[index] = self._running.pop(index)

    def settled(self) -> None:
        """Forget where stopped rings stood: the front-end, which is still there, has been told, or has reset them."""
        for index in list(self._idle):
            lib.vs_inflight_clear(self._idle[index].handle)
            self._drop(index)

    def lost(self) -> None:
        """The connection is gone: records stay as they are, for when it comes back."""
        for index in list(self._idle):
            self._drop(index)

    def forget(self, area: Area) -> None:
        """Let go of a front-end's record, which is about to be unmapped."""
        for index in [index for index, part in self._idle.items() if part.area is area]:
            self._drop(index)

    def close(self) -> None:
        """Remove the files of processes that are gone; one that lives may come back to a port of this name."""
        self.lost()
        self._remove_dead()

    def _drop(self, index: int) -> None:
        part = self._idle.pop(index, None)
        if part is not None:
            lib.vs_inflight_free(part.handle)
            if part.own is not None:
                lib.vs_guest_map_free(part.own)

    def _shared(self, index: int, area: Area, queue_size: int, *, packed: bool) -> _Part | None:
        host = lib.vs_guest_map_host(area.mapping)
        handle = lib.vs_inflight_new(host, area.size, index, queue_size, packed, index not in self._known)
        if handle == ffi.NULL:
            self._complain(f"the front-end's record of chains in flight has no room for ring {index}")
            return None
        return _Part(handle, area, None)

    def _own(self, path: Path, index: int, spec: RingSpec, peer: Peer) -> _Part | None:
        addr = spec.addr
        header = _HEADER.pack(_MAGIC, peer.pid, peer.start, addr.desc, addr.avail, addr.used, spec.size)
        size = int(lib.vs_inflight_size(spec.size, 1))
        error = ffi.new("int *")
        try:
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                same = os.pread(fd, _HEADER.size, 0) == header and os.fstat(fd).st_size == _HEADER.size + size
                if not same:
                    os.ftruncate(fd, 0)
                    os.posix_fallocate(fd, 0, _HEADER.size + size)
                    os.pwrite(fd, header, 0)
                mapping = lib.vs_guest_map_new(fd, 0, _HEADER.size + size, error)
            finally:
                os.close(fd)
        except OSError as problem:
            self._complain(f"{path}: {problem.strerror}")
            return None
        if mapping == ffi.NULL:
            self._complain(f"{path}: {os.strerror(-error[0])}")
            return None
        host = lib.vs_guest_map_host(mapping) + _HEADER.size
        handle = lib.vs_inflight_new(host, size, 0, spec.size, 1, same and index not in self._known)
        if handle == ffi.NULL:
            lib.vs_guest_map_free(mapping)
            return None
        return _Part(handle, None, mapping)

    def _complain(self, what: str) -> None:
        if not self._failed:
            self._failed = True
            log.warning("%s: after a crash the guest may need a restart, too: %s", self._name, what)

    def _remove_dead(self) -> None:
        for path in () if self._dir is None else self._dir.glob("*.ring"):
            with contextlib.suppress(OSError):
                if not _lives(path):
                    path.unlink()


def _lives(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        text = os.read(fd, _HEADER.size)
    finally:
        os.close(fd)
    if len(text) < _HEADER.size:
        return False
    magic, pid, start, *_ = _HEADER.unpack(text)
    return magic == _MAGIC and alive(Peer(pid, start))
