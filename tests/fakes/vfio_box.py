"""VFIO ports on device models: a kernel that tests play, whose devices have the registers of a model."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any

from fakes.fake_vfio import FakeDevice, FakeKernel, make_config
from fakes.nic_models import Nic
from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vfio.abi import Irq


@dataclass
class RealWindow:
    """The window of the extension."""

    address: int

    def close(self) -> None:
        """Nothing: release() does it."""


class ModelKernel(FakeKernel):
    """Devices at 0000:01:00.0, 0000:02:00.0 ... with the registers of these models; real DMA memory."""

    def __init__(self, *nics: Nic) -> None:
        self.nics: dict[str, Nic] = {}
        devices = []
        for number, nic in enumerate(nics, start=1):
            env = nic.fill(ffi.new("struct vs_nic_env *"))
            address = f"0000:{number:02x}:00.0"
            devices.append(FakeDevice(address, str(number), config=make_config(env.vendor, env.device)))
            self.nics[address] = nic
        super().__init__(*devices)

    def environment(self, device: Any, _driver: str) -> Any:
        """What a driver is told, with the model behind the registers."""
        return self.nics[device.address].fill(ffi.new("struct vs_nic_env *"))

    def reserve(self, size: int, iova: int) -> int:
        self._call("reserve")
        if lib.vs_dma_reserve(size) < 0:
            raise OSError(errno.ENOMEM, "no addresses")
        lib.vs_dma_set_iova(iova)
        self.window = RealWindow(int(ffi.cast("uintptr_t", lib.vs_dma_base())))
        self.window_size = size
        for nic in self.nics.values():
            nic.map(iova, size)
        return self.window.address

    def back(self, offset: int, length: int, shift: int) -> None:
        super().back(offset, length, shift)
        code = lib.vs_dma_back(offset, length, 0)
        if code < 0:
            raise OSError(-code, os.strerror(-code))

    def unback(self, offset: int, length: int) -> None:
        super().unback(offset, length)
        lib.vs_dma_unback(offset, length)

    def release(self) -> None:
        super().release()
        lib.vs_dma_release()

    def _device_device_set_irqs(self, file: Any, argument: Any) -> int:
        result: int = super()._device_device_set_irqs(file, argument)
        nic = self.nics[file.device.address]
        kind = next((k for k in (Irq.MSIX, Irq.MSI, Irq.INTX) if k in file.device.eventfds), None)
        fds = file.device.eventfds.get(kind, [])
        for vector in range(32):
            nic.models.model_set_vector(nic.model, vector, fds[vector] if vector < len(fds) else -1)
        return result
