"""Interrupts as eventfds: MSI-X, else MSI, else INTx; and the two notices about the device itself.

MSI and MSI-X vectors are set up in one call, because the kernel cannot add vectors later (NORESIZE). INTx is a level:
the kernel masks it at each interrupt, and a write to `unmask_fd` lets the next one through.
"""

from __future__ import annotations

import struct

from vswitchd.ports.vfio import abi, errors
from vswitchd.ports.vfio.abi import Irq, IrqFlag, IrqSet, Request
from vswitchd.ports.vfio.kernel import Kernel

_MODES = {Irq.MSIX: "msix", Irq.MSI: "msi", Irq.INTX: "intx"}


def count(kernel: Kernel, fd: int, index: Irq) -> int:
    """How many interrupts of a kind the device has that can signal an eventfd."""
    request = bytearray(abi.IRQ_INFO.pack(abi.IRQ_INFO.size, 0, index, 0))
    try:
        kernel.ioctl(fd, Request.DEVICE_GET_IRQ_INFO, request)
    except OSError:
        return 0  # the kernel knows no such kind for this device (ERR is for PCI Express only)
    _argsz, flags, _index, number = abi.IRQ_INFO.unpack(request)
    return int(number) if flags & IrqFlag.EVENTFD else 0


def best(kernel: Kernel, fd: int) -> tuple[Irq, int]:
    """Kind of interrupt to use, and how many the device has of it; 0 when it has none at all."""
    for index in _MODES:
        if number := count(kernel, fd, index):
            return index, number
    return Irq.INTX, 0


def _set(kernel: Kernel, fd: int, index: Irq, action: IrqSet, eventfds: tuple[int, ...]) -> None:
    """Bind eventfds to the first interrupts of a kind. Raises OSError."""
    data = struct.pack(f"={len(eventfds)}i", *eventfds)
    head = abi.IRQ_SET.pack(
        abi.IRQ_SET.size + len(data), IrqSet.DATA_EVENTFD | action, index, 0, len(eventfds)
    )
    kernel.ioctl(fd, Request.DEVICE_SET_IRQS, bytearray(head + data))


def _disable(kernel: Kernel, fd: int, index: Irq) -> None:
    """Switch a kind of interrupt off. Cannot fail: closing the device does it too."""
    head = abi.IRQ_SET.pack(abi.IRQ_SET.size, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, index, 0, 0)
    try:
        kernel.ioctl(fd, Request.DEVICE_SET_IRQS, bytearray(head))
    except OSError:
        return


class Interrupts:
    """The interrupts of one kind, switched on, each with its eventfd. Control thread; cores may read the eventfds."""

    def __init__(self, kernel: Kernel, fd: int, address: str, index: Irq, number: int) -> None:
        """Switch on `number` interrupts of a kind that has so many. Raises VfioError with nothing left open."""
        self._kernel = kernel
        self._fd = fd
        self._index = index
        self.mode = _MODES.get(index, index.name.lower())
        self.unmask_fd: int | None = None
        """INTx only: write an eventfd count of 1 here after each interrupt."""
        self._open: list[int] = []
        try:
            for _ in range(number):
                self._open.append(kernel.eventfd())
            self.eventfds = tuple(self._open)
            _set(kernel, fd, index, IrqSet.ACTION_TRIGGER, self.eventfds)
            if index == Irq.INTX:
                self.unmask_fd = kernel.eventfd()
                self._open.append(self.unmask_fd)
                _set(kernel, fd, index, IrqSet.ACTION_UNMASK, (self.unmask_fd,))
        except OSError as error:
            self.close()
            raise errors.refused(
                f"cannot switch on {number} {self.mode} interrupts of {address}", error
            ) from error

    def close(self) -> None:
        """Switch off, then close the eventfds; no core may use them any more. A second call does nothing."""
        if self._open:
            _disable(self._kernel, self._fd, self._index)
        while self._open:
            self._kernel.close(self._open.pop())
