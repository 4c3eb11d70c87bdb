"""Who is measured: this switch, OVS-DPDK and the bound; each on one core, with vhost-user sockets to its ports."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from peers import need
from peers.ovs import OvsDpdk, OvsSetup
from peers.switch import Switch
from peers.testpmd import Memory, Testpmd

from vswitchd.rpc_client import RpcClient

from .channel import Channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BRIDGES = (f"vsb{os.getpid() % 100000}x{number}" for number in count())
"""Interfaces of the kernel have these names: each switch needs its own."""
STANDARD_MTU = 1500
_MOST_ETHDEVS = 32
"""Ports that a DPDK program has at most, as Debian builds it."""
_MOST_GUESTS = 511
"""Guests of one process with DPDK's vhost library: its table of descriptors has 1,024 places, of which each takes two."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Ports of a switch, numbered from 1, how large a packet they take, and whether guests may send segments.

    `huge_mb`: huge pages for OVS, in megabytes; twins share what there is.
    """

    ports: int = 2
    mtu: int = STANDARD_MTU
    tso: bool = False
    huge_mb: int = 1024


def port_name(number: int) -> str:
    """The name of port `number`, from 1."""
    return f"bench{number}"


class Contender(ABC):
    """One switch. Between `pause` and `resume` it keeps its state and uses no processor; ask it for nothing then."""

    name: ClassVar[str]
    connects = False
    """Whether the guests listen at `sockets`, and it connects."""

    def __init__(self, directory: Path, core: int, layout: Layout) -> None:
        self.directory, self.core, self.layout = directory, core, layout
        self.bridge = next(_BRIDGES)

    @property
    def sockets(self) -> list[Path]:
        """The sockets of its ports."""
        return [self.directory / port_name(number) for number in range(1, self.layout.ports + 1)]

    @abstractmethod
    def start(self) -> None:
        """Start it with its ports and without a rule."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Its processes."""

    @abstractmethod
    def close(self) -> None:
        """Stop it."""

    def install(self, rules: Iterable[bytes]) -> float:
        """Add encoded flow-mods; the seconds it took."""
        del rules
        return 0.0

    @abstractmethod
    def begin(self) -> None:
        """Count cycles from now on."""

    @abstractmethod
    def cycles(self) -> float:
        """Busy cycles per packet since `begin`; NaN when it does not count them."""

    def pause(self) -> None:
        """Stop the processes where they are."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)


class Steered(Contender):
    """A switch with a control plane: OpenFlow, and ports that come and go."""

    peer: Switch | OvsDpdk
    bundles: ClassVar[bool]
    """Whether many flow-mods go faster in a bundle."""

    @property
    def control(self) -> Path:
        """The OpenFlow socket of its bridge."""
        return self.directory / f"{self.bridge}.mgmt"

    def channel(self) -> Channel:
        """Connect by OpenFlow."""
        return Channel(self.control)

    def install(self, rules: Iterable[bytes]) -> float:
        with self.channel() as channel:
            return channel.install(rules, bundle=self.bundles)

    def change_ports(self, *, add: Sequence[int] = (), remove: Sequence[int] = ()) -> None:
        """Add and remove ports by number in one command."""
        commands = [["del-port", self.bridge, port_name(number)] for number in remove]
        commands += [self._add_port(number) for number in add]
        if commands:
            self.peer.vsctl(*[word for command in commands for word in ("--", *command)][1:])

    def restart(self) -> float:
        """Stop it and start it with the configuration it has; the seconds until it answers and listens to guests."""
        self.peer.close()
        for path in [self.control, *self.sockets]:
            path.unlink(missing_ok=True)
        ready: list[float] = []

        def watch() -> None:
            while not ready:
                if _listens(self.control) and all(path.is_socket() for path in self.sockets):
                    ready.append(time.monotonic())
                time.sleep(0.005)

        begin = time.monotonic()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        self.peer.start()
        watcher.join(60)
        return ready[0] - begin if ready else float("nan")

    def _add_port(self, number: int) -> list[str]:
        words = ["add-port", self.bridge, port_name(number), "--", "set", "Interface", port_name(number)]
        words.append(f"ofport_request={number}")
        if self.connects:
            words += ["type=dpdkvhostuserclient", f"options:vhost-server-path={self.sockets[number - 1]}"]
        else:
            words.append("type=dpdkvhostuser")
        return words if self.layout.mtu == STANDARD_MTU else [*words, f"mtu_request={self.layout.mtu}"]

    def _add_all(self) -> None:
        self.peer.add_bridge(self.bridge, secure=True)
        self.change_ports(add=range(1, self.layout.ports + 1))

    def close(self) -> None:
        self.peer.close()


class Ours(Steered):
    """This switch as installed: ordinary pages, default sleep, control thread off the core that polls."""

    name = "ours"
    bundles = False

    def __init__(self, directory: Path, core: int, layout: Layout) -> None:
        super().__init__(directory, core, layout)
        self.peer: Switch = Switch(directory)
        self._before = (0, 0)

    def start(self) -> None:
        self.peer.start()
        self.peer.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={1 << self.core:#x}")
        self._add_all()

    def pids(self) -> list[int]:
        return [self.peer.child.pid]

    def cores(self) -> list[dict[str, Any]]:
        """What the polling cores count."""
        with RpcClient(str(self.directory / "db.sock"), timeout=30) as client:
            answer = client.call("appctl", {"command": "dpif-netdev/pmd-perf-show", "args": []})
        return list(answer["data"])

    def counts(self) -> tuple[int, int]:
        """Busy cycles and packets of all cores since the start."""
        cores = self.cores()
        return sum(core["cycles_busy"] for core in cores), sum(core["packets"] for core in cores)

    def begin(self) -> None:
        self._before = self.counts()

    def cycles(self) -> float:
        cycles, packets = (now - then for now, then in zip(self.counts(), self._before, strict=True))
        return cycles / packets if packets else float("nan")


class Ovs(Steered):
    """Debian's OVS-DPDK with the settings of its own documentation for one core."""

    name = "ovs"
    bundles = True

    def __init__(self, directory: Path, core: int, layout: Layout) -> None:
        super().__init__(directory, core, layout)
        mask = 1 << core
        self.connects = layout.tso  # on ports that listen it takes no segments
        setup = OvsSetup(
            pmd_mask=mask, lcore_mask=mask, megabytes=layout.huge_mb, tso=layout.tso, own_net=True
        )
        self.peer: OvsDpdk = OvsDpdk(directory, setup)

    def start(self) -> None:
        self.peer.start()
        self._add_all()

    def pids(self) -> list[int]:
        return self.peer.pids()

    def begin(self) -> None:
        self.peer.clear_cycles()

    def cycles(self) -> float:
        return self.peer.cycles_per_packet()


