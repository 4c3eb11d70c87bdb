"""Ports of type system: an interface that exists already (NIC, veth), by an AF_PACKET socket (packet(7))."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortEnv, PortError
from vswitchd.ports.kernel import ethtool, links
from vswitchd.ports.kernel.device import KernelPort, check_name, no_permission

if TYPE_CHECKING:
    from vswitchd.ports.kernel.rtnl import Link

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_AUXDATA, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = (
    1,
    6,
    8,
    15,
    23,
)
PACKET_MR_PROMISC = 1
ETH_P_ALL = 3
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SNDBUF, RCVBUF = 1 << 20, 4 << 20
_LOOPBACK = 0x8


def open_socket(config: PortConfig) -> socket.socket:
    """Make a raw socket that receives nothing yet. Raises PortError."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    try:
        sock = socket.socket(socket.AF_PACKET, kind, 0)
    except PermissionError as error:
        raise no_permission(config, "CAP_NET_RAW") from error
    except OSError as error:
        raise PortError(f"cannot open interface {config.name}: {error.strerror}") from error
    try:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    except OSError as error:
        sock.close()
        raise PortError(
            f"cannot open interface {config.name}: the kernel is older than Linux 4.20"
        ) from error
    for force, plain, size in (
        (SO_RCVBUFFORCE, socket.SO_RCVBUF, RCVBUF),
        (SO_SNDBUFFORCE, socket.SO_SNDBUF, SNDBUF),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, size)
        except OSError:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, plain, size)
    return sock


def bind(sock: socket.socket, name: str, index: int) -> None:
    """Receive from and send to the interface, promiscuously. Raises OSError."""
    sock.bind((name, ETH_P_ALL))
    sock.setsockopt(
        SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("=iHH8s", index, PACKET_MR_PROMISC, 0, b"")
    )


def find(config: PortConfig) -> Link:
    """Find the interface. Raises PortError when there is none."""
    check_name(config.name)
    link = links.find(config.name)
    if link is None:
        raise PortError(
            f"interface {config.name} does not exist: make it (ip link add ...), "
            "or use type=tap or type=internal to have it made"
        )
    if link.flags & _LOOPBACK:
        raise PortError(f"interface {config.name} is the loopback: a switch port cannot be on it")
    return link


class SystemPort(KernelPort):
    """An existing interface. When it is deleted the port is down until one of that name is there again."""

    def __init__(self, config: PortConfig, env: PortEnv) -> None:
        link = find(config)
        self._sock = open_socket(config)
        self._dropped = 0
        try:
            bind(self._sock, config.name, link.index)
            super().__init__(config, env, lib.VS_KERNEL_PACKET, os.dup(self._sock.fileno()))
        except OSError as error:
            self._sock.close()
            raise PortError(f"cannot open interface {config.name}: {error.strerror}") from error
        self._set(link)
        try:
            self._change(mtu=config.mtu_request, mac=config.mac)
        except PortError:
            self.stop()
            lib.vs_port_destroy(self.handle)
            raise

    def _left(self) -> None:
        self._set(None, f"interface {self.config.name} was deleted or moved to another namespace")

    def _appeared(self) -> None:
        """Bind the same socket again: the descriptor that cores wait for stays the same."""
        try:
            link = find(self.config)
            bind(self._sock, self.config.name, link.index)
        except PortError as error:
            self._set(None, str(error))
        except OSError as error:
            self._set(None, f"cannot open interface {self.config.name} again: {error.strerror}")
        else:
            self._where = None
            self._set(link)

    def _speed(self) -> int:
        return ethtool.speed_bps(self.link.name) if self.link and self.link.link_up else 0

    def _info(self) -> dict[str, str]:
        info = super()._info()
        if self.link is not None:
            driver = ethtool.driver(self.link.name)
            info |= {
                "driver_name": driver.name,
                "driver_version": driver.version,
                "firmware_version": driver.firmware,
            }
        return {key: value for key, value in info.items() if value}

    def _metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        with contextlib.suppress(OSError):  # reading clears it
            self._dropped += struct.unpack("=II", self._sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return {("vs_kernel_rx_dropped_total", ()): float(self._dropped)}

    def stop(self) -> None:
        """Leave the interface; promiscuous mode ends."""
        super().stop()
        self._sock.close()
