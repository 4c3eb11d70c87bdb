"""What all kernel ports have in common: the C port, the interface's state as netlink tells it, status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import PortConfig, PortEnv, PortError, PortStatus
from vswitchd.ports.kernel import links

if TYPE_CHECKING:
    from vswitchd.ports.kernel.rtnl import Link

NAME_MAX = 15


def check_name(name: str) -> None:
    """Raise PortError when the kernel has no such interface name (dev_valid_name)."""
    if not name or len(name.encode()) > NAME_MAX:
        raise PortError(
            f"interface name '{name}' is longer than {NAME_MAX} bytes: the kernel takes no such name"
        )
    if name in {".", ".."} or any(c in "/:%" or c.isspace() for c in name):
        raise PortError(
            f"interface name '{name}' has a character that the kernel does not take (/ : % or space)"
        )


def no_permission(config: PortConfig, capability: str) -> PortError:
    """Make the error for EPERM."""
    return PortError(
        f"cannot open {config.type or 'system'} port {config.name}: no permission; "
        f"run the switch as root or give it {capability}"
    )


class KernelPort:
    """A Port (see ports/base.py) whose other side is an interface. Control thread.

    Life: a subclass opens a descriptor and calls __init__, which owns it from then on; netlink events move
    `link`; stop() closes the descriptor after a grace period, so that the name is free again at once; the
    datapath frees `handle`.
    """

    def __init__(self, config: PortConfig, env: PortEnv, kind: int, fd: int) -> None:
        self.config = config
        self._env = env
        self._where: links.Where = None
        self._stopped = False
        self.link: Link | None = None
        """The interface as last told; None: there is none."""
        self.error: str | None = None
        """Why there is no interface."""
        self.handle: Any = lib.vs_kernel_port_new(
            config.name.encode(), (config.type or "system").encode(), kind, fd
        )
        if self.handle == ffi.NULL:
            os.close(fd)
            raise PortError(f"cannot open port {config.name}: out of memory")
        self._monitor = links.monitor(env.loop)
        self._monitor.watch(self._changed)

    def _set(self, link: Link | None, error: str | None = None) -> None:
        """Take over the state of the interface, and tell the core and the daemon when it is new."""
        if (link, error) == (self.link, self.error):
            return
        self.link, self.error = link, error
        lib.vs_kernel_port_set(self.handle, link is not None and link.link_up, link.mtu if link else 1500)
        self._env.changed(self)

    def _changed(self, where: links.Where, link: Link) -> None:
        """Take a netlink event, about any interface."""
        if self.link is None:
            if where is None and not link.gone and link.name == self.config.name:
                self._appeared()
        elif (where, link.index) == (self._where, self.link.index):
            if link.gone:
                self._left()
            else:
                self._set(link)

    def _appeared(self) -> None:
        """Take an interface of our name: it is there, and we had none."""
        raise NotImplementedError

    def _left(self) -> None:
        """Handle that the interface was deleted or moved to another namespace."""
        raise NotImplementedError

    def _swap(self, fd: int) -> None:
        """Give the cores another descriptor (-1: none) and close the old one."""
        old = lib.vs_kernel_port_swap_fd(self.handle, fd)
        if old >= 0:
            lib.vs_synchronize()
            os.close(old)

    def _change(self, *, mtu: int | None = None, mac: str | None = None, up: bool | None = None) -> None:
        """Change the interface. Raises PortError."""
        if self.link is None or (mtu, mac, up) == (None, None, None):
            return
        try:
            links.change(self.link.index, mtu=mtu, mac=mac, up=up, netns=self._where)
        except PermissionError as error:
            raise no_permission(self.config, "CAP_NET_ADMIN") from error
        except OSError as error:
            wish = (
                ", ".join(f"{k} {v}" for k, v in (("mtu", mtu), ("mac", mac)) if v is not None) or "link up"
            )
            text = f"cannot set {wish} on interface {self.config.name}: {error.strerror}"
            raise PortError(text) from error

    def reconfigure(self, config: PortConfig) -> bool:
        """Apply MTU and MAC in place. False: another interface or type is wanted."""
        if (config.name, config.type) != (self.config.name, self.config.type):
            return False
        self._change(
            mtu=config.mtu_request if config.mtu_request != self.config.mtu_request else None,
            mac=config.mac if config.mac != self.config.mac else None,
        )
        self.config = config
        return True

    def status(self) -> PortStatus:
        """Tell what netlink told last."""
        link = self.link
        if link is None:
            return PortStatus(link_up=False, admin_up=False, mtu=0, info=self._info())
        return PortStatus(
            link_up=link.link_up,
            admin_up=link.admin_up,
            mtu=link.mtu,
            mac=link.mac,
            speed_bps=self._speed(),
            info=self._info(),
            measure=self._metrics,
        )

    def _speed(self) -> int:
        return 0

    def _info(self) -> dict[str, str]:
        return {"error": self.error} if self.error else {}

    def _metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {}

    def stop(self) -> None:
        """Let go of the interface. A second call does nothing."""
        if not self._stopped:
            self._stopped = True
            self._monitor.unwatch(self._changed)
            self._swap(-1)
