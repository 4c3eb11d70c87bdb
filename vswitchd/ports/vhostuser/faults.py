"""Guest memory that went away under the switch (sigbus.h): which port is concerned, and the end of its connection."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import lib

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

log = logging.getLogger(__name__)

lib.vs_sigbus_install()  # at import: the process never has a port without it
_watches: dict[asyncio.AbstractEventLoop, set[FaultWatch]] = {}


class FaultWatch:
    """Looks after the guarded mappings of one owner, whom `lost` is told, on the loop, when one of them faulted.

    The owner is a pointer, the one that was given to vs_guarded_own; compared, not followed.
    """

    def __init__(
        self, name: str, owner: Any, loop: asyncio.AbstractEventLoop, lost: Callable[[], None]
    ) -> None:
        self._name = name
        self._owner = owner
        self._loop = loop
        self._lost = lost
        self.total = 0
        """Mappings that faulted so far."""
        self._fd: int = lib.vs_sigbus_install()
        if self._fd < 0:  # then no memory can be mapped either: vs_guarded_add refuses
            log.error("%s: cannot guard guest memory: %s", name, os.strerror(-self._fd))
            return
        if loop not in _watches:
            _watches[loop] = set()
            loop.add_reader(self._fd, _noticed, loop, self._fd)
        _watches[loop].add(self)

    def close(self) -> None:
        """Look no more. Idempotent."""
        watches = _watches.get(self._loop, set())
        watches.discard(self)
        if not watches and _watches.pop(self._loop, None) is not None:
            self._loop.remove_reader(self._fd)

    def look(self) -> None:
        """Tell when memory is gone."""
        faulted = lib.vs_guarded_faults(self._owner)
        if faulted:
            self.total += faulted
            log.warning(
                "%s: the front-end truncated its memory file, or nothing is left to back it; closing the connection",
                self._name,
            )
            self._lost()


def _noticed(loop: asyncio.AbstractEventLoop, fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(fd)
    for watch in tuple(_watches.get(loop, ())):
        watch.look()
