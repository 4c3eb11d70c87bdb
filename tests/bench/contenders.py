"""Who is measured: this switch, OVS-DPDK and the bound; each on one core with two vhost-user sockets."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from peers import need
from peers.ovs import OvsDpdk, OvsSetup
from peers.switch import Switch
from peers.testpmd import Memory, Testpmd

if TYPE_CHECKING:
    from types import TracebackType

BRIDGE = f"vsb{os.getpid() % 100000}"
PORTS = ("bench0", "bench1")


class Contender(Protocol):
    """One switch, running while it is entered."""

    sockets: tuple[Path, Path]

    def __enter__(self) -> Self:
        """Start it with its two ports and its flows."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""

    def begin(self) -> None:
        """Count cycles from now on."""

    def cycles(self) -> float:
        """Busy cycles per packet since `begin`; NaN when it does not count them."""


class _Running:
    """Common to all: closes what was started."""

    peer: Switch | OvsDpdk | Testpmd

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.peer.close()


class Ours(_Running):
    """This switch as installed: ordinary pages, default sleep, control plane where it likes to be."""

    def __init__(self, directory: Path, core: int, flows: str) -> None:
        self.peer: Switch = Switch(directory)
        self._core, self._flows = core, flows
        self._before = (0, 0)
        self.sockets = (directory / PORTS[0], directory / PORTS[1])

    def __enter__(self) -> Self:
        self.peer.start()
        self.peer.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={1 << self._core:#x}")
        self.peer.add_bridge(BRIDGE, secure=True)
        for number, port in enumerate(PORTS, 1):
            self.peer.add_vhost(BRIDGE, port, number)
        self.peer.set_flows(BRIDGE, self._flows)
        return self

    def counts(self) -> tuple[int, int]:
        """Busy cycles and packets of all cores since the start."""
        cores = self.peer.json("dpif-netdev/pmd-perf-show")
        return sum(core["cycles_busy"] for core in cores), sum(core["packets"] for core in cores)

    def begin(self) -> None:
        self._before = self.counts()

    def cycles(self) -> float:
        cycles, packets = (now - then for now, then in zip(self.counts(), self._before, strict=True))
        return cycles / packets if packets else float("nan")


class Ovs(_Running):
    """Debian's OVS-DPDK with the settings of its own documentation for one core."""

    def __init__(self, directory: Path, core: int, flows: str) -> None:
        mask = 1 << core
        self.peer: OvsDpdk = OvsDpdk(directory, OvsSetup(pmd_mask=mask, lcore_mask=mask, megabytes=1024))
        self._flows = flows
        self.sockets = (directory / PORTS[0], directory / PORTS[1])

    def __enter__(self) -> Self:
        self.peer.start()
        self.peer.add_bridge(BRIDGE, secure=True)
        for number, port in enumerate(PORTS, 1):
            self.peer.add_vhost(BRIDGE, port, number)
        self.peer.set_flows(BRIDGE, self._flows)
        return self

    def begin(self) -> None:
        self.peer.clear_cycles()

    def cycles(self) -> float:
        return self.peer.cycles_per_packet()


class Bound(_Running):
    """testpmd passing bursts between two net_vhost ports: the rings and the copy, no switching."""

    def __init__(self, directory: Path, core: int, flows: str) -> None:
        del flows
        self._directory, self._core = directory, core
        self.sockets = (directory / PORTS[0], directory / PORTS[1])

    def __enter__(self) -> Self:
        self.peer: Testpmd = Testpmd(
            self._directory,
            [f"net_vhost{at},iface={path},queues=1" for at, path in enumerate(self.sockets)],
            name="bound",
            lcores=f"0@{self._core},1@{self._core}",
            memory=Memory(megabytes=512, huge=True),
            options=["--forward-mode=io", "--auto-start", "--burst=32"],
            mbufs=0,
            nice=0,
        )
        self.peer.wait_ready()
        return self

    def begin(self) -> None:
        pass

    def cycles(self) -> float:
        return float("nan")


def tsc_hz() -> float:
    """Cycles of the time stamp counter in a second, as /proc/cpuinfo has it; NaN elsewhere."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("cpu MHz"):
            return float(line.split(":")[1]) * 1e6
    return float("nan")


def available(name: str) -> str:
    """Say why a contender cannot run here; "" if it can."""
    if name == "ours":
        return ""
    if need.free_hugepages() < (800 if name == "ovs" else 512):
        return f"{need.free_hugepages()} huge pages are free; sysctl vm.nr_hugepages=1024"
    if name == "ovs" and not need.OVS_DPDK.exists():
        return f"{need.OVS_DPDK} is missing; {need.INSTALL}"
    return ""


CONTENDERS: dict[str, type[Ours | Ovs | Bound]] = {"ours": Ours, "ovs": Ovs, "bound": Bound}


def pause(seconds: float) -> None:
    """Let the traffic run; a benchmark is the one place where time itself is what is waited for."""
    time.sleep(seconds)
