"""dpdk-testpmd as a peer: virtio-user guests, vhost back ends, pcap players and the flow generator."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .proc import Child
from .wait import until

PROMPT = "testpmd> "
_BLOCK = re.compile(r"NIC statistics for port (\d+)\s+#+\n(.*?)(?=#{20,}\n(?:\n|testpmd|$)|\Z)", re.DOTALL)
_COUNTER = re.compile(r"(RX|TX|Rx|Tx)-(packets|missed|bytes|errors|nombuf|pps):\s+(\d+)")
# The rows of `show port summary all`: number, MAC, name, driver, status, speed.
_LINK = re.compile(r"^\d+ +[0-9A-F:]{17} +\S+ +\S+ +(up|down) ", re.MULTILINE | re.IGNORECASE)
_ATTACHED = re.compile(r"Port (\d+) is attached")
# A command is answered within a millisecond or so, and a test has many of them.
_ANSWER_POLL = 0.002


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

    Its working directory is `directory`. A context manager: at the end it is told to quit and, if that does not
    help, killed by pid.
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
            "env",  # a command line holds 512 bytes: names of files are best relative to our directory
            "-C",
            str(directory),
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
        return self.commands([line], seconds=seconds)

    def commands(self, lines: Sequence[str], *, seconds: float = 30) -> str:
        """Run commands, written at once: where processors are short, waiting for each answer is what takes time."""
        start = self._write(*lines)
        return self._answer(lines, start, seconds=seconds)

    def mark(self) -> int:
        """Where the output ends now, for `since`."""
        return self.child.log.stat().st_size

    def since(self, mark: int) -> str:
        """What has been written after `mark`. The whole grows to megabytes, so that is not read for each command."""
        with self.child.log.open("rb") as file:
            file.seek(mark)
            return file.read().decode(errors="replace")

    def _write(self, *lines: str) -> int:
        start = self.mark()
        self.child.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.child.stdin.flush()
        return start

    def _answer(self, lines: Sequence[str], start: int, *, seconds: float) -> str:
        def answer() -> str:
            text = self.since(start)
            if text.count(PROMPT) < len(lines):
                self.child.check_alive()
                return ""
            return text

        what = f"answer of testpmd to {lines} ({self.child.log})"
        text = until(answer, what, seconds=seconds, every=_ANSWER_POLL)
        return text[: text.rindex(PROMPT)]

    def attach(self, vdev: str, *, meet: Callable[[], None] | None = None) -> int:
        """Make a device while running; the number of its port, which is stopped.

        A virtio-user port with `server=1` is not there before a back end has connected: `meet` lets that happen. It
        is called when the socket listens.
        """
        line = f"port attach {vdev}"
        start = self._write(line)
        if meet is not None:
            until(
                lambda: "waiting for client connection" in self.since(start),
                f"testpmd listens: {line}",
                every=_ANSWER_POLL,
            )
            meet()
        text = self._answer([line], start, seconds=30)
        found = _ATTACHED.search(text)
        if found is None:
            raise AssertionError(f"testpmd does not attach {vdev}:\n{text}")
        self.ports += 1
        return int(found[1])

    def detach(self, ports: Sequence[int]) -> None:
        """Remove the devices of ports, which are stopped."""
        text = self.commands([f"port detach {port}" for port in ports])
        if text.count("Device is detached") != len(ports):
            raise AssertionError(f"testpmd does not detach ports {ports}:\n{text}")
        self.ports -= len(ports)

    def set_queues(self, count: int) -> None:
        """Queue pairs of all ports, which are there and stopped. A port that cannot have them fails to attach later."""
        text = self.commands([f"port config all {kind} {count}" for kind in ("rxq", "txq")])
        if "Fail" in text:
            raise AssertionError(f"testpmd does not take {count} queues:\n{text}")

    def links_up(self) -> bool:
        """True when every port has its link: with `server=1` that is when the back end has connected."""
        return _LINK.findall(self.command("show port summary all")) == ["up"] * self.ports

    def start(self, mode: str = "io", *, burst: int = 32) -> None:
        """Forward, once every link is up (what is sent before is lost); retry on a full ring. Counters start at 0."""
        until(self.links_up, "links of all testpmd ports up")
        self.commands(
            [
                f"set fwd {mode} retry",
                "set burst tx delay 500 retry 400",
                f"set burst {burst}",
                "clear port stats all",
                "start",
            ]
        )

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
