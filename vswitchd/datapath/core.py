"""The compiled extension: the only module that imports it."""

from __future__ import annotations

import errno
import os

import vswitchd._core as _core  # noqa: PLR0402

ffi = _core.ffi
lib = _core.lib


class DatapathError(Exception):
    """The datapath refused; `errno` says why, the text what to do."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.errno = code


def check(result: int, what: str) -> int:
    """Pass a count on; make a DatapathError of -errno."""
    if result >= 0:
        return result
    raise DatapathError(f"{what}: {os.strerror(-result)}", -result)


def no_memory(what: str) -> DatapathError:
    """The error of an allocation that failed."""
    return DatapathError(f"{what}: out of memory", errno.ENOMEM)


def _labels(first: int, end: int) -> tuple[str, ...]:
    return tuple(ffi.string(lib.vs_drop_label(i)).decode() for i in range(first, end))


RX_DROPS: tuple[str, ...] = _labels(0, lib.VS_N_RX_DROPS)
TX_DROPS: tuple[str, ...] = _labels(lib.VS_N_RX_DROPS, lib.VS_N_DROPS)
DROP_HELP: dict[tuple[str, str], str] = {
    (direction, label): ffi.string(lib.vs_drop_help(base + i)).decode()
    for direction, base, labels in (("rx", 0, RX_DROPS), ("tx", lib.VS_N_RX_DROPS, TX_DROPS))
    for i, label in enumerate(labels)
}
