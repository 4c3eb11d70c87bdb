"""The configuration store: what the operator asked for, durable; and beside it what is true, in memory.

Used by the daemon's main thread only; every call is short and synchronous. A transaction is checked,
written, and only then visible; readers hold snapshots that never change. Callbacks run after the change is
visible, on the caller's stack.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vswitchd.config.rows import Row, Snapshot
from vswitchd.config.schema import TABLES
from vswitchd.config.sqlite import ConfigFile
from vswitchd.config.txn import Changes, Transaction
from vswitchd.paths import make_directory

if TYPE_CHECKING:
    from vswitchd.config.types import Datum, Type

T = TypeVar("T")
Callback = Callable[[Snapshot], None]
Unsubscribe = Callable[[], None]

_log = logging.getLogger(__name__)


def to_datum(kind: Type, value: Any) -> Datum:
    """Return plain Python (None, an atom, atoms, a mapping) as a checked datum. Raises ConfigError."""
    datum: Datum
    if kind.is_map:
        datum = tuple(sorted((value or {}).items()))
    elif value is None:
        datum = ()
    elif isinstance(value, (str, int)):
        datum = (value,)
    else:
        datum = tuple(sorted(set(value)))
    kind.check(datum)
    return datum


class Store:
    """The open configuration. Make one with Store.open()."""

    def __init__(self, file: ConfigFile) -> None:
        self._file = file
        self._tables: dict[str, dict[str, Row]] = file.load()
        self._lent: set[str] = set()
        self._told: dict[str, tuple[Row, Mapping[str, Any]]] = {}
        self._on_commit: list[Callback] = []
        self._on_change: list[Callback] = []
        if not self._tables["Open_vSwitch"]:
            self.transact(lambda txn: txn.insert("Open_vSwitch", {}))

    @classmethod
    def open(cls, path: str, timeout: float = 5.0) -> Store:
        """Open (or make) the database at `path`; wait `timeout` seconds for another user of it to finish.

        Raises StoreError for a broken, foreign, newer or locked file, PathError if its directory cannot be
        made.
        """
        make_directory(str(Path(path).parent))
        file = ConfigFile(path, timeout)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def snapshot(self) -> Snapshot:
        """Return the configuration and status as they are now; the result never changes."""
        self._lent.update(TABLES)
        return Snapshot(dict(self._tables))

    def transact(self, change: Callable[[Transaction], T], *, dry_run: bool = False, bump: bool = False) -> T:
        """Run `change` on a private copy, check and commit it; return what `change` returned.

        When this returns, the change is on the disk. Whatever is raised (by `change`, ConfigError by the
        checks, StoreError by the disk), nothing has changed. `bump` adds one to next_cfg if anything
        changed, for a client that waits for the daemon; `dry_run` runs the checks and throws the result away.
        """
        txn = Transaction(self._tables)
        result = change(txn)
        txn.finish()
        if dry_run or not txn.changed:
            return result
        if bump:
            root = txn.view.root
            txn.update(root, {"next_cfg": (int(root["next_cfg"]) + 1,)})
        # next_cfg refers to nothing and is unique: no second look at the whole is needed.
        changes = txn.changes()
        self._file.write({name: rows for name, rows in self._durable(changes).items() if rows})
        self._tables = {name: dict(rows) for name, rows in txn.view.tables.items()}
        self._lent.clear()
        for uuid in [u for rows in changes.values() for u, row in rows.items() if row is None]:
            self._told.pop(uuid, None)
        self._notify([*self._on_commit, *self._on_change])
        return result

    def _durable(self, changes: Changes) -> Changes:
        result: Changes = {}
        for name, rows in changes.items():
            stored = [column.name for column in TABLES[name].columns.values() if not column.computed]
            before = self._tables[name]
            result[name] = {
                uuid: row
                for uuid, row in rows.items()
                if row is None
                or uuid not in before
                or any(before[uuid].data[c] != row.data[c] for c in stored)
            }
        return result

    def set_status(self, table: str, uuid: str, values: Mapping[str, Any]) -> bool:
        """Set computed columns of a row, in memory; return False if the row is gone.

        Values are plain Python (see to_datum). Raises ValueError for a column that is stored: status is not
        wishes.
        """
        return self.set_statuses([(table, uuid, values)]) == 1

    def set_statuses(self, updates: Iterable[tuple[str, str, Mapping[str, Any]]]) -> int:
        """Set computed columns of many (table, uuid, values), notify once; return how many rows exist."""
        found = 0
        changed = False
        for table, uuid, values in updates:
            row = self._tables[table].get(uuid)
            if row is None:
                continue
            found += 1
            # Most of what is told every second is what was told before: hundreds of idle ports cost nothing.
            if self._told.get(uuid) == (row, values):
                continue
            data: dict[str, Datum] = {}
            for name, value in values.items():
                column = TABLES[table].columns[name]
                if not column.computed:
                    raise ValueError(
                        f"{table}.{name} is what the operator asked for; the daemon must not set it"
                    )
                data[name] = to_datum(column.type, value)
            if any(row.data[name] != datum for name, datum in data.items()):
                row = Row(row.table, uuid, {**row.data, **data})
                self._own(table)[uuid] = row
                changed = True
            self._told[uuid] = (row, values)
        if changed:
            self._notify(self._on_change)
        return found

    def _own(self, table: str) -> dict[str, Row]:
        if table in self._lent:
            self._tables[table] = dict(self._tables[table])
            self._lent.discard(table)
        return self._tables[table]

    @property
    def next_cfg(self) -> int:
        """The number of the newest change that a client waits for."""
        return int(self._root["next_cfg"])

    @property
    def cur_cfg(self) -> int:
        """The number of the newest change that the daemon has applied."""
        return int(self._root["cur_cfg"])

    @property
    def _root(self) -> Row:
        return next(iter(self._tables["Open_vSwitch"].values()))

    def set_applied(self, number: int) -> None:
        """Say that the snapshot with next_cfg == `number` now runs: clients that wait for it go on."""
        self.set_status("Open_vSwitch", self._root.uuid, {"cur_cfg": number})

    def on_commit(self, callback: Callback) -> Unsubscribe:
        """Call `callback(snapshot)` after every committed transaction; return a function that ends it."""
        return _subscribe(self._on_commit, callback)

    def on_change(self, callback: Callback) -> Unsubscribe:
        """Call `callback(snapshot)` after every commit or change of status; return a function to end it."""
        return _subscribe(self._on_change, callback)

    def _notify(self, callbacks: Iterable[Callback]) -> None:
        callbacks = list(callbacks)
        if not callbacks:
            return
        snapshot = self.snapshot()
        for callback in callbacks:
            try:
                callback(snapshot)
            except Exception:  # noqa: BLE001 - logged whole
                # The change is committed; a listener that fails must not make it look refused.
                _log.exception("a listener failed on a configuration change")


def _subscribe(callbacks: list[Callback], callback: Callback) -> Unsubscribe:
    callbacks.append(callback)
    return lambda: callbacks.remove(callback)
