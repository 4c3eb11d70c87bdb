"""The session's hands: mappings, memory tables and rings of one port in the compiled datapath.

Thread: the control thread. Grace periods wait for the polling cores, microseconds each.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.features import Virtio, has
from vswitchd.ports.vhostuser.memory import Iova, Miss
from vswitchd.ports.vhostuser.postcopy import PostcopyDevice
from vswitchd.ports.vhostuser.recovery import Area, Recovery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vswitchd.ports.vhostuser.memory import Region, Span, Translation
    from vswitchd.ports.vhostuser.payloads import InflightArea, LogArea
    from vswitchd.ports.vhostuser.state import Memory, Ring, RingSpec

log = logging.getLogger(__name__)

_MAP_ERRORS = {
    errno.EFBIG: "the memory file ends before the region does",
    errno.EINVAL: "the descriptor is no regular memory file, or its offset does not fit its pages",
    errno.EACCES: "the memory file was not opened for reading and writing",
}


def _reason(error: int) -> str:
    return _MAP_ERRORS.get(-error, os.strerror(-error))


class CoreDevice(PostcopyDevice):
    """Runs the rings of one port. The port's handle is borrowed."""

    def __init__(self, name: str, handle: Any, recovery: Recovery | None = None) -> None:
        self._name = name
        self._handle = handle
        self._recovery = recovery or Recovery(name)
        self.guest_mtu: int | None = None
        """What the front-end said its guest sees (NET_SET_MTU)."""
        self.sizes: dict[int, int] = {}
        """Rings that carry packets, and their sizes."""
        self.starts = 0
        """Rings started so far. A ring that starts asks for no kick: cores that sleep have to be woken for it."""

    def check_eventfd(self, fd: int) -> None:
        """Accept eventfds alone, and set them not to block: a core signals and drains them."""
        kind = str(Path(f"/proc/self/fd/{fd}").readlink())
        if kind != "anon_inode:[eventfd]":
            raise RequestError(f"descriptor is {kind}, not an eventfd")
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)

    def check_channel(self, fd: int) -> None:
        """Accept connected unix stream sockets alone, and set them not to block."""
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            raise RequestError("descriptor is no socket") from None
        try:
            if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
                raise RequestError("descriptor is no unix stream socket")
            sock.getpeername()
            sock.setblocking(False)
        except OSError as error:
            raise RequestError(f"descriptor is no connected socket: {error.strerror}") from None
        finally:
            sock.detach()

    def map(self, region: Region, fd: int) -> Any:
        """Map a region. Raises RequestError."""
        error = ffi.new("int *")
        mapping = lib.vs_guest_map_new(fd, region.offset, region.size, error)
        if mapping == ffi.NULL:
            raise RequestError(f"cannot map {region}: {_reason(error[0])}")
        lib.vs_guest_map_own(mapping, self._handle)
        return mapping

    def unmap(self, mapping: Any) -> None:
        """Unmap; no table in force names the mapping."""
        lib.vs_guest_map_free(mapping)

    def table(self, regions: tuple[Region, ...], maps: tuple[Any, ...]) -> Any:
        """Make a memory table. Raises RequestError."""
        rows = ffi.new("struct vs_guest_region[]", len(regions))
        for row, region, mapping in zip(rows, regions, maps, strict=True):
            row.gpa, row.uva, row.size = region.gpa, region.uva, region.size
            row.host = lib.vs_guest_map_host(mapping)
        error = ffi.new("int *")
        table = lib.vs_guest_mem_new(rows, len(rows), error)
        if table == ffi.NULL:
            raise RequestError(f"cannot use the memory table: {os.strerror(-error[0])}")
        return table

    def free_table(self, table: Any) -> None:
        """Free a table that no ring uses."""
        lib.vs_guest_mem_free(table)

    def map_log(self, area: LogArea, fd: int) -> Any:
        """Map a migration log. Raises RequestError."""
        error = ffi.new("int *")
        dirty = lib.vs_dirty_log_new(fd, area.offset, area.size, error)
        if dirty == ffi.NULL:
            raise RequestError(f"cannot map the migration log: {_reason(error[0])}")
        lib.vs_guest_map_own(lib.vs_dirty_log_map(dirty), self._handle)
        return dirty

    def free_log(self, dirty: Any) -> None:
        """Unmap a log that no ring writes to."""
        lib.vs_dirty_log_free(dirty)

    def start(self, index: int, spec: RingSpec, ring: Ring) -> bool:
        """Run a ring; False when its addresses do not translate."""
        config = ffi.new("struct vs_vring_config *")
        config.features, config.size, config.base = spec.features, spec.size, ring.base
        config.desc, config.avail, config.used = spec.addr.desc, spec.addr.avail, spec.addr.used
        config.kick_fd = -1 if spec.kick is None else spec.kick
        config.call_fd = -1 if ring.call is None else ring.call
        config.err_fd = -1 if ring.err is None else ring.err
        config.discard = spec.discard
        if spec.log is not None:
            config.log = spec.log.handle
        config.inflight = self._recovery.open(index, spec)
        error = lib.vs_vhost_ring_start(self._handle, index, spec.memory.table, config)
        if error:
            self._recovery.failed(index)
        if error == -errno.EAGAIN:
            log.debug("%s: ring %d waits for translations of its pages", self._name, index)
            return False
        if error:
            log.warning("%s: ring %d does not start: %s", self._name, index, os.strerror(-error))
            return False
        self._recovery.started(index)
        self.starts += 1
        if not spec.discard:
            self.sizes[index] = spec.size
        log.debug("%s: ring %d runs, size %d", self._name, index, spec.size)
        return True

    def stop(self, indices: Iterable[int]) -> dict[int, int]:
        """Stop rings; one grace period for all of them."""
        stopped = [index for index in indices if lib.vs_vhost_ring_unpublish(self._handle, index)]
        lib.vs_synchronize()
        bases = {index: lib.vs_vhost_ring_reap(self._handle, index) for index in stopped}
        for index in stopped:
            self._recovery.stopped(index)
            self.sizes.pop(index, None)
        return bases

    def set_call(self, index: int, ring: Ring) -> None:
        """Swap call and error descriptors."""
        lib.vs_vhost_ring_set_call(self._handle, index, -1 if ring.call is None else ring.call)
        lib.vs_vhost_ring_set_err(self._handle, index, -1 if ring.err is None else ring.err)

    def grace(self) -> None:
        """Wait until no core uses what was swapped."""
        lib.vs_synchronize()

    def set_mtu(self, mtu: int) -> None:
        """Note the guest's MTU."""
        self.guest_mtu = mtu

    def send_rarp(self, mac: bytes) -> None:
        """Let the switch learn where the address is now."""
        lib.vs_vhost_send_rarp(self._handle, mac)

    @property
    def miss_fd(self) -> int | None:
        """Readable when there are misses; None: no descriptor could be had for it."""
        fd: int = lib.vs_vhost_iotlb_fd(self._handle)
        return fd if fd >= 0 else None

    def insert(self, entry: Translation, memory: Memory) -> None:
        """Put a translation into the cache. Raises RequestError."""
        error = lib.vs_vhost_iotlb_update(
            self._handle, memory.table, entry.iova, entry.size, entry.uva, entry.perm
        )
        if error == -errno.EFAULT:
            raise RequestError(f"translation to {entry.uva:#x}+{entry.size:#x}, which is not guest memory")
        if error:
            raise RequestError(f"cannot use the translation of {entry.iova:#x}: {os.strerror(-error)}")

    def invalidate(self, span: Span) -> None:
        """Forget translations; no core uses them afterwards."""
        size = span.last - span.first + 1
        if size < 1 << 64:
            lib.vs_vhost_iotlb_invalidate(self._handle, span.first, size)
        else:
            self.flush()

    def flush(self) -> None:
        """Forget all translations and misses."""
        lib.vs_vhost_iotlb_clear(self._handle)

    def take_misses(self) -> list[Miss]:
        """Return what was missed and nobody was told of yet."""
        rows = ffi.new("struct vs_iotlb_miss[]", lib.VS_IOTLB_MISSES)
        n = lib.vs_vhost_iotlb_collect(self._handle, rows, len(rows))
        return [Miss(Iova(rows[i].iova), rows[i].perm) for i in range(n)]

    @property
    def pending_misses(self) -> int:
        """Translations that did not come yet."""
        return int(self.iotlb().pending)

    def retry_misses(self) -> None:
        """Let misses be taken again that were not answered for two calls."""
        lib.vs_vhost_iotlb_retry(self._handle)

    def iotlb(self) -> Any:
        """Counters of the IOTLB: struct vs_iotlb_stats *."""
        stats = ffi.new("struct vs_iotlb_stats *")
        lib.vs_vhost_iotlb_stats(self._handle, stats)
        return stats

    def make_inflight(self, queues: int, queue_size: int, features: int) -> tuple[int, int]:
        """Make the file for a record: a descriptor of the caller's, and its size. Nobody can cut it. Raises RequestError."""
        size = queues * lib.vs_inflight_size(queue_size, has(features, Virtio.RING_PACKED))
        try:
            fd = os.memfd_create(f"inflight-{self._name}"[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            raise RequestError(f"cannot make a file for chains in flight: {error.strerror}") from None
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except OSError as error:
            os.close(fd)
            raise RequestError(f"cannot make a file for chains in flight: {error.strerror}") from None
        return fd, size

    def map_inflight(self, area: InflightArea, fd: int, features: int) -> Any:
        """Map a record. Raises RequestError."""
        need = area.queues * lib.vs_inflight_size(area.queue_size, has(features, Virtio.RING_PACKED))
        if area.size < need:
            raise RequestError(f"record of chains in flight has {area.size} bytes, needs {need}")
        error = ffi.new("int *")
        mapping = lib.vs_guest_map_new(fd, area.offset, area.size, error)
        if mapping == ffi.NULL:
            raise RequestError(f"cannot map the record of chains in flight: {_reason(error[0])}")
        lib.vs_guest_map_own(mapping, self._handle)
        return Area(mapping, area.size)

    def free_inflight(self, record: Any) -> None:
        """Unmap a record that no ring uses."""
        self._recovery.forget(record)
        lib.vs_guest_map_free(record.mapping)

    def info(self, index: int) -> Any:
        """Counters and state of a ring: struct vs_vhost_ring_info *."""
        info = ffi.new("struct vs_vhost_ring_info *")
        lib.vs_vhost_ring_info(self._handle, index, info)
        return info
