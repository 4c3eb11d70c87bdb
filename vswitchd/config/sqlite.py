"""The configuration file: an SQLite database, one table per configuration table, locked by its one user.

A column holds a datum as JSON, or NULL for its default; computed columns are not in the file. WAL with
synchronous=FULL: when a commit returns, the change is on the disk, whole; a crash before that leaves
nothing of it (sqlite.org/wal.html and sqlite.org/pragma.html#pragma_synchronous). locking_mode=EXCLUSIVE
keeps a second switch, or a `vsctl --no-wait`, out while somebody uses the file; the lock dies with its
process.
"""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from vswitchd.config.rows import Row
from vswitchd.config.schema import APPLICATION_ID, FORMAT_VERSION, TABLES
from vswitchd.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from vswitchd.config.describe import Column, Table
    from vswitchd.config.txn import Changes
    from vswitchd.config.types import Datum


class ConfigFile:
    """An open, locked database file."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self._db = self._open(timeout)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _open(self, timeout: float) -> sqlite3.Connection:
        try:
            # Private from its first byte on; passwords of controllers may stand in other_config.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"{self.path}: cannot open the database ({error.strerror})") from None
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            empty = self._pragma("schema_version") == 0
            if not empty:
                self._check_owner()
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("BEGIN IMMEDIATE")
            if not empty and self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise StoreError(self._damaged())
            # Only what differs is written: a full disk must not keep what is stored from running.
            for name, value in (("application_id", APPLICATION_ID), ("user_version", FORMAT_VERSION)):
                if self._pragma(name) != value:
                    self._db.execute(f"PRAGMA {name}={value}")
            for table in TABLES.values():
                self._make_table(table)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from None

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _check_owner(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID:
            raise StoreError(
                f"{self.path}: is a database of another program; move it away or name another --state"
            )
        version = self._pragma("user_version")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{self.path}: has format version {version}, this program knows {FORMAT_VERSION};"
                " use the newer program or move the file away"
            )

    def _make_table(self, table: Table) -> None:
        have = {row[1] for row in self._db.execute(f'PRAGMA table_info("{table.name}")')}
        stored = [column.name for column in _stored(table)]
        if not have:
            columns = "".join(f', "{name}" TEXT' for name in stored)
            self._db.execute(f'CREATE TABLE "{table.name}" (_uuid TEXT PRIMARY KEY NOT NULL{columns})')
            return
        for name in stored:
            if name not in have:
                self._db.execute(f'ALTER TABLE "{table.name}" ADD COLUMN "{name}" TEXT')

    def load(self) -> dict[str, dict[str, Row]]:
        """Return all rows by table and UUID, each checked; raise StoreError if one makes no sense."""
        result = {}
        for table in TABLES.values():
            columns = _stored(table)
            names = "".join(f', "{column.name}"' for column in columns)
            rows = {}
            try:
                for record in self._db.execute(f'SELECT _uuid{names} FROM "{table.name}" ORDER BY rowid'):  # noqa: S608
                    rows[record[0]] = self._row(table, columns, record)
            except sqlite3.Error as error:
                raise self._error(error) from None
            result[table.name] = rows
        return result

    def _row(self, table: Table, columns: list[Column], record: tuple[Any, ...]) -> Row:
        data: dict[str, Datum] = table.defaults()  # type: ignore[assignment]
        for column, text in zip(columns, record[1:], strict=True):
            if text is None:
                continue
            try:
                datum = _datum(column, json.loads(text))
            except (ValueError, TypeError, ConfigError):
                raise StoreError(
                    f"{self.path}: {table.name} row {record[0]} column {column.name} is damaged;"
                    " restore the file or move it away to start empty"
                ) from None
            data[column.name] = datum
        return Row(table, str(record[0]), data)

    def write(self, changes: Changes) -> None:
        """Make all changes or none; they are on the disk when this returns. Raises StoreError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for name, rows in changes.items():
                for uuid, row in rows.items():
                    self._write_row(TABLES[name], uuid, row)
            self._db.execute("COMMIT")
        except BaseException as error:
            self._rollback()
            if isinstance(error, sqlite3.Error):
                raise self._error(error) from None
            raise

    def _write_row(self, table: Table, uuid: str, row: Row | None) -> None:
        if row is None:
            self._db.execute(f'DELETE FROM "{table.name}" WHERE _uuid = ?', (uuid,))  # noqa: S608
            return
        columns = _stored(table)
        names = "".join(f', "{column.name}"' for column in columns)
        marks = ", ?" * len(columns)
        sets = ", ".join(f'"{column.name}" = excluded."{column.name}"' for column in columns)
        values = [
            None if row.data[c.name] == c.type.default() else json.dumps(row.data[c.name], ensure_ascii=False)
            for c in columns
        ]
        self._db.execute(
            f'INSERT INTO "{table.name}" (_uuid{names}) VALUES (?{marks})'  # noqa: S608 - names of our own schema
            f" ON CONFLICT(_uuid) DO UPDATE SET {sets}",
            (uuid, *values),
        )

    def _rollback(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            return  # SQLite rolls back by itself when the disk fails; the file is as before either way

    def _damaged(self) -> str:
        return f"{self.path}: is no configuration database or is damaged; restore it or move it away"

    def _error(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return StoreError(self._damaged())
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(f"{self.path}: is in use by another process (is a vswitchd running already?)")
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"{self.path}: cannot be written, the disk is full; nothing was changed")
        return StoreError(f"{self.path}: cannot be used: {error}; nothing was changed")

    def close(self) -> None:
        """Write the log back into the file and release the lock."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise self._error(error) from None


def _datum(column: Column, value: Any) -> Datum:
    """Return what JSON made of a stored datum, checked. Raises ValueError, TypeError, ConfigError."""
    if not isinstance(value, list):
        raise TypeError("not a list")
    datum = tuple(tuple(item) for item in value) if column.type.is_map else tuple(value)
    column.type.check(datum)
    return datum


def _stored(table: Table) -> list[Column]:
    return [column for column in table.columns.values() if not column.computed]
