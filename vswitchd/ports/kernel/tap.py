"""Ports of type tap and internal: a network device of the host whose wire is the switch (tuntap.rst)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortEnv, PortError, PortStatus
from vswitchd.ports.kernel import links
from vswitchd.ports.kernel.device import KernelPort, check_name, no_permission
from vswitchd.ports.kernel.rtnl import IFF_LOWER_UP, IFF_UP

if TYPE_CHECKING:
    from vswitchd.ports.kernel.rtnl import Link

TUN = "/dev/net/tun"
TUNSETIFF, TUNGETIFF, TUNSETOFFLOAD, TUNGETDEVNETNS = 0x400454CA, 0x800454D2, 0x400454D0, 0x54E3
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 1, 2, 4, 8
UNKNOWN = -1
"""In place of a namespace's identifier: one that we may not look into."""
_IFREQ = struct.Struct("16sH22x")


def stable_mac(name: str) -> str:
    """Make a locally administered address that the name has after each restart, and no other host has."""
    host = socket.gethostname()
    with contextlib.suppress(OSError):
        host = Path("/etc/machine-id").read_text(encoding="ascii").strip() or host
    digest = hashlib.sha256(f"vswitchd {host} {name}".encode()).digest()
    return bytes([digest[0] & 0xFC | 2, *digest[1:6]]).hex(":")


def _explain(config: PortConfig, error: OSError) -> PortError:
    name = config.name
    if error.errno in (errno.EPERM, errno.EACCES):
        hint = no_permission(config, "CAP_NET_ADMIN")
        return PortError(
            f"{hint}, or make it beforehand: ip tuntap add dev {name} mode tap user {os.geteuid()}"
        )
    if error.errno == errno.EBUSY:
        return PortError(
            f"interface {name} is in use by another program: stop that one or choose another name"
        )
    if error.errno == errno.EINVAL and (link := links.find(name)) is not None:
        kind = link.kind or "hardware interface"
        return PortError(
            f"interface {name} exists already and is no plain tap device (kind: {kind}): "
            "choose another name, or use it as it is with type=system"
        )
    return PortError(f"cannot make {config.type} port {name}: {error.strerror}")


def open_tap(config: PortConfig) -> int:
    """Make the device, or take an idle tap of that name; return the descriptor. Raises PortError."""
    try:
        fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise PortError(
                f"cannot make {config.type} port {config.name}: {TUN} is missing: "
                "modprobe tun, or give the container the device"
            ) from error
        raise no_permission(config, f"access to {TUN}") from error
    try:
        fcntl.ioctl(fd, TUNSETIFF, _IFREQ.pack(config.name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        with contextlib.suppress(
            OSError
        ):  # without it the kernel completes checksums before it hands frames over
            fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
    except OSError as error:
        os.close(fd)
        raise _explain(config, error) from error
    return fd


def locate(fd: int) -> tuple[links.Where, Link | None] | None:
    """Find the namespace that the device of a tap descriptor is in, and its state. None: it was deleted."""
    try:
        name = _IFREQ.unpack(fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ.size)))[0].split(b"\0", 1)[0].decode()
    except OSError:
        return None
    try:
        netns = fcntl.ioctl(fd, TUNGETDEVNETNS)
        try:
            where = links.namespace_id(netns)
        finally:
            os.close(netns)
        return where, links.find(name, where)
    except OSError:  # no right to look there
        return None, None


class TapPort(KernelPort):
    """A tap device of ours, followed into another namespace, and made anew when somebody deletes it."""

    def __init__(self, config: PortConfig, env: PortEnv) -> None:
        check_name(config.name)
        self._fd = open_tap(config)
        super().__init__(config, env, lib.VS_KERNEL_TAP, self._fd)
        try:
            self._setup()
        except PortError:
            self.stop()
            lib.vs_port_destroy(self.handle)
            raise

    def _setup(self) -> None:
        self._where = None
        self._set(links.find(self.config.name))
        try:
            self._change(mac=self.config.mac or stable_mac(self.config.name), mtu=self.config.mtu_request)
            self._change(up=True)
        except PortError as error:
            # A tap that the administrator made for us may be his to set up.
            if not isinstance(error.__cause__, PermissionError):
                raise
        self._set(links.find(self.config.name))

    def _look(self) -> None:
        """Find the device again."""
        found = locate(self._fd) if self._fd >= 0 else None
        if found is None:
            self._make_anew()
            return
        self._where, link = found
        if link is None and self.link is not None:  # out of sight: believe that whoever took it sets it up
            self._where = UNKNOWN
            link = replace(self.link, flags=self.link.flags | IFF_UP | IFF_LOWER_UP)
        self._set(link)

    def _left(self) -> None:
        self._look()

    def _appeared(self) -> None:
        self._look()

    def _make_anew(self) -> None:
        self._swap(-1)
        self._fd = -1
        try:
            self._fd = open_tap(self.config)
            self._swap(self._fd)
            self._setup()
        except PortError as error:
            self._set(None, f"interface {self.config.name} was deleted and cannot be made again: {error}")

    def status(self) -> PortStatus:
        """Tell what netlink told last; notice a device that died unheard, with its namespace."""
        if self._fd < 0 or is_dead(self._fd):
            self._make_anew()
        return super().status()

    def _info(self) -> dict[str, str]:
        info = {"driver_name": "tun", **super()._info()}
        if self._where is not None:
            info["netns"] = "unknown" if self._where == UNKNOWN else f"id {self._where}"
        return info

    def stop(self) -> None:
        """Let go of the device: it is gone after this, unless it was persistent."""
        super().stop()
        self._fd = -1


def is_dead(fd: int) -> bool:
    """Tell whether the device of a tap descriptor was deleted."""
    try:
        fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ.size))
    except OSError:
        return True
    return False
