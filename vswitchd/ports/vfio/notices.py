"""What the kernel tells about a device: somebody wants it back, or its link had an error that nothing corrected."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from vswitchd.ports.vfio import irq
from vswitchd.ports.vfio.abi import Irq

if TYPE_CHECKING:
    import asyncio

    from vswitchd.ports.vfio.kernel import Kernel


class Notices:
    """The REQ and ERR interrupts of a device on an event loop; a device without one of them is not watched for it."""

    def __init__(
        self,
        kernel: Kernel,
        fd: int,
        address: str,
        loop: asyncio.AbstractEventLoop,
        *,
        removed: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """Begin to listen. Raises VfioError with nothing left open."""
        self._loop = loop
        self._removed = removed
        self._failed = failed
        self._address = address
        self._asked = False
        self._open: list[irq.Interrupts] = []
        try:
            for index, heard in ((Irq.REQ, self._request), (Irq.ERR, self._error)):
                if not irq.count(kernel, fd, index):
                    continue
                one = irq.Interrupts(kernel, fd, address, index, 1)
                self._open.append(one)
                loop.add_reader(one.eventfds[0], heard, one.eventfds[0])
        except BaseException:
            self.close()
            raise

    def _request(self, eventfd: int) -> None:
        """Take the kernel's wish for the device; it repeats it every few seconds."""
        _drain(eventfd)
        if not self._asked:
            self._asked = True
            self._removed()

    def _error(self, eventfd: int) -> None:
        _drain(eventfd)
        self._failed(f"{self._address} had an uncorrectable PCI Express error (dmesg | grep AER says which)")

    def close(self) -> None:
        """Listen no more. A second call does nothing."""
        while self._open:
            one = self._open.pop()
            self._loop.remove_reader(one.eventfds[0])
            one.close()


def _drain(eventfd: int) -> None:
    """Reset an eventfd."""
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(eventfd)
