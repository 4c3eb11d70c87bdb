"""The types of configuration values: atoms, optional values, sets and maps, and bounds (RFC 7047 sect. 3.2).

A **datum** is the value of one column, always in the same immutable form, so that rows can be shared and
compared:
- a set (a scalar is a set of exactly one, an optional value a set of at most one): a sorted tuple of atoms;
- a map: a tuple of (key, value) pairs sorted by key.
An **atom** is an int, a str, a bool or, for the type `uuid`, the canonical text of the UUID.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from vswitchd.errors import ConfigError

Atom: TypeAlias = int | str | bool
Datum: TypeAlias = tuple[Atom, ...] | tuple[tuple[Atom, Atom], ...]

INT_MIN = -(1 << 63)
INT_MAX = (1 << 63) - 1


class Kind(Enum):
    """The atomic types; the value is the word that messages use."""

    INTEGER = "integer"
    STRING = "string"
    BOOLEAN = "boolean"
    UUID = "uuid"


DEFAULT_ATOM: dict[Kind, Atom] = {
    Kind.INTEGER: 0,
    Kind.STRING: "",
    Kind.BOOLEAN: False,
    Kind.UUID: "00000000-0000-0000-0000-000000000000",
}
PYTHON_TYPE: dict[Kind, type] = {Kind.INTEGER: int, Kind.STRING: str, Kind.BOOLEAN: bool, Kind.UUID: str}


@dataclass(frozen=True, slots=True)
class Base:
    """An atomic type with its constraints; `ref` names the table that a UUID must point into."""

    kind: Kind
    low: int = INT_MIN
    high: int = INT_MAX
    enum: tuple[str, ...] = ()
    ref: str = ""
    weak: bool = False

    def check(self, atom: Atom) -> None:
        """Raise ConfigError if `atom` breaks a bound or is not one of the enumerated words."""
        if type(atom) is not PYTHON_TYPE[self.kind]:
            raise ConfigError(f"constraint violation: {atom!r} is not of type {self.kind.value}")
        if isinstance(atom, str):
            _check_text(atom)
        if self.enum and atom not in self.enum:
            words = ", ".join(sorted(self.enum))
            raise ConfigError(f"constraint violation: {atom} is not one of the allowed values ([{words}])")
        if isinstance(atom, int) and not self.low <= atom <= self.high:
            if self.low == INT_MIN or self.high == INT_MAX:
                side = f"less than minimum allowed value {self.low}"
                if atom > self.high:
                    side = f"greater than maximum allowed value {self.high}"
                raise ConfigError(f"constraint violation: {atom} is {side}")
            span = f"{self.low} to {self.high} (inclusive)"
            raise ConfigError(f"constraint violation: {atom} is not in the valid range {span}")

    def check_all(self, atoms: list[Atom]) -> None:
        """Raise ConfigError if one of `atoms` is refused by check(); fast where all are good."""
        wanted = PYTHON_TYPE[self.kind]
        if not self.enum and all(type(atom) is wanted for atom in atoms):
            if wanted is str:
                _check_text("".join(atoms))  # type: ignore[arg-type]
                return
            if not atoms or (min(atoms) >= self.low and max(atoms) <= self.high):  # type: ignore[operator]
                return
        for atom in atoms:
            self.check(atom)


def _check_text(text: str) -> None:
    """Raise ConfigError for what cannot be stored or sent: NUL, and bytes that were no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError("a string must be valid UTF-8") from None
    if "\0" in text:
        raise ConfigError("a string must not contain a NUL character")


@dataclass(frozen=True, slots=True)
class Type:
    """The type of a column: `low` to `high` keys (None: unlimited), each with a value if it is a map."""

    key: Base
    value: Base | None = None
    low: int = 1
    high: int | None = 1

    @property
    def is_map(self) -> bool:
        """Whether a datum of this type holds (key, value) pairs."""
        return self.value is not None

    @property
    def is_scalar(self) -> bool:
        """Whether a datum holds exactly one atom."""
        return self.low == 1 and self.high == 1 and self.value is None

    @property
    def is_optional(self) -> bool:
        """Whether a datum holds at most one atom."""
        return self.low == 0 and self.high == 1 and self.value is None

    def default(self) -> Datum:
        """Return the value of a column that nobody set."""
        if self.low == 0:
            return ()
        atom = DEFAULT_ATOM[self.key.kind] if not self.key.enum else min(self.key.enum)
        return (atom,)

    def english(self) -> str:
        """Return the type in words, for messages: "set of up to 4096 integers"."""
        if self.is_scalar:
            return self.key.kind.value
        count = ""
        if self.high is None:
            count = f" {self.low} or more" if self.low else ""
        else:
            count = f" {self.low} to {self.high}" if self.low else f" up to {self.high}"
        if self.value is not None:
            return f"map of{count} ({self.key.kind.value}, {self.value.kind.value}) pairs"
        return f"set of{count} {self.key.kind.value}s"

    def check(self, datum: Datum) -> None:
        """Raise ConfigError if `datum` is no proper value: types, bounds, count, order."""
        keys: list[Atom]
        if self.value is not None:
            if not all(isinstance(item, tuple) and len(item) == 2 for item in datum):
                raise ConfigError(f"constraint violation: {datum!r} does not hold pairs")
            keys = [item[0] for item in datum]  # type: ignore[index]
            self.value.check_all([item[1] for item in datum])  # type: ignore[index]
        else:
            keys = list(datum)  # type: ignore[arg-type]
        self.key.check_all(keys)
        if keys != sorted(set(keys)):
            raise ConfigError("constraint violation: elements are not sorted and unique")
        self.check_count(len(keys))

    def check_count(self, count: int) -> None:
        """Raise ConfigError if a datum of this type may not have `count` elements."""
        if count < self.low or (self.high is not None and count > self.high):
            raise ConfigError(
                f"constraint violation: Attempted to store {count} elements in {self.english()}."
            )
