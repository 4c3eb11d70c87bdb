"""The words in which tables are described: Column, Table and short functions that make types."""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitchd.config.types import INT_MAX, INT_MIN, Base, Kind, Type

STRINGS = Type(Base(Kind.STRING), Base(Kind.STRING), low=0, high=None)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `computed` ones are owned by the daemon and not stored."""

    name: str
    type: Type
    computed: bool = False
    mutable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table. Rows of a table that is no root live only while something refers to them.

    `index` columns are unique together. `name` is the column by which an operator names a row; `via` is
    (table, column) whose row of that name refers to the row meant; `single`: the row can be named ".".
    """

    name: str
    columns: dict[str, Column]
    root: bool = False
    index: tuple[str, ...] = ()
    name_column: str = ""
    via: tuple[str, str] | None = None
    single: bool = False
    references: tuple[Column, ...] = field(default=())

    def defaults(self) -> dict[str, object]:
        """Return a datum for every column."""
        return {name: column.type.default() for name, column in self.columns.items()}


def integer(low: int = INT_MIN, high: int = INT_MAX) -> Base:
    """Return an integer between two bounds, which are included."""
    return Base(Kind.INTEGER, low, high)


def words(*allowed: str) -> Base:
    """Return a string that must be one of some words."""
    return Base(Kind.STRING, enum=allowed)


def ref(table: str) -> Base:
    """Return a strong reference: it keeps its target alive."""
    return Base(Kind.UUID, ref=table)


def weak_ref(table: str) -> Base:
    """Return a weak reference: it vanishes with its target."""
    return Base(Kind.UUID, ref=table, weak=True)


def one(base: Base) -> Type:
    """Return the type of a scalar."""
    return Type(base)


def optional(base: Base) -> Type:
    """Return the type of at most one atom."""
    return Type(base, low=0)


def many(base: Base, low: int = 0, high: int | None = None) -> Type:
    """Return the type of a set."""
    return Type(base, low=low, high=high)


def mapping(key: Base, value: Base) -> Type:
    """Return the type of a map."""
    return Type(key, value, low=0, high=None)


def table(
    name: str,
    stored: dict[str, Type],
    computed: dict[str, Type] | None = None,
    *,
    root: bool = False,
    key: str = "",
    unique: tuple[str, ...] = (),
    frozen: str = "",
    via: tuple[str, str] | None = None,
    single: bool = False,
) -> Table:
    """Return a table; `key` is its name column, `frozen` one that cannot change; external_ids is added."""
    columns = {c: Column(c, t, mutable=c != frozen) for c, t in stored.items()}
    columns |= {c: Column(c, t, computed=True) for c, t in (computed or {}).items()}
    columns.setdefault("external_ids", Column("external_ids", STRINGS))
    columns = dict(sorted(columns.items()))
    refs = tuple(
        c for c in columns.values() if c.type.key.ref or (c.type.value is not None and c.type.value.ref)
    )
    return Table(name, columns, root, unique, key, via, single, refs)
