"""OpenFlow port numbers: requested ones, stable ones, and a memory that outlives the daemon.

A controller's flows name ports by number, so a port keeps its number as long as it exists, also over a
restart. Numbers are given out upwards and not reused before the range is spent: an old flow should not meet a
new port.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OFPP_MAX = 0xFEFF
OFPP_LOCAL = 0xFFFFFFFE
FORMAT = 1

_log = logging.getLogger(__name__)


class OfPorts:
    """The numbers of one bridge's ports."""

    def __init__(self, known: Mapping[str, int] | None = None, last: int = 0) -> None:
        self.numbers: dict[str, int] = dict(known or {})
        self.last = max([last, *self.numbers.values()], default=0)

    def assign(self, wanted: Mapping[str, int | None]) -> dict[str, int]:
        """Return the number of every port in `wanted` (name -> request or None); forget all other ports.

        A request goes first to whoever has that number already, then by name; who loses gets another one.
        """
        old = {name: number for name, number in self.numbers.items() if name in wanted}
        taken: dict[int, str] = {}
        order = sorted(wanted, key=lambda name: (old.get(name) != wanted[name], name))
        for name in order:
            request = wanted[name]
            if request is not None and request not in taken:
                taken[request] = name
        result = {name: number for number, name in taken.items()}
        for name in wanted:
            if name not in result and name in old and old[name] not in taken:
                result[name] = old[name]
                taken[old[name]] = name
        for name in wanted:
            if name not in result:
                number = self._free(taken)
                result[name] = number
                taken[number] = name
        self.numbers = result
        return result

    def _free(self, taken: Mapping[int, str]) -> int:
        for step in range(OFPP_MAX):
            number = (self.last + step) % OFPP_MAX + 1
            if number not in taken:
                self.last = number
                return number
        raise OverflowError("a bridge has at most 65279 ports")


class OfPortFile:
    """The memory of all bridges: RUNSTATE/ofports.json, replaced as a whole when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = ""
        self._bridges: dict[str, OfPorts] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            text = path.read_text()
            for name, entry in json.loads(text)["bridges"].items():
                numbers = {str(n): int(v) for n, v in entry["ports"].items() if 1 <= int(v) <= OFPP_MAX}
                self._bridges[name] = OfPorts(numbers, int(entry["last"]))
            self._written = text

    def bridge(self, name: str) -> OfPorts:
        """Return the numbers of a bridge, made at the first call."""
        return self._bridges.setdefault(name, OfPorts())

    def keep_only(self, names: Mapping[str, object] | set[str]) -> None:
        """Forget bridges that do not exist any more."""
        self._bridges = {name: ports for name, ports in self._bridges.items() if name in names}

    def save(self) -> None:
        """Write what changed; a failure is logged: numbers may then differ after a restart."""
        bridges = {n: {"ports": p.numbers, "last": p.last} for n, p in self._bridges.items()}
        text = json.dumps({"format": FORMAT, "bridges": bridges}, sort_keys=True)
        if text == self._written:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(text)
            os.replace(fresh, self._path)  # noqa: PTH105 - atomic on one file system
            self._written = text
        except OSError as error:
            _log.warning("%s: cannot remember OpenFlow port numbers (%s)", self._path, error.strerror)
