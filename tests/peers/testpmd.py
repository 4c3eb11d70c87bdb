"""dpdk-testpmd as a peer: virtio-user guests, vhost back ends, pcap players and the flow generator."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .proc import Child
from .wait import until

PROMPT = "testpmd> "
_BLOCK = re.compile(r"NIC statistics for port (\d+)\s+#+\n(.*?)(?=#{20,}\n(?:\n|testpmd|$)|\Z)", re.DOTALL)
_COUNTER = re.compile(r"(RX|TX|Rx|Tx)-(packets|missed|bytes|errors|nombuf|pps):\s+(\d+)")
_LINK = re.compile(r"Link status: (up|down)")


@dataclass(frozen=True, slots=True)
class PortStats:
    """Counters of one testpmd port; the rates are since the last time they were shown."""

    rx_packets: int
    rx_bytes: int
    rx_missed: int
    rx_errors: int
    tx_packets: int
    tx_bytes: int
    tx_errors: int
    rx_pps: int
    tx_pps: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Where testpmd's memory comes from: `megabytes` of huge pages, or of ordinary pages."""

    megabytes: int = 256
    huge: bool = False

    def arguments(self, prefix: str) -> list[str]:
        """EAL arguments. `--in-memory --no-huge` is refused by DPDK 22.11, hence the two forms."""
        if self.huge:
            return [
                "--in-memory",
                "--single-file-segments",
                f"--file-prefix={prefix}",
                "-m",
                str(self.megabytes),
            ]
        return ["--no-huge", f"--file-prefix={prefix}", "-m", str(self.megabytes)]


def any_core() -> str:
    """Lcores 0 (command line) and 1 (forwarding), each on any processor that we may use."""
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    return f"0@({cores}),1@({cores})"


class Testpmd:
    """One testpmd with a command line. Ports are numbered in the order of `vdevs`.

    A context manager: at the end it is told to quit and, if that does not help, killed by pid.
    """

    __test__ = False  # not a test case, whatever its name says to pytest

    def __init__(
        self,
        directory: Path,
        vdevs: Sequence[str],
        *,
        name: str = "testpmd",
        lcores: str | None = None,
        memory: Memory | None = None,
        eal: Sequence[str] = (),
        options: Sequence[str] = (),
        mbufs: int = 8192,
        nice: int = 5,
    ) -> None:
        # The prefix names files in a shared directory: the pid keeps two test runs apart.
        prefix = f"vs{os.getpid()}-{name}"
        runtime = directory / f"{name}.run"
        runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = [
            "stdbuf",
            "-oL",
            "dpdk-testpmd",
            "--lcores",
            lcores or any_core(),
            "--no-pci",
            "--no-telemetry",
            *(memory or Memory()).arguments(prefix),
            *eal,
        ]
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += [
            "--",
            "-i",
            "--nb-cores=1",
            "--no-mlockall",
            *([f"--total-num-mbufs={mbufs}"] if mbufs else []),
            *options,
        ]
        self.child = Child(
            argv,
            directory / f"{name}.log",
            interactive=True,
            nice=nice,
            env={"XDG_RUNTIME_DIR": str(runtime), "RUNTIME_DIRECTORY": str(runtime)},
        )
        self.ports = len(vdevs)

    def wait_ready(self, *, seconds: float = 60) -> None:
        """Until the command line answers."""
        self.child.wait_output(PROMPT, seconds=seconds)

    def command(self, line: str, *, seconds: float = 30) -> str:
        """Run one command and return what it printed."""
        start = len(self.child.output())
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()
        self.child.wait_output(PROMPT, seconds=seconds, start=start)
        text = self.child.output()[start:]
        return text[: text.rindex(PROMPT)]

    def links_up(self) -> bool:
        """True when every port has its link: with `server=1` that is when the back end has connected."""
        return all(
            "up" in _LINK.findall(self.command(f"show port info {port}")) for port in range(self.ports)
        )

    def start(self, mode: str = "io") -> None:
        """Forward, once every link is up (what is sent before is lost); retry on a full ring."""
        until(self.links_up, "links of all testpmd ports up")
        self.command(f"set fwd {mode} retry")
        self.command("set burst tx delay 500 retry 400")
        self.command("start")

    def stats(self) -> list[PortStats]:
        """Counters of all ports."""
        return parse_stats(self.command("show port stats all"))

    def close(self) -> None:
        """Quit; SIGTERM and SIGKILL if it does not."""
        if self.child.returncode is None:
            try:
                self.child.stdin.write(b"stop\nquit\n")
                self.child.stdin.flush()
                self.child.wait_exit(seconds=15)
            except Exception:  # noqa: BLE001 - whatever went wrong, it must not survive
                self.child.kill()
        self.child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parse_stats(text: str) -> list[PortStats]:
    """Read the answer of `show port stats all`."""
    ports = []
    for _, block in _BLOCK.findall(text):
        seen = {f"{way}-{what}".lower(): int(value) for way, what, value in _COUNTER.findall(block)}
        ports.append(
            PortStats(
                rx_packets=seen["rx-packets"],
                rx_bytes=seen["rx-bytes"],
                rx_missed=seen["rx-missed"],
                rx_errors=seen["rx-errors"],
                tx_packets=seen["tx-packets"],
                tx_bytes=seen["tx-bytes"],
                tx_errors=seen["tx-errors"],
                rx_pps=seen["rx-pps"],
                tx_pps=seen["tx-pps"],
            )
        )
    return ports
