"""Faults of a device, as far as user space can see them: the kernel's log, and the abort bits of its status register.

VFIO tells nobody of an IOMMU fault. What is left is what the IOMMU's driver writes to the kernel's log, at once, and that the
device notes a transfer that was refused (received target or master abort), which is looked at every second. Where the log may
not be read (no CAP_SYSLOG) the second must do.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.ports.vfio import fault_lines, pci
from vswitchd.ports.vfio.errors import Cause, VfioError

if TYPE_CHECKING:
    import asyncio

    from vswitchd.ports.vfio.device import Device

log = logging.getLogger(__name__)

KMSG = "/dev/kmsg"
PERIOD = 1.0
"""Seconds between two looks at the devices."""
_RECORD = 8192
"""The longest record of /dev/kmsg (CONSOLE_EXT_LOG_MAX)."""
_MOST_RECORDS = 256
"""Read at once, so that a storm of faults does not hold the control thread."""
_ABORTS = pci.Status.RECEIVED_TARGET_ABORT | pci.Status.RECEIVED_MASTER_ABORT


@dataclass(slots=True)
class _Watched:
    device: Device
    ignore: frozenset[int]
    conventional: bool = False
    """Not PCI Express: it may hang behind a bridge that asks in its place."""
    seen: int = 0
    """Abort bits that were set at the last look."""


class FaultWatch:
    """Calls `callback(address, text)` when a watched device had a fault; the port is to be stopped then. Control thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[str, str], None], kmsg: str = KMSG
    ) -> None:
        """Watch no device yet. Nothing is open until the first one is added."""
        self._loop = loop
        self._callback = callback
        self._path = kmsg
        self._devices: dict[str, _Watched] = {}
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None

    def add(self, device: Device, ignore: frozenset[int] = frozenset()) -> None:
        """Watch a device. Faults at the IOVAs in `ignore` are known and do no harm (vmxnet3 reads 0 when it stops)."""
        if not self._devices:
            self._start()
        watched = self._devices[device.address] = _Watched(device, ignore)
        with contextlib.suppress(VfioError):
            self._aborts(watched)  # what it had before is not ours
            watched.conventional = device.link() is None

    def remove(self, device: Device) -> None:
        """Watch a device no more; before it is closed. Unknown ones are fine."""
        if self._devices.pop(device.address, None) is not None and not self._devices:
            self._stop()

    def close(self) -> None:
        """Watch nothing any more. A second call does nothing."""
        self._devices.clear()
        self._stop()

    def _start(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
            self._loop.add_reader(self._fd, self.read_log)
        except (OSError, NotImplementedError) as error:
            log.info(
                "no faults are read from %s (%s): run with CAP_SYSLOG to have them named", self._path, error
            )
            self._close_log()
        self._timer = self._loop.call_later(PERIOD, self._tick)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
        self._close_log()

    def _close_log(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _tick(self) -> None:
        self._timer = self._loop.call_later(PERIOD, self._tick)
        self.look()

    def look(self) -> None:
        """Look at every watched device's status register."""
        for watched in list(self._devices.values()):
            try:
                aborts = self._aborts(watched)
            except VfioError as error:
                if error.cause == Cause.REMOVED:
                    self._tell(watched.device.address, str(error))
                continue
            # Where some faults are to be ignored the bit cannot say which it was; the log can.
            if aborts and not watched.ignore:
                kind = "target" if aborts & pci.Status.RECEIVED_TARGET_ABORT else "master"
                self._tell(watched.device.address, f"a DMA of the device was refused ({kind} abort)")

    @staticmethod
    def _aborts(watched: _Watched) -> int:
        """Abort bits that came since the last look (PCI 3.0 section 6.2.3). vfio-pci lets nobody clear them, so each comes once."""
        config = watched.device.config
        found = config.u16(pci.STATUS)
        if found == 0xFFFF:
            config.identity()  # raises when nobody answers
        found &= _ABORTS
        new = found & ~watched.seen
        watched.seen = found
        return new

    def read_log(self) -> None:
        """Read what is new in the kernel's log."""
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # records were overwritten before we read them
            except OSError:
                record = b""
            if not record:
                self._loop.remove_reader(self._fd)
                self._close_log()
                return
            if (fault := fault_lines.parse(fault_lines.message(record))) is not None:
                self._fault(fault)
            if self._fd < 0:
                return  # the last device was removed because of it

    def _fault(self, fault: fault_lines.FaultLine) -> None:
        """Tell whom a fault concerns. Behind a bridge to conventional PCI that is all: the IOMMU sees the bridge alone."""
        mine = [address for address in self._devices if fault.concerns(address)]
        text = str(fault)
        if not mine:
            mine = [address for address, watched in self._devices.items() if watched.conventional]
            mine = [address for address in mine if fault.may_concern(address)]
            text += ", or of another one behind the same bridge"
        for address in mine:
            if address in self._devices and fault.iova not in self._devices[address].ignore:
                self._tell(address, text)

    def _tell(self, address: str, text: str) -> None:
        """Report once; whoever hears of it removes the device or wants to hear more."""
        if address in self._devices:
            with contextlib.suppress(VfioError):
                self._callback(address, text)
