"""One transaction on the configuration: changes on a private copy, checked as a whole before they count.

The rules are OVSDB's (RFC 7047 section 3.2 and 4.1.2): a row of a table that is no root lives while a
strong reference leads to it; weak references to deleted rows vanish; strong ones forbid the deletion;
indexes are unique at the end of the transaction, not at each step. Not thread-safe; lives for one call of
Store.transact().
"""

from __future__ import annotations

import uuid as uuidlib
from typing import TYPE_CHECKING

from vswitchd.config.rows import Row, Snapshot, ref_base, ref_uuids
from vswitchd.config.schema import TABLES
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.config.types import Datum

Changes = dict[str, dict[str, Row | None]]

SHAPE = {
    "Open_vSwitch": ("bridges",),
    "Bridge": ("name", "ports"),
    "Port": ("name", "interfaces", "fake_bridge"),
    "Interface": ("name",),
}
"""The columns that say which ports there are and whose (topology.py)."""


class Transaction:
    """A private copy of the configuration. `view` reads it, with the changes made so far."""

    def __init__(self, tables: Mapping[str, Mapping[str, Row]]) -> None:
        self._before = tables
        self._tables: dict[str, dict[str, Row]] = dict(tables)  # type: ignore[arg-type]
        self._copied: set[str] = set()
        self._deleted: dict[str, set[str]] = {}
        self.shape = 0
        """Counts changes of the columns in SHAPE, and deletions."""
        self.tags = 0
        """Counts changes of ports' VLANs, which matter to fake bridges."""
        self.view = Snapshot(self._tables)

    def _writable(self, table: str) -> dict[str, Row]:
        if table not in self._copied:
            self._tables[table] = dict(self._tables[table])
            self._copied.add(table)
        return self._tables[table]

    def insert(self, table: str, values: Mapping[str, Datum], uuid: str | None = None) -> Row:
        """Add a row with `values`, everything else at its default; return it."""
        uuid = uuid or str(uuidlib.uuid4())
        data: dict[str, Datum] = TABLES[table].defaults()  # type: ignore[assignment]
        for column, datum in values.items():
            TABLES[table].columns[column].type.check(datum)
            data[column] = datum
        row = Row(TABLES[table], uuid, data)
        self._writable(table)[uuid] = row
        return row

    def update(self, row: Row, values: Mapping[str, Datum]) -> Row:
        """Change columns of a row; return the new row. Raises ConfigError for a value out of bounds."""
        current = self._tables[row.table.name].get(row.uuid)
        if current is None:
            raise ConfigError(f"{row.table.name} row {row.uuid} was deleted by an earlier command")
        for column, datum in values.items():
            row.table.columns[column].type.check(datum)
        if all(current.data[column] == datum for column, datum in values.items()):
            return current
        name, old = row.table.name, current.data
        self.shape += any(c in values and values[c] != old[c] for c in SHAPE.get(name, ()))
        self.tags += name == "Port" and "tag" in values
        new = Row(row.table, row.uuid, {**current.data, **values})
        self._writable(row.table.name)[row.uuid] = new
        return new

    def delete(self, row: Row) -> None:
        """Delete a row; strong references to it must be gone by the end of the transaction.

        Raises ConfigError for the row of Open_vSwitch, where the tree begins and next_cfg counts.
        """
        if row.table.name == "Open_vSwitch":
            raise ConfigError("the row of table Open_vSwitch cannot be deleted; clear its columns instead")
        if self._writable(row.table.name).pop(row.uuid, None) is not None:
            self._deleted.setdefault(row.table.name, set()).add(row.uuid)
            self.shape += 1

    @property
    def changed(self) -> bool:
        """Whether any row differs from before."""
        return any(self.changes().values())

    def changes(self) -> Changes:
        """Return the rows that differ from before, by table and UUID; None for a deleted one."""
        result: Changes = {}
        for name in self._copied:
            before, after = self._before[name], self._tables[name]
            rows: dict[str, Row | None] = {u: row for u, row in after.items() if before.get(u) is not row}
            rows.update(dict.fromkeys(before.keys() - after.keys()))
            rows = {
                u: row
                for u, row in rows.items()
                if row is None or u not in before or before[u].data != row.data
            }
            if rows:
                result[name] = rows
        return result

    def finish(self) -> Snapshot:
        """Collect unreferenced rows, check everything, return the tables to be. Raises ConfigError."""
        if self._copied:
            self._collect_garbage()
            self._drop_weak_references()
            self._check_indexes()
        return self.view

    def _collect_garbage(self) -> None:
        alive: dict[str, set[str]] = {name: set() for name in TABLES}
        todo = [row for name, table in TABLES.items() if table.root for row in self._tables[name].values()]
        while todo:
            row = todo.pop()
            if row.uuid in alive[row.table.name]:
                continue
            alive[row.table.name].add(row.uuid)
            todo += self._strong_targets(row)
        for name, table in TABLES.items():
            gone = () if table.root else self._tables[name].keys() - alive[name]
            for uuid in gone:
                del self._writable(name)[uuid]

    def _strong_targets(self, row: Row) -> list[Row]:
        targets = []
        for column in row.table.references:
            base = ref_base(column.type)
            if base.weak:
                continue
            for uuid in ref_uuids(row, column.name):
                target = self._tables[base.ref].get(uuid)
                if target is None:
                    raise self._dangling(row, column.name, base.ref, uuid)
                targets.append(target)
        return targets

    def _dangling(self, row: Row, column: str, table: str, uuid: str) -> ConfigError:
        if uuid in self._deleted.get(table, ()):
            rows = (r for t in TABLES for r in self._tables[t].values())
            count = sum(
                uuid in ref_uuids(r, c.name)
                for r in rows
                for c in r.table.references
                if ref_base(c.type).ref == table and not ref_base(c.type).weak
            )
            text = f"cannot delete {table} row {uuid} because of {count} remaining reference(s)"
        else:
            text = (
                f"Table {row.table.name} column {column} row {row.uuid} references nonexistent row {uuid}"
                f" in table {table}."
            )
        return transaction_error("referential integrity violation", text)

    def _drop_weak_references(self) -> None:
        for name, table in TABLES.items():
            for column in table.references:
                base = ref_base(column.type)
                if not base.weak:
                    continue
                for row in list(self._tables[name].values()):
                    keep = tuple(u for u in row.data[column.name] if u in self._tables[base.ref])
                    if keep != row.data[column.name]:
                        self.update(row, {column.name: keep})

    def _check_indexes(self) -> None:
        for name in self._copied:
            table = TABLES[name]
            if table.single and len(self._tables[name]) > 1:
                text = f'transaction causes "{name}" table to contain {len(self._tables[name])} rows,'
                raise transaction_error(
                    "constraint violation", f"{text} greater than the schema-defined limit of 1 row(s)"
                )
            seen: dict[tuple[Datum, ...], Row] = {}
            for row in self._tables[name].values() if table.index else ():
                key = tuple(row.data[column] for column in table.index)
                if key in seen:
                    raise self._duplicate(row, seen[key])
                seen[key] = row

    def _duplicate(self, row: Row, other: Row) -> ConfigError:
        table = row.table
        values = ", ".join(f'"{row[column]}"' for column in table.index)
        columns = " and ".join(f'"{column}"' for column in table.index)
        word = "column" if len(table.index) == 1 else "columns"
        text = f'Transaction causes multiple rows in "{table.name}" table to have identical values ({values})'
        return transaction_error(
            "constraint violation", f"{text} for index on {word} {columns}.  Rows: {other.uuid}, {row.uuid}."
        )


def transaction_error(kind: str, details: str) -> ConfigError:
    """Return the error that OVSDB clients report when the database refuses a transaction."""
    escaped = details.replace("\\", "\\\\").replace('"', '\\"')
    return ConfigError(f'transaction error: {{"details":"{escaped}","error":"{kind}"}}')
