"""One PCI device that is ours: opened, its BARs mapped, its bus mastering and interrupts in our hands, closed.

While it is open the device may do DMA only when bus mastering is on, and then only to what the DMA window maps.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vswitchd.ports.vfio import abi, errors, irq, regions, virtio
from vswitchd.ports.vfio.abi import DeviceFlag, Request
from vswitchd.ports.vfio.group import DEVICES
from vswitchd.ports.vfio.kernel import Kernel
from vswitchd.ports.vfio.notices import Notices
from vswitchd.ports.vfio.pci import CapId, Command, ConfigSpace, PcieLink
from vswitchd.ports.vfio.regions import Bar, MsixTable

if TYPE_CHECKING:
    import asyncio

_BARS = 6
_MSIX_SIZE = 12
_PM_SIZE = 6
_PM_CONTROL = 4
_PM_STATE = 0x3


class Device:
    """An open device. Made by the session; closed once by its port. Control thread."""

    def __init__(self, kernel: Kernel, address: str, fd: int, released: Callable[[Device], None]) -> None:
        """Take over `fd` and call `released` after close(). Raises VfioError, and `fd` is closed then."""
        self._kernel = kernel
        self._fd = fd
        self._released = released
        self._interrupts: irq.Interrupts | None = None
        self._notices: Notices | None = None
        self.address = address
        self.config = ConfigSpace(address, self._read_config, self._write_config)
        with ExitStack() as undo:
            undo.callback(kernel.close, fd)
            self.can_reset = self._look()
            self._config_offset = self._region(abi.CONFIG_REGION).offset
            self.identity = self.config.identity()
            self._wake()
            self.config.command(on=Command.MEMORY, off=Command.MASTER)
            self.bars = self._map(undo)
            self._irq, self.max_vectors = irq.best(kernel, fd)
            undo.pop_all()

    def _look(self) -> bool:
        """Check that it is a PCI device; return whether it can be reset."""
        answer = bytearray(abi.DEVICE_INFO.pack(abi.DEVICE_INFO.size, 0, 0, 0))
        try:
            self._kernel.ioctl(self._fd, Request.DEVICE_GET_INFO, answer)
        except OSError as error:
            raise errors.refused(f"cannot ask what {self.address} is", error) from error
        flags = abi.DEVICE_INFO.unpack(answer)[1]
        if not flags & DeviceFlag.PCI:
            raise errors.bad_config(self.address, "VFIO says that it is no PCI device")
        return bool(flags & DeviceFlag.RESET)

    def _region(self, index: int) -> regions.Region:
        """Ask for a region. Raises VfioError."""
        try:
            return regions.read_region(self._kernel, self._fd, index)
        except OSError as error:
            raise errors.refused(f"cannot ask for region {index} of {self.address}", error) from error

    def _map(self, undo: ExitStack) -> tuple[Bar, ...]:
        """Map all BARs. Raises VfioError."""
        table = self._msix_table()
        bars = []
        for index in range(_BARS):
            bar = regions.map_bar(self._kernel, self._fd, self.address, self._region(index), table)
            undo.callback(bar.close)
            bars.append(bar)
        return tuple(bars)

    def _msix_table(self) -> MsixTable | None:
        """Where the vectors' table lies (PCI 3.0 section 6.8.2)."""
        at = self.config.find(CapId.MSIX, _MSIX_SIZE)
        if at is None:
            return None
        vectors = (self.config.u16(at + 2) & 0x7FF) + 1
        table = self.config.u32(at + 4)
        return MsixTable(bar=table & 7, offset=table & ~7, length=vectors * 16)

    def _wake(self) -> None:
        """Bring the device to power state D0 (PCI PM 1.2 section 3.2.4); the kernel waits as long as it must."""
        at = self.config.find(CapId.POWER, _PM_SIZE)
        if at is None:
            return
        control = self.config.u16(at + _PM_CONTROL)
        if control & _PM_STATE:
            self.config.write_u16(at + _PM_CONTROL, control & ~_PM_STATE)

    def _read_config(self, offset: int, length: int) -> bytes:
        try:
            data = self._kernel.pread(self._fd, length, self._config_offset + offset)
        except OSError as error:
            raise self._config_error(error) from error
        if len(data) != length:
            raise errors.removed(self.address)
        return data

    def _write_config(self, offset: int, data: bytes) -> None:
        try:
            self._kernel.pwrite(self._fd, data, self._config_offset + offset)
        except OSError as error:
            raise self._config_error(error) from error

    def _config_error(self, error: OSError) -> errors.VfioError:
        if error.errno in {errno.ENODEV, errno.EIO, errno.ENXIO}:
            return errors.removed(self.address)
        return errors.refused(f"cannot reach the config space of {self.address}", error)

    @property
    def numa_node(self) -> int:
        """NUMA node that the device hangs on; -1: none known."""
        text = self._kernel.text(f"{DEVICES}/{self.address}/numa_node") or ""
        return int(text) if text.removeprefix("-").isdigit() else -1

    def link(self) -> PcieLink | None:
        """PCI Express link, for status; None for a device without one. Raises VfioError."""
        return self.config.link()

    def virtio(self) -> virtio.VirtioLayout:
        """Where a virtio device has its registers. Raises VfioError when it is no modern one."""
        return virtio.parse(self.config, [bar.size for bar in self.bars])

    def set_bus_master(self, on: bool) -> None:
        """Let the device do DMA, or stop it. Raises VfioError when it is gone."""
        if on:
            self.config.command(on=Command.MASTER)
        else:
            self.config.command(off=Command.MASTER)

    def reset(self) -> None:
        """Reset the function, which takes up to 100 ms; bus mastering is off afterwards. Raises VfioError."""
        if not self.can_reset:
            raise errors.refused(f"{self.address} cannot be reset", OSError(errno.ENOTTY, ""))
        try:
            self._kernel.ioctl(self._fd, Request.DEVICE_RESET)
        except OSError as error:
            raise errors.refused(f"cannot reset {self.address}", error) from error
        self.config.command(on=Command.MEMORY, off=Command.MASTER)

    def interrupts(self, number: int) -> irq.Interrupts:
        """Switch on `number` interrupts, each with an eventfd; earlier ones are switched off. Raises VfioError."""
        if self._interrupts is not None:
            self._interrupts.close()
            self._interrupts = None
        if not 0 < number <= self.max_vectors:
            raise errors.few_vectors(self.address, number, self.max_vectors)
        self._interrupts = irq.Interrupts(self._kernel, self._fd, self.address, self._irq, number)
        return self._interrupts

    def watch(
        self, loop: asyncio.AbstractEventLoop, removed: Callable[[], None], failed: Callable[[str], None]
    ) -> None:
        """Call `removed` once when somebody wants the device back, `failed` at an uncorrectable PCI Express error.

        Until the device is closed the one who wants it waits (an unbind hangs). Raises VfioError.
        """
        assert self._notices is None
        self._notices = Notices(self._kernel, self._fd, self.address, loop, removed=removed, failed=failed)

    def close(self) -> None:
        """Stop DMA and interrupts, unmap and close. A second call does nothing. Cannot fail."""
        if self._fd < 0:
            return
        with contextlib.suppress(errors.VfioError):
            self.set_bus_master(False)
        if self._notices is not None:
            self._notices.close()
        if self._interrupts is not None:
            self._interrupts.close()
        for bar in self.bars:
            bar.close()
        self._kernel.close(self._fd)
        self._fd = -1
        self._released(self)
