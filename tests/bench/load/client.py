"""The load generator from Python: start it between vhost-user sockets, define streams, measure."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .build import program

_LEASH = ("setpriv", "--pdeathsig", "KILL")


class GeneratorError(Exception):
    """The generator refused a command or has ended; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Frames from port `source` that are expected at port `sink` (-1: nowhere). `number` names it."""

    number: int
    source: int
    sink: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Nanoseconds from before a burst was written until it was looked at, right to 3 %."""

    samples: int
    p50: float
    p99: float
    p999: float
    max: float
    mean: float


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What one stream did. `lost` is exact in the answer of `stop`; in `measure` it is what sequence numbers miss so far."""

    stream: int
    source: int
    sink: int
    sent: int
    received: int
    lost: int
    out_of_order: int
    corrupt: int
    misdirected: int
    mpps: float
    gbps: float
    sent_mpps: float
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What all streams did in `seconds`, and how busy the generator was with it.

    `cycles_per_packet`: of the generator, for sending and receiving one. `busy_fraction`: share of turns that found something to do;
    `busy_time`: share of the time that these turns took. `foreign`: frames that nobody of us sent.
    """

    seconds: float
    streams: tuple[StreamResult, ...]
    cycles_per_packet: float
    busy_fraction: float
    busy_time: float
    turns: int
    ticks_per_second: float
    foreign: int
    kicks: int
    interrupts: int

    @property
    def idle(self) -> float:
        """The share of time in which the generator found nothing to do: it waited for the switch."""
        return 1 - self.busy_time

    @property
    def mpps(self) -> float:
        """Million frames received per second, all streams."""
        return sum(stream.mpps for stream in self.streams)

    @property
    def gbps(self) -> float:
        """Gigabits of frames received per second, all streams."""
        return sum(stream.gbps for stream in self.streams)

    @property
    def lost(self) -> int:
        return sum(stream.lost for stream in self.streams)

    @property
    def corrupt(self) -> int:
        return sum(stream.corrupt for stream in self.streams)

    @property
    def out_of_order(self) -> int:
        return sum(stream.out_of_order for stream in self.streams)


@dataclass(frozen=True, slots=True)
class Wake:
    """Nanoseconds that single frames took after pauses."""

    n: int
    lost: int
    p50: float
    p99: float
    max: float


def read_measurement(answer: dict[str, Any]) -> Measurement:
    """Turn the answer of `measure` or `stop` into a Measurement."""
    streams = []
    for row in answer["streams"]:
        latency = Latency(**row["latency_ns"]) if row["latency_ns"] else None
        names = (
            "stream",
            "sent",
            "received",
            "lost",
            "out_of_order",
            "corrupt",
            "misdirected",
            "mpps",
            "gbps",
        )
        streams.append(
            StreamResult(
                source=row["in"],
                sink=row["out"],
                sent_mpps=row["sent_mpps"],
                latency=latency,
                **{name: row[name] for name in names},
            )
        )
    rest = {key: value for key, value in answer.items() if key not in ("ok", "streams")}
    return Measurement(streams=tuple(streams), **rest)


class Generator:
    """A running generator. A context manager; entered when all ports are set up at their switch.

    Ports are numbered in the order of `sockets`, then of `listen` (sockets that it makes, for switches that connect).
    """

    def __init__(
        self,
        sockets: Sequence[Path],
        core: int,
        *,
        listen: Sequence[Path] = (),
        packed: bool = False,
        ring: int = 1024,
        mergeable: bool = True,
        tso: bool = False,
        max_frame: int = 2048,
        rx_buffer: int | None = None,
        pieces: int | None = None,
        in_order: bool = True,
        huge: bool = True,
    ) -> None:
        """Not started yet. `pieces`: descriptors of a frame that is sent; `rx_buffer`: bytes of frame in a receive buffer."""
        self._argv: list[str] = [*_LEASH, str(program()), f"--core={core}", f"--ring={ring}"]
        self._argv += [f"--socket={path}" for path in sockets] + [f"--listen={path}" for path in listen]
        self._argv += [f"--mergeable={'on' if mergeable else 'off'}", f"--max-frame={max_frame}"]
        self._argv += [f"--rx-buffer={rx_buffer}"] if rx_buffer else []
        self._argv += [f"--pieces={pieces}"] if pieces else []
        flags = {"--packed": packed, "--tso": tso, "--no-in-order": not in_order, "--no-huge": not huge}
        self._argv += [flag for flag, wanted in flags.items() if wanted]
        self._process: subprocess.Popen[str] | None = None
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        try:
            self.facts = self._answer()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: its ports leave the switch."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            process.communicate("quit\n", timeout=60)
        if process.poll() is None:
            process.kill()
            process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "not started"
        return self._process.pid

    def command(self, line: str) -> dict[str, Any]:
        """Have a line carried out; its answer. GeneratorError when it is refused."""
        assert self._process is not None, "not started"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise GeneratorError(f"the generator has ended; it was told: {line}") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise GeneratorError(f"the generator has ended, with {self._process.wait(10)}")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise GeneratorError(answer["error"])
        return answer

    def traffic(
        self, source: int, sink: int, *, flows: int | None = None, rate: float | None = None, **words: object
    ) -> Stream:
        """Define a stream; README.md has the words. `rate` None: as fast as the ring takes. True and False are on and off."""
        parts = [f"traffic {source} {sink}"]
        settings = {"flows": flows, "rate": rate, **words}
        for key, value in settings.items():
            if value is not None:
                text = ("on" if value else "off") if isinstance(value, bool) else value
                parts.append(f"{key}={text}")
        return Stream(self.command(" ".join(parts))["stream"], source, sink)

    def replay(self, source: int, path: Path, rate: float | None = None) -> Stream:
        """Send the frames of a file (pcap, or lines of hex digits) over and over; nothing is expected back."""
        pps = "max" if rate is None else rate
        return Stream(self.command(f"replay {source} {path} rate={pps}")["stream"], source, -1)

    def start(self) -> None:
        """Send."""
        self.command("start")

    def stop(self) -> Measurement:
        """Stop sending, wait until nothing comes any more; what happened since `start`."""
        return read_measurement(self.command("stop"))

    def finish(self) -> Measurement:
        """The same when all streams have sent the `count` of frames that they were defined with."""
        return read_measurement(self.command("finish"))

    def measure(self, seconds: float) -> Measurement:
        """Watch for so long what happens."""
        return read_measurement(self.command(f"measure {seconds}"))

    def rate(self, stream: Stream, pps: float | None) -> None:
        """Send at a rate from now on; None: as fast as the ring takes."""
        self.command(f"rate {stream.number} {'max' if pps is None else pps}")

    def wake(self, source: int, sink: int, *, n: int = 100, gap_us: int = 10_000) -> Wake:
        """Send single frames with pauses before them (not while started)."""
        return Wake(**self.command(f"wake {source} {sink} n={n} gap_us={gap_us}"))
