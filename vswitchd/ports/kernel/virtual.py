"""Ports without anything outside: patch (to another bridge) and test (fed and read by tests)."""

from __future__ import annotations

from typing import Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import NO_MAC, PortConfig, PortEnv, PortError, PortStatus

_TEST_RING = 1024
_MAX_FRAME = lib.VS_MAX_FRAME


class PatchPort:
    """A Port whose frames its peer receives at once. The daemon links the two (PortHandle.set_patch_peer)."""

    def __init__(self, config: PortConfig, env: PortEnv) -> None:  # noqa: ARG002
        self.peer = self._peer(config)
        """Name of the other end (options:peer)."""
        self.config = config
        self.handle: Any = lib.vs_patch_port_new(config.name.encode())
        if self.handle == ffi.NULL:
            raise PortError(f"cannot make patch port {config.name}: out of memory")

    @staticmethod
    def _peer(config: PortConfig) -> str:
        peer = config.options.get("peer", "")
        if not peer:
            raise PortError(
                f"patch port {config.name} needs options:peer=<name of the patch port at the other end>"
            )
        if peer == config.name:
            raise PortError(
                f"patch port {config.name} cannot be its own peer: options:peer names the other end"
            )
        return peer

    def status(self) -> PortStatus:
        """Tell that it is up, as in Open vSwitch: whether the other end is there is the daemon's `error`."""
        info = {"driver_name": "patch", "peer": self.peer}
        return PortStatus(link_up=True, mtu=65535, mac=self.config.mac or NO_MAC, info=info)

    def reconfigure(self, config: PortConfig) -> bool:
        """Another peer is a matter of the daemon's linking."""
        if (config.name, config.type) != (self.config.name, self.config.type):
            return False
        self.peer = self._peer(config)
        self.config = config
        return True

    def stop(self) -> None:
        """Nothing is held."""


class TestPort:
    """A Port that tests feed and read. options:link=down starts it down."""

    __test__ = False  # not a test case of pytest's

    def __init__(self, config: PortConfig, env: PortEnv) -> None:
        self.config = config
        self._env = env
        self.link_up = config.options.get("link", "up") != "down"
        self.handle: Any = lib.vs_test_port_new(config.name.encode(), config.n_rxq or 1, _TEST_RING)
        if self.handle == ffi.NULL:
            raise PortError(f"cannot make test port {config.name}: out of memory")
        lib.vs_port_set_link(self.handle, self.link_up)
        self._buffer = ffi.new("uint8_t[]", _MAX_FRAME)

    def feed(self, frame: bytes, rxq: int = 0) -> bool:
        """Let the switch receive a frame. False: the queue is full."""
        return bool(lib.vs_test_port_feed(self.handle, rxq, frame, len(frame)) == 0)

    def take(self) -> bytes | None:
        """Take the oldest frame that the switch sent, or None."""
        length = lib.vs_test_port_take(self.handle, self._buffer, _MAX_FRAME)
        return bytes(ffi.buffer(self._buffer, length)) if length >= 0 else None

    def set_link(self, up: bool) -> None:
        """Pretend that the cable was plugged or pulled."""
        self.link_up = up
        lib.vs_port_set_link(self.handle, up)
        self._env.changed(self)

    def status(self) -> PortStatus:
        """As set_link left it."""
        return PortStatus(link_up=self.link_up, mtu=65535, info={"driver_name": "test"})

    def reconfigure(self, config: PortConfig) -> bool:
        """Only the number of queues needs a new port."""
        if (config.name, config.type, config.n_rxq) != (
            self.config.name,
            self.config.type,
            self.config.n_rxq,
        ):
            return False
        self.config = config
        return True

    def stop(self) -> None:
        """Nothing is held."""
