"""Rows and snapshots: the configuration at one moment, immutable, with typed access for the daemon.

snap = store.snapshot()
for bridge in snap.rows("Bridge"):
    for port in snap.refs(bridge, "ports"):
        for iface in snap.refs(port, "interfaces"):
            iface["name"], iface["type"], iface["options"].get("vhost-server-path")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vswitchd.config.schema import TABLES

if TYPE_CHECKING:
    from vswitchd.config.describe import Table
    from vswitchd.config.types import Base, Datum, Type


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `row["column"]` gives the typed value; `row.data` the raw datums of all columns.

    Values: a scalar gives its atom (int, str, bool); an optional column its atom or None; a set a sorted
    tuple; a map a read-only mapping. References are UUID texts. Raises KeyError for a column that does not
    exist.
    """

    table: Table
    uuid: str
    data: Mapping[str, Datum]

    def __getitem__(self, column: str) -> Any:
        datum = self.data[column]
        kind = self.table.columns[column].type
        if kind.is_map:
            return MappingProxyType(dict(datum))  # type: ignore[arg-type]
        if kind.is_scalar:
            return datum[0]
        if kind.is_optional:
            return datum[0] if datum else None
        return datum

    @property
    def name(self) -> str:
        """What an operator calls this row: its name column, else its UUID."""
        column = self.table.name_column
        datum = self.data[column] if column else ()
        return str(datum[0]) if datum else self.uuid


def ref_base(kind: Type) -> Base:
    """Return the half of a type that is a reference: a map's value if that is one, else the key."""
    return kind.value if kind.value is not None and kind.value.ref else kind.key


def ref_uuids(row: Row, column: str) -> list[str]:
    """Return the UUIDs that a reference column holds."""
    kind = row.table.columns[column].type
    if kind.value is None:
        return list(row.data[column])  # type: ignore[arg-type]
    half = 1 if kind.value.ref else 0
    return [str(item[half]) for item in row.data[column] if isinstance(item, tuple)]


TablesData = Mapping[str, Mapping[str, Row]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All tables at one moment; never changes. Rows come in the order of their creation."""

    tables: TablesData

    def rows(self, table: str) -> Iterator[Row]:
        """Iterate over the rows of a table."""
        return iter(self.tables[table].values())

    def get(self, table: str, uuid: str) -> Row | None:
        """Return a row by its UUID, or None."""
        return self.tables[table].get(uuid)

    def by_name(self, table: str, name: str) -> Row | None:
        """Return the row whose name column says `name`, or None."""
        column = TABLES[table].name_column
        return next((row for row in self.rows(table) if row[column] == name), None)

    def refs(self, row: Row, column: str) -> tuple[Row, ...]:
        """Return the rows that a set (or the values of a map) of references points to, sorted by name."""
        target = self.tables[ref_base(row.table.columns[column].type).ref]
        return tuple(sorted((target[uuid] for uuid in ref_uuids(row, column)), key=lambda r: r.name))

    @property
    def root(self) -> Row:
        """The single row of table Open_vSwitch."""
        return next(iter(self.tables["Open_vSwitch"].values()))

    @property
    def next_cfg(self) -> int:
        """The number of the newest change that a client waits for."""
        return int(self.root["next_cfg"])
