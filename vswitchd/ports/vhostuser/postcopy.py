"""Post-copy in the datapath: userfaultfd on the mappings of guest memory (userfault.h). A part of device.py's CoreDevice."""

from __future__ import annotations

import os
from typing import Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.errors import RequestError


class PostcopyDevice:
    """Mappings are those of CoreDevice.map. Thread: the control thread."""

    def address(self, mapping: Any) -> int:
        """Return our address of the region's first byte."""
        return int(ffi.cast("uintptr_t", lib.vs_guest_map_host(mapping)))

    def userfault(self) -> int:
        """Make a userfaultfd, the caller's. Raises RequestError."""
        fd: int = lib.vs_userfault_new()
        if fd < 0:
            raise RequestError(f"cannot have a userfaultfd: {os.strerror(-fd)}")
        return fd

    def watch(self, fault: int, mapping: Any) -> None:
        """Let who touches missing pages wait. Raises RequestError."""
        error = lib.vs_userfault_watch(fault, mapping)
        if error:
            raise RequestError(f"cannot watch guest memory: {os.strerror(-error)}")

    def unwatch(self, fault: int, mapping: Any) -> None:
        """Undo watch; who waits goes on."""
        lib.vs_userfault_unwatch(fault, mapping)
