"""Registers of the ixgbe model: read and written behind the driver's back, and the rules of the datasheet that were broken."""

from __future__ import annotations

from functools import cache
from typing import Any

from cffi import FFI

from fakes.nic_models import Nic, library_path

_ffi = FFI()
_ffi.cdef(
    """
    uint32_t ixgbe_model_read(void *, uint32_t at);
    void ixgbe_model_write(void *, uint32_t at, uint32_t v);
    const char *ixgbe_model_note(const void *, uint32_t i);
    """
)


@cache
def registers() -> Any:
    """The library of the models once more, for the functions that only this model has."""
    return _ffi.dlopen(str(library_path()))


def read(nic: Nic, at: int) -> int:
    """A register."""
    value: int = registers().ixgbe_model_read(nic.model, at)
    return value


def write(nic: Nic, at: int, value: int) -> None:
    """Write a register behind the driver's back."""
    registers().ixgbe_model_write(nic.model, at, value)


def notes(nic: Nic) -> list[str]:
    """Rules of the datasheet that were broken."""
    return [n for i in range(8) if (n := _ffi.string(registers().ixgbe_model_note(nic.model, i)).decode())]
