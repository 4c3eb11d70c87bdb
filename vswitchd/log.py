"""Logging as operators of Open vSwitch know it: a level per module and destination, one line per event.

Code logs through the standard library: `log = logging.getLogger(__name__)`. The module that an operator sees
is the logger's name without "vswitchd." (`config.store`); setting `ports` also sets `ports.vhostuser.socket`.
Destinations are console (standard error), syslog and file. Lines look like Open vSwitch's:

    2026-11-22T10:41:00.123Z|00012|reconcile|INFO|bridge br0: added interface vhost0 on port 1

Each place in the code may log a burst of 30 lines, then one a second; the next line counts what was left out.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import logging.handlers
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vswitchd.clock import Clock, SystemClock
from vswitchd.errors import ConfigError, PathError

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = "vswitchd"
OFF = logging.CRITICAL + 50
EMER = logging.CRITICAL
LEVELS = {
    "off": OFF,
    "emer": EMER,
    "err": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "dbg": logging.DEBUG,
}
NAMES = {number: name for name, number in LEVELS.items()}
DESTINATIONS = ("console", "syslog", "file")
DEFAULTS = {"console": LEVELS["info"], "syslog": OFF, "file": LEVELS["info"]}
BURST = 30
PER_SECOND = 1.0
ANY = "any"


def module_of(logger: str) -> str:
    """Return what an operator calls a logger: its name without the package."""
    return logger.removeprefix(ROOT + ".") if logger != ROOT else "main"


class Levels:
    """The level of every (module, destination); the nearest setting up the module's dotted name counts."""

    def __init__(self) -> None:
        self._set: dict[tuple[str, str], int] = {}
        self._default = dict(DEFAULTS)

    def get(self, module: str, destination: str) -> int:
        """Return the lowest level number that `destination` shows of `module`."""
        name = module
        while name:
            if (level := self._set.get((name, destination))) is not None:
                return level
            name = name.rpartition(".")[0]
        return self._default[destination]

    def set(self, module: str, destinations: Iterable[str], level: int) -> None:
        """Set one module and all beneath it, or ("any") every module."""
        for destination in destinations:
            if module == ANY:
                self._default[destination] = level
                self._set = {key: old for key, old in self._set.items() if key[1] != destination}
            else:
                prefix = module + "."
                stale = [k for k in self._set if k[1] == destination and k[0].startswith(prefix)]
                for key in stale:
                    del self._set[key]
                self._set[module, destination] = level

    def lowest(self) -> int:
        """Return the lowest level anything is shown at: what the loggers must let through."""
        return min([*self._default.values(), *self._set.values()])


class _Formatter(logging.Formatter):
    """One line per record; line breaks, also those of a traceback, become " | "."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        number = getattr(record, "vs_number", None)
        if number is None:
            number = record.vs_number = next(self._numbers)
        when = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        line = " | ".join(part.strip() for part in text.splitlines() if part.strip())
        level = NAMES.get(record.levelno, record.levelname).upper()
        return f"{when}Z|{number:05d}|{module_of(record.name)}|{level}|{line}"


class _RateLimit(logging.Filter):
    """A token bucket per place in the code; the next line let through says how much was refused."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._buckets: dict[tuple[str, int], list[float]] = {}  # tokens, last refill, suppressed, since when

    def filter(self, record: logging.LogRecord) -> bool:
        if (verdict := getattr(record, "vs_shown", None)) is not None:
            return bool(verdict)
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault((record.pathname, record.lineno), [BURST, now, 0, now])
        bucket[0] = min(float(BURST), bucket[0] + (now - bucket[1]) * PER_SECOND)
        bucket[1] = now
        shown = record.vs_shown = bucket[0] >= 1 or record.levelno >= EMER
        if not shown:
            bucket[3] = now if bucket[2] == 0 else bucket[3]
            bucket[2] += 1
            return False
        bucket[0] -= 1
        if bucket[2]:
            hidden = f"{int(bucket[2])} more like this in {now - bucket[3]:.0f} s were not shown"
            record.msg = f"{record.getMessage()} ({hidden})"
            record.args = ()
            bucket[2] = 0
        return True


