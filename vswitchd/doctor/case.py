"""What the doctor is asked about: the configured ports, the cores that poll, where the sockets and state are."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from vswitchd.paths import Paths

VFIO_TYPES = frozenset({"vfio", "dpdk"})
SERVER_TYPE, CLIENT_TYPE = "dpdkvhostuser", "dpdkvhostuserclient"
TAP_TYPES = frozenset({"tap", "internal"})
KERNEL_TYPES = TAP_TYPES | {"system"}


@dataclass(frozen=True, slots=True)
class PortCase:
    """One configured port. Of a daemon that runs: its `error`, whether its link is up, column status."""

    name: str
    type: str
    options: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    link_up: bool | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    bridge: str = ""

    @property
    def again(self) -> str:
        """The command that makes the port anew."""
        if self.name == self.bridge:
            return "systemctl restart vswitchd"
        words = [
            f"type={self.type}",
            *(f"options:{key}={value}" for key, value in sorted(self.options.items())),
        ]
        make = f"add-port {self.bridge} {self.name} -- set Interface {self.name} {shlex.join(words)}"
        return f"vsctl del-port {self.bridge} {self.name} -- {make}"


@dataclass(frozen=True, slots=True)
class Case:
    """One switch. `mask`: pmd-cpu-mask, None: not set; `polling`: CPUs that poll, or would; `cpus`: all that a daemon may use.

    Its control thread may use fewer: that keeps off what polls. (): no daemon runs.
    """

    paths: Paths
    running: bool
    ports: tuple[PortCase, ...] = ()
    polling: tuple[int, ...] = ()
    mask: str | None = None
    cpus: tuple[int, ...] = ()

    def of(self, types: frozenset[str] | set[str]) -> list[PortCase]:
        """Return the ports of some types."""
        return [port for port in self.ports if port.type in types]

    def names(self, types: frozenset[str] | set[str]) -> list[str]:
        """Return the names of the ports of some types."""
        return [port.name for port in self.of(types)]
