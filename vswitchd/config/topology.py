"""Bridges and ports as vsctl sees them: real bridges, and "fake" ones, which are a VLAN of a real bridge.

A fake bridge is a Port of its parent with fake_bridge=true and a tag; ports of the parent with that tag
count as its own. A bridge's local port (the one with its name) is in no list of ports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.config.rows import Row, Snapshot


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge; a fake one has a parent and the VLAN it stands for, and shares its parent's row."""

    name: str
    view: Snapshot = field(repr=False, compare=False)
    uuid: str
    parent: str | None = None
    vlan: int = 0

    @property
    def row(self) -> Row:
        """The row as it is now."""
        return self.view.tables["Bridge"][self.uuid]


@dataclass(frozen=True, slots=True)
class Port:
    """A port, not the local one, and the bridge it counts for."""

    view: Snapshot = field(repr=False, compare=False)
    uuid: str
    bridge: Bridge

    @property
    def row(self) -> Row:
        """The row as it is now."""
        return self.view.tables["Port"][self.uuid]


def _is_fake(port: Row) -> bool:
    return port.data["fake_bridge"] == (True,) and port.data["tag"] != ()


class Topology:
    """The names in use, as long as nothing changes them (Transaction.shape, tags)."""

    def __init__(self, view: Snapshot) -> None:
        self._view = view
        self.fakes = False
        self.bridges: dict[str, Bridge] = {}
        self.ports: dict[str, Port] = {}
        self._interfaces: dict[str, tuple[str, Port]] = {}
        for row in view.refs(view.root, "bridges"):
            self.bridges.setdefault(row.name, Bridge(row.name, view, row.uuid))
            self._add_ports(self.bridges[row.name])

    def _add_ports(self, bridge: Bridge) -> None:
        rows = self._view.refs(bridge.row, "ports")
        vlans = {}
        for port in rows:
            if _is_fake(port) and port.name not in self.bridges:
                fake = Bridge(port.name, self._view, bridge.uuid, bridge.name, port["tag"])
                self.bridges[port.name] = fake
                vlans[fake.vlan] = fake
                self.fakes = True
        for port in rows:
            if port.name in self.bridges and (_is_fake(port) or port.name == bridge.name):
                continue
            self.add(port, vlans.get(port["tag"], bridge))

    def add(self, port: Row, bridge: Bridge) -> None:
        """Take a port that counts for a bridge."""
        self.ports[port.name] = Port(self._view, port.uuid, bridge)
        for interface in self._view.refs(port, "interfaces"):
            self._interfaces[interface.name] = (interface.uuid, self.ports[port.name])

    @property
    def interfaces(self) -> dict[str, tuple[Row, Port]]:
        """All interfaces by name, each with its port."""
        rows = self._view.tables["Interface"]
        return {name: (rows[uuid], port) for name, (uuid, port) in self._interfaces.items()}

    def bridge(self, name: str) -> Bridge:
        """Return a bridge; raise ConfigError if there is none of that name."""
        if name not in self.bridges:
            raise ConfigError(f"no bridge named {name}")
        return self.bridges[name]

    def real_bridge(self, name: str) -> Bridge:
        """Return a bridge that is not fake; raise ConfigError."""
        bridge = self.bridge(name)
        if bridge.parent is not None:
            raise ConfigError(f"{name} is a fake bridge")
        return bridge

    def port(self, name: str) -> Port:
        """Return a port; raise ConfigError if there is none of that name."""
        if name not in self.ports:
            raise ConfigError(f"no port named {name}")
        return self.ports[name]

    def interface(self, name: str) -> tuple[Row, Port]:
        """Return an interface and its port; raise ConfigError if there is none of that name."""
        if name not in self._interfaces:
            raise ConfigError(f"no interface named {name}")
        uuid, port = self._interfaces[name]
        return self._view.tables["Interface"][uuid], port

    def ports_of(self, bridge: Bridge) -> list[Port]:
        """Return the ports that count for a bridge."""
        return [port for port in self.ports.values() if port.bridge == bridge]

    def check_free(self, name: str, what: str) -> None:
        """Raise ConfigError if `name` is in use: "cannot create `what` because ..."."""
        if name in self.bridges:
            raise ConfigError(f"cannot create {what} because a bridge named {name} already exists")
        if name in self.ports:
            where = self.ports[name].bridge.name
            raise ConfigError(
                f"cannot create {what} because a port named {name} already exists on bridge {where}"
            )
        if name in self._interfaces:
            where = self._interfaces[name][1].bridge.name
            raise ConfigError(
                f"cannot create {what} because an interface named {name} already exists on bridge {where}"
            )