class Bound(Contender):
    """testpmd passing bursts between net_vhost ports, in pairs: the rings and the copy, no switching."""

    name = "bound"

    def start(self) -> None:
        tso = int(self.layout.tso)
        self._peer = Testpmd(
            self.directory,
            [f"net_vhost{at},iface={path.name},queues=1,tso={tso}" for at, path in enumerate(self.sockets)],
            name="bound",
            lcores=f"0@{self.core},1@{self.core}",
            memory=Memory(megabytes=512, huge=True),
            options=["--forward-mode=io", "--auto-start", "--burst=32", "--record-core-cycles"],
            mbufs=0,
            nice=0,
        )
        self._peer.wait_ready()

    def pids(self) -> list[int]:
        return [self._peer.child.pid]

    def close(self) -> None:
        self._peer.close()

    def begin(self) -> None:
        self._peer.command("clear fwd stats all")

    def cycles(self) -> float:
        found = re.search(r"CPU cycles/packet=([\d.]+)", self._peer.command("show fwd stats all"))
        return float(found[1]) if found else float("nan")


CONTENDERS: dict[str, type[Contender]] = {kind.name: kind for kind in (Ours, Ovs, Bound)}


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def available(name: str) -> str:
    """Say why a contender cannot run here; "" if it can."""
    if name == "ours":
        return ""
    if need.free_hugepages() < (512 if name == "ovs" else 256):
        return f"{need.free_hugepages()} huge pages are free; sysctl vm.nr_hugepages=1024"
    if name == "ovs" and not need.OVS_DPDK.exists():
        return f"{need.OVS_DPDK} is missing; {need.INSTALL}"
    return ""


def unable(name: str, layout: Layout) -> str:
    """Say why a contender cannot have a layout; "" if it can."""
    if name == "bound" and (layout.ports > _MOST_ETHDEVS or layout.ports % 2):
        return f"testpmd has at most {_MOST_ETHDEVS} ports, in pairs"
    if name == "ovs" and layout.ports > _MOST_GUESTS:
        return f"DPDK's vhost library takes at most {_MOST_GUESTS} guests: its table of descriptors is full"
    return ""
