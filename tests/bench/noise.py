"""Who else used the processors meanwhile: other programs, and other guests of the host."""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds(pids: list[int]) -> float:
    """Processor time of all threads of processes; a thread that ends meanwhile counts nothing."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment: its time, and processor seconds of the whole machine, of some processes and of other guests."""

    pids: tuple[int, ...]
    now: float
    busy: float
    own: float
    stolen: float

    @classmethod
    def read(cls, pids: tuple[int, ...]) -> "Clock":
        """Take the time. `pids`: who is no noise."""
        # user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
        user, nice, system, _, _, irq, softirq, steal = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        busy = (user + nice + system + irq + softirq) / _TICK
        return cls(pids, time.monotonic(), busy, processor_seconds([*pids]), steal / _TICK)

    def noise(self) -> dict[str, float]:
        """Processors that others of this machine (`others`) and of the host (`stolen`) used since then."""
        then = Clock.read(self.pids)
        seconds = then.now - self.now
        others = (then.busy - self.busy) - (then.own - self.own)
        return {"others": max(0.0, others / seconds), "stolen": (then.stolen - self.stolen) / seconds}
