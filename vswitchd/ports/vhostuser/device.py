"""The session's hands: mappings, memory tables and rings of one port in the compiled datapath.

Thread: the control thread. Grace periods wait for the polling cores, microseconds each.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vswitchd.ports.vhostuser.memory import Region
    from vswitchd.ports.vhostuser.state import Ring, RingSpec

log = logging.getLogger(__name__)

_MAP_ERRORS = {
    errno.EFBIG: "the memory file ends before the region does",
    errno.EINVAL: "the descriptor is no regular memory file, or its offset does not fit its pages",
    errno.EACCES: "the memory file was not opened for reading and writing",
}


class CoreDevice:
    """Runs the rings of one port. The port's handle is borrowed."""

    def __init__(self, name: str, handle: Any) -> None:
        self._name = name
        self._handle = handle
        self.guest_mtu: int | None = None
        """What the front-end said its guest sees (NET_SET_MTU)."""
        self.sizes: dict[int, int] = {}
        """Running rings and their sizes."""

    def check_eventfd(self, fd: int) -> None:
        """Accept eventfds alone, and set them not to block: a core signals and drains them."""
        kind = str(Path(f"/proc/self/fd/{fd}").readlink())
        if kind != "anon_inode:[eventfd]":
            raise RequestError(f"descriptor is {kind}, not an eventfd")
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)

    def map(self, region: Region, fd: int) -> Any:
        """Map a region. Raises RequestError."""
        error = ffi.new("int *")
        mapping = lib.vs_guest_map_new(fd, region.offset, region.size, error)
        if mapping == ffi.NULL:
            reason = _MAP_ERRORS.get(-error[0], os.strerror(-error[0]))
            raise RequestError(f"cannot map {region}: {reason}")
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

    def start(self, index: int, spec: RingSpec, ring: Ring) -> bool:
        """Run a ring; False when its addresses do not translate."""
        config = ffi.new("struct vs_vring_config *")
        config.features, config.size, config.base = spec.features, spec.size, ring.base
        config.desc, config.avail, config.used = spec.addr.desc, spec.addr.avail, spec.addr.used
        config.kick_fd = -1 if spec.kick is None else spec.kick
        config.call_fd = -1 if ring.call is None else ring.call
        config.err_fd = -1 if ring.err is None else ring.err
        error = lib.vs_vhost_ring_start(self._handle, index, spec.memory.table, config)
        if error:
            log.warning("%s: ring %d does not start: %s", self._name, index, os.strerror(-error))
            return False
        self.sizes[index] = spec.size
        log.debug("%s: ring %d runs, size %d", self._name, index, spec.size)
        return True

    def stop(self, indices: Iterable[int]) -> dict[int, int]:
        """Stop rings; one grace period for all of them."""
        stopped = [index for index in indices if lib.vs_vhost_ring_unpublish(self._handle, index)]
        lib.vs_synchronize()
        bases = {index: lib.vs_vhost_ring_reap(self._handle, index) for index in stopped}
        for index in stopped:
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

    def info(self, index: int) -> Any:
        """Counters and state of a ring: struct vs_vhost_ring_info *."""
        info = ffi.new("struct vs_vhost_ring_info *")
        lib.vs_vhost_ring_info(self._handle, index, info)
        return info