class _Shown(logging.Filter):
    """Lets through what the level of (module, this destination) allows."""

    def __init__(self, levels: Levels, destination: str) -> None:
        super().__init__()
        self._levels = levels
        self._destination = destination

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._levels.get(module_of(record.name), self._destination)


class _LogFile(logging.handlers.WatchedFileHandler):
    """A log file that may vanish together with its directory: whoever logs must not notice; each line tries anew."""

    def reopenIfNeeded(self) -> None:  # noqa: N802 - the library's name
        with contextlib.suppress(OSError):
            super().reopenIfNeeded()

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)


class Log:
    """The logging of one process: destinations and levels; behind `vlog/set` and `vlog/list`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.levels = Levels()
        self._formatter = _Formatter()
        self._limit = _RateLimit(clock or SystemClock())
        self._handlers: dict[str, logging.Handler] = {}
        self.logger = logging.getLogger(ROOT)
        self._before = (self.logger.level, self.logger.propagate)
        self._file = ""

    def add_console(self) -> None:
        """Log to standard error."""
        self._add("console", logging.StreamHandler(sys.stderr))

    def add_file(self, path: str) -> None:
        """Log to a file that is appended to, and opened again when it was moved away. Raises PathError."""
        try:
            self._add("file", _LogFile(path, encoding="utf-8", delay=False))
        except OSError as error:
            text = f"{path}: cannot open the log file ({error.strerror}); name another with --log-file"
            raise PathError(text) from None
        self._file = path

    def add_syslog(self) -> None:
        """Log to the local syslog; nothing where there is none."""
        with contextlib.suppress(OSError):
            self._add("syslog", logging.handlers.SysLogHandler("/dev/log"))

    def _add(self, destination: str, handler: logging.Handler) -> None:
        handler.setFormatter(self._formatter)
        handler.addFilter(_Shown(self.levels, destination))
        handler.addFilter(self._limit)
        self._handlers[destination] = handler
        self.logger.propagate = False
        self.logger.addHandler(handler)
        self.logger.setLevel(self.levels.lowest())

    def close(self) -> None:
        """Close all destinations (tests start more than one Log in a process)."""
        for handler in self._handlers.values():
            self.logger.removeHandler(handler)
            handler.close()
        self._handlers.clear()
        level, self.logger.propagate = self._before
        self.logger.setLevel(level)

    def modules(self) -> list[str]:
        """Return the names of all modules that log, sorted."""
        known = logging.Logger.manager.loggerDict.items()
        names = [name for name, logger in known if isinstance(logger, logging.Logger)]
        return sorted({module_of(name) for name in names if name == ROOT or name.startswith(ROOT + ".")})

    def set(self, spec: str) -> None:
        """Apply `[MODULE[:DESTINATION[:LEVEL]]]`; words in any order, what is left out means all or dbg.

        Raises ConfigError for a word that is none of the three.
        """
        module, level = ANY, LEVELS["dbg"]
        destinations: tuple[str, ...] = DESTINATIONS
        known = self.modules()
        for word in spec.replace(",", ":").replace(" ", ":").split(":"):
            lower = word.lower()
            if lower in LEVELS:
                level = LEVELS[lower]
            elif lower in DESTINATIONS:
                destinations = (lower,)
            elif any(name == lower or name.startswith(lower + ".") for name in known):
                module = lower
            elif lower not in {ANY, ""}:
                raise ConfigError(f'no destination, level, or module "{word}"')
        self.levels.set(module, destinations, level)
        self.logger.setLevel(self.levels.lowest())

    def table(self) -> list[tuple[str, str, str, str]]:
        """Return (module, console, syslog, file) levels as words, sorted by module."""
        rows: list[tuple[str, str, str, str]] = []
        for module in self.modules():
            words = [NAMES[self.levels.get(module, destination)] for destination in DESTINATIONS]
            rows.append((module, words[0], words[1], words[2]))
        return rows

    def reopen(self) -> str:
        """Open the log file again (after rotation); return its path, "" where there is none."""
        handler = self._handlers.get("file")
        if isinstance(handler, _LogFile):
            handler.reopenIfNeeded()
        return self._file
