"""What all VFIO ports of an event loop share: devices and memory, the watch for faults, and for devices that come."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vswitchd.ports.vfio.faults import FaultWatch
from vswitchd.ports.vfio.linux import LinuxKernel
from vswitchd.ports.vfio.memory import Pool
from vswitchd.ports.vfio.session import Vfio
from vswitchd.ports.vfio.uevents import Hotplug, PciEvent

if TYPE_CHECKING:
    import asyncio
    from typing import Protocol

    from vswitchd.ports.vfio.kernel import Kernel

    class Watcher(Protocol):
        """A port, as the hub sees it."""

        def pci_event(self, event: PciEvent) -> None:
            """Hear that a device came, went or changed its driver."""

        def device_fault(self, address: str, text: str) -> None:
            """Hear that the IOMMU stopped a device."""


class Hub:
    """Made by the first port of a loop. Control thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kernel: Kernel) -> None:
        self.vfio = Vfio(kernel)
        self.pool = Pool(self.vfio.window, kernel)
        self.faults = FaultWatch(loop, self._fault)
        self._loop = loop
        self._hotplug: Hotplug | None = None
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Tell a port what happens."""
        if self._hotplug is None:
            self._hotplug = Hotplug(self._loop, self._event)
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell it no more. The last one closes the socket."""
        self._watchers.remove(watcher)
        if not self._watchers and self._hotplug is not None:
            self._hotplug.close()
            self._hotplug = None

    def _event(self, event: PciEvent) -> None:
        for watcher in list(self._watchers):
            watcher.pci_event(event)

    def _fault(self, address: str, text: str) -> None:
        for watcher in list(self._watchers):
            watcher.device_fault(address, text)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub(loop: asyncio.AbstractEventLoop) -> Hub:
    """Give the hub of that event loop."""
    if loop not in _hubs:
        _hubs[loop] = Hub(loop, LinuxKernel())
    return _hubs[loop]
