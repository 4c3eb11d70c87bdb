"""Which CPUs poll, and which are left to the control thread: `pmd-cpu-mask`, `pmd-rxq-affinity`, the default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_IDLE_SLEEP_US = 2000
MAX_IDLE_SLEEP_US = 10_000_000


def allowed_cpus() -> list[int]:
    """Return the CPUs that the calling thread may use, sorted (sched_setaffinity(2), cpusets)."""
    return sorted(os.sched_getaffinity(0))


def parse_mask(text: str) -> list[int]:
    """Return the CPUs of a hexadecimal mask ("0x6" or "6": 1 and 2), sorted. Raises ConfigError."""
    digits = text.strip().removeprefix("0x").removeprefix("0X").replace("_", "")
    try:
        mask = int(digits, 16)
    except ValueError:
        raise ConfigError(f'pmd-cpu-mask "{text}" is not a hexadecimal number such as 0x6') from None
    if mask <= 0:
        raise ConfigError(f'pmd-cpu-mask "{text}" names no CPU')
    return [cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1]


def default_cores(allowed: Iterable[int]) -> list[int]:
    """Return all CPUs but the first, which is left to the control plane; the only one where there is one."""
    cpus = sorted(allowed)
    return cpus[1:] or cpus


def choose(mask: str | None, allowed: Iterable[int]) -> tuple[list[int], str]:
    """Return (polling CPUs, warning); the warning is "" or one line on what could not be followed."""
    cpus = sorted(allowed)
    if not mask:
        return default_cores(cpus), ""
    try:
        wanted = parse_mask(mask)
    except ConfigError as error:
        return default_cores(cpus), f"{error}; polling on CPUs {_list(default_cores(cpus))}"
    chosen = [cpu for cpu in wanted if cpu in cpus]
    missing = _list(sorted(set(wanted) - set(cpus)))
    if not chosen:
        chosen = default_cores(cpus)
        text = f"pmd-cpu-mask {mask}: this process may use none of CPUs {missing}"
        return chosen, f"{text}; polling on CPUs {_list(chosen)}"
    return chosen, f"pmd-cpu-mask {mask}: this process may not use CPUs {missing}" if missing else ""


def control_cpus(polling: Iterable[int], allowed: Iterable[int]) -> list[int]:
    """Return the CPUs of the control thread, sorted: those that do not poll; all of them where every one polls."""
    cpus = set(allowed)
    return sorted(cpus - set(polling) or cpus)


def bind(cpus: Iterable[int]) -> None:
    """Keep the calling thread, and threads that it starts without a CPU of their own, on these CPUs. Raises OSError."""
    os.sched_setaffinity(0, cpus)


def parse_affinity(text: str) -> dict[int, int]:
    """Return {receive queue: CPU} of pmd-rxq-affinity ("0:3,1:5"). Raises ConfigError."""
    result: dict[int, int] = {}
    for item in filter(None, (part.strip() for part in text.replace(" ", ",").split(","))):
        queue, colon, cpu = item.partition(":")
        if not (colon and queue.isascii() and queue.isdigit() and cpu.isascii() and cpu.isdigit()):
            raise ConfigError(f'pmd-rxq-affinity "{text}": "{item}" is not QUEUE:CPU, as in 0:3,1:5')
        result[int(queue)] = int(cpu)
    return result


def parse_idle_sleep(vs_idle_sleep: str | None, pmd_sleep_max: str | None) -> int | None:
    """Return after how many microseconds without work a core sleeps; None: never. Raises ConfigError.

    `vs-idle-sleep-us` ("never" or a number) goes before Open vSwitch's `pmd-sleep-max`, whose 0 means never.
    """
    key, text = ("vs-idle-sleep-us", vs_idle_sleep) if vs_idle_sleep else ("pmd-sleep-max", pmd_sleep_max)
    if not text:
        return DEFAULT_IDLE_SLEEP_US
    if key == "vs-idle-sleep-us" and text == "never":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_IDLE_SLEEP_US:
        words = '"never" or a number' if key == "vs-idle-sleep-us" else "a number"
        raise ConfigError(f'{key} "{text}" is not {words} of microseconds, at most {MAX_IDLE_SLEEP_US}')
    if key == "pmd-sleep-max" and int(text) == 0:
        return None
    return int(text)


def numa_of(cpu: int) -> int:
    """Return the NUMA node of a CPU; 0 where the system does not say."""
    for path in Path(f"/sys/devices/system/cpu/cpu{cpu}").glob("node[0-9]*"):
        return int(path.name[4:])
    return 0


def _list(cpus: Iterable[int]) -> str:
    return ",".join(map(str, cpus))
