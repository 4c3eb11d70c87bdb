"""Port type vfio (also: dpdk): a NIC that is ours, as the daemon sees it.

The port is there as long as its row; its device may come and go. Without one the port is down and says why in `error`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import PortConfig, PortEnv, PortError, PortStatus
from vswitchd.ports.vfio import nic_status, options
from vswitchd.ports.vfio.environment import environment
from vswitchd.ports.vfio.errors import Cause, VfioError
from vswitchd.ports.vfio.hub import hub

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from vswitchd.ports.vfio.device import Device
    from vswitchd.ports.vfio.irq import Interrupts
    from vswitchd.ports.vfio.uevents import PciEvent

log = logging.getLogger(__name__)

_LOOK = 1.0
"""Seconds between looks at the link and for a device that has died."""
_AGAIN = 5.0
"""Seconds between attempts to open a device that is not there."""
_AGAIN_SOON = 1.0
"""The same when another process has it: a switch that was killed is gone in a moment."""


class VfioPort:
    """One NIC port. Control thread."""

    def __init__(self, config: PortConfig, env: PortEnv) -> None:
        """Make the port and open its device. Raises PortError when the options are wrong."""
        self.config = config
        self._options = options.read(config)
        self._env = env
        self._hub = hub(env.loop)
        self._device: Device | None = None
        self._irq: Interrupts | None = None
        self._rings: int | None = None
        self._reading = -1
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._again = _AGAIN
        self.error = ""
        self.info: Any = ffi.new("struct vs_nic_info *")
        self.running: Any = ffi.new("struct vs_nic_config *")
        self.link: Any = ffi.new("struct vs_nic_link *")
        self._shown: tuple[int, ...] = ()
        self.handle: Any = lib.vs_nic_new(config.name.encode())
        if self.handle == ffi.NULL:
            raise PortError(f"port {config.name}: out of memory")
        self._hub.watch(self)
        self._open()

    # --- the device comes and goes ---

    def _open(self) -> None:
        """Open the device and run, or note why not and try again later."""
        if self._attempt(self._begin):
            log.info(
                "port %s: %s runs with driver %s",
                self.config.name,
                self._options.pci,
                nic_status.driver(self.handle),
            )
        self._schedule()

    def _begin(self) -> None:
        """Open the device and run. Raises PortError."""
        self._device = self._hub.vfio.open(self._options.pci)
        self._device.watch(self._env.loop, self._wanted_back, self._failed)
        self._attach(self._device)
        self._start(self._device)

    def _attempt(self, step: Callable[[], None]) -> bool:
        """Do it; on any error give the device back, note the reason, and return False."""
        before = self.error
        try:
            step()
        except PortError as error:
            self._close()
            self.error = str(error)
            busy = isinstance(error, VfioError) and error.cause is Cause.BUSY
            self._again = _AGAIN_SOON if busy else _AGAIN
            if self.error != before:
                log.warning("port %s: %s", self.config.name, self.error)
        except Exception:
            log.exception("port %s: the driver failed", self.config.name)
            self._close()
            self.error = "internal error in the driver; the vswitchd log has the details"
            self._again = _AGAIN
        else:
            self.error = ""
            return True
        return False

    def _attach(self, device: Device) -> None:
        """Find the driver and let it look at the device. Raises PortError."""
        identity = device.identity
        name = lib.vs_nic_driver_for(identity.vendor, identity.device)
        if name == ffi.NULL:
            raise PortError(
                f"{device.address} is {identity.vendor:04x}:{identity.device:04x}, for which this switch has no driver "
                f"(it has {', '.join(nic_status.drivers())}); give it back with deploy/vs-bind unbind {device.address}, and use "
                "type=system on the kernel's interface"
            )
        env = environment(device, ffi.string(name).decode())
        if lib.vs_nic_attach(self.handle, name, env) < 0:
            raise PortError(f"{device.address}: the port still runs")
        # Bus mastering is still off: what a killed switch left running is reset before it may write to memory that is ours now.
        if lib.vs_nic_probe(self.handle, self.info) < 0:
            raise self._refused(device)

    def _refused(self, device: Device) -> PortError:
        text = ffi.string(lib.vs_nic_error(self.handle)).decode()
        return PortError(f"{device.address}: {text or 'the device does not work'}")

    def _wish(self, device: Device) -> Any:
        """Make the configuration of the options and what the device can do."""
        asked, can, wish = self._options, self.info, ffi.new("struct vs_nic_config *")
        one = device.max_vectors <= asked.n_rxq
        wish.n_rxq = asked.n_rxq
        wish.n_txq = min(asked.n_txq or self._env.cpus + 1, can.max_txq)
        wish.rx_desc = nic_status.fitting(asked.rx_desc, can)
        wish.tx_desc = nic_status.fitting(asked.tx_desc, can)
        wish.mtu = asked.mtu
        wish.n_vectors = min(1, device.max_vectors) if one else asked.n_rxq + 1
        wish.rx_mode = (lib.VS_NIC_RX_PROMISC if asked.promiscuous else 0) | lib.VS_NIC_RX_ALLMULTI
        wish.flow_control = asked.flow_control
        wish.features_off = asked.features_off
        if asked.mac is not None:
            wish.mac = bytes.fromhex(asked.mac.replace(":", ""))
        if one and asked.n_rxq > 1:
            raise PortError(
                f"{device.address} has {device.max_vectors} interrupts, {asked.n_rxq} receive queues need {asked.n_rxq + 1}: "
                "set options:n_rxq=1"
            )
        return wish

    def _start(self, device: Device) -> None:
        """Give it memory and interrupts, and run. Raises PortError; then what was taken is given back by _close."""
        wish = self._wish(device)
        self._hub.pool.need(self.config.name, lib.vs_nic_n_buffers(wish))
        if wish.n_vectors:
            self._irq = device.interrupts(wish.n_vectors)
        fds = ffi.new("int[]", list(self._irq.eventfds) if self._irq else [-1])
        unmask = self._irq.unmask_fd if self._irq and self._irq.unmask_fd is not None else -1
        self._rings = self._hub.vfio.window.alloc(lib.vs_nic_ring_bytes(self.handle, wish))
        device.set_bus_master(True)
        if lib.vs_nic_start(self.handle, wish, self._rings, fds, unmask) < 0:
            raise self._refused(device)
        lib.vs_nic_configured(self.handle, self.running)
        if wish.n_vectors > 1 and self._irq is not None:
            self._reading = self._irq.eventfds[-1]
            self._env.loop.add_reader(self._reading, self._interrupt)
        self._hub.faults.add(device, nic_status.known_faults(self.handle))
        self._look()
        if self._device is None:
            raise PortError(self.error)  # it died at the first look

    def _halt(self) -> None:
        """Stop and give back what _start took; the device stays open."""
        if self._device is not None:
            self._hub.faults.remove(self._device)
        if self._reading >= 0:
            self._env.loop.remove_reader(self._reading)
            self._reading = -1
        lib.vs_nic_stop(self.handle)
        if self._device is not None:
            with contextlib.suppress(VfioError):
                self._device.set_bus_master(False)
        if self._irq is not None:
            self._irq.close()
            self._irq = None
        if self._rings is not None:
            self._hub.vfio.window.free(self._rings)
            self._rings = None
        lib.vs_nic_link(self.handle, self.link)

    def _close(self) -> None:
        self._halt()
        if self._device is not None:
            self._device.close()
            self._device = None
        self._hub.pool.leave(self.config.name)

    def _lose(self, text: str) -> None:
        """Let go of a device that cannot be used any more."""
        if self._device is None:
            return
        log.error("port %s: %s", self.config.name, text)
        self._close()
        self.error = text
        self._schedule()
        self._env.changed(self)

    def _wanted_back(self) -> None:
        self._lose(
            f"{self._options.pci} was removed or given to another driver; the port waits for it to come back"
        )

    def _failed(self, text: str) -> None:
        self._lose(text)

    def device_fault(self, address: str, text: str) -> None:
        """Take the word of the fault watch."""
        if self._device is not None and address == self._options.pci:
            self._lose(text)

    def pci_event(self, event: PciEvent) -> None:
        """Try again when our device came, or was bound."""
        if event.address != self._options.pci or self._stopped:
            return
        if event.action == "remove" and self._device is not None:
            self._wanted_back()
        elif self._device is None and event.action in ("add", "bind"):
            self._retry()

    # --- while it runs ---

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait, what = (_LOOK, self._tick) if self._device is not None else (self._again, self._retry)
        self._timer = self._env.loop.call_later(wait, what)

    def _retry(self) -> None:
        before = self.error
        self._open()
        if self.error != before:
            self._env.changed(self)

    def _tick(self) -> None:
        self._look()
        if self._device is not None:
            self._schedule()

    def _interrupt(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._reading)
        self._look()

    def _look(self) -> None:
        """Read what the device says of itself and its link; tell the daemon when that is new."""
        if lib.vs_nic_irq(self.handle) & lib.VS_NIC_IRQ_DEAD:
            self._lose(
                f"{self._options.pci} does not answer any more: reset it or the machine; the port tries again by itself"
            )
            return
        lib.vs_nic_link(self.handle, self.link)
        now = (self.link.up, self.link.speed_mbps, self.link.full_duplex, self.link.pause)
        if now != self._shown:
            self._shown = now
            self._env.changed(self)

    # --- the Port protocol ---

    def status(self) -> PortStatus:
        """Tell what is true now."""
        return nic_status.status(self, self._device, lost=self.error)

    def reconfigure(self, config: PortConfig) -> bool:
        """Apply changed options, by a short stop where it takes one. False: another device or name is wanted. Raises PortError."""
        asked = options.read(config)
        if (config.name, config.type, asked.pci) != (self.config.name, self.config.type, self._options.pci):
            return False
        changed, self.config, self._options = asked != self._options, config, asked
        if changed and self._device is not None:
            device = self._device
            self._halt()
            self._attempt(lambda: self._start(device))
            self._schedule()
            self._env.changed(self)
        return True

    def stop(self) -> None:
        """Stop the device and close it. A second call does nothing."""
        if not self._stopped:
            self._stopped = True
            if self._timer is not None:
                self._timer.cancel()
            self._hub.unwatch(self)
            self._close()
