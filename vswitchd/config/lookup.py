"""How an operator names things: short tables and columns, records, COLUMN[:KEY][OPERATOR VALUE] arguments.

A record is named by its name column, by `.` where a table has one row, by its UUID or the beginning of that,
or by an @name from this command line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from vswitchd.config.rows import Row, ref_uuids
from vswitchd.config.schema import TABLES
from vswitchd.config.syntax import is_uuid, token
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.config.context import Context
    from vswitchd.config.describe import Column, Table

_PARTIAL_UUID = re.compile(r"[0-9a-fA-F-]{4,36}")


def _matches(names: list[str], text: str) -> list[str]:
    """Return the names that `text` can mean: itself, itself but for case and -/_, or those it begins."""
    if text in names:
        return [text]
    folded = text.lower().replace("-", "_")
    equal = [name for name in names if name.lower() == folded]
    if equal or not folded:
        return equal
    return [name for name in names if name.lower().startswith(folded)]


def find_table(text: str) -> Table:
    """Return the table that `text` names or shortens; raise ConfigError if none or several."""
    found = _matches(list(TABLES), text)
    if len(found) > 1:
        raise ConfigError(f'"{text}" matches multiple table names: {", ".join(found)}')
    if not found:
        raise ConfigError(f'unknown table "{text}"')
    return TABLES[found[0]]


def find_column(table: Table, text: str) -> Column:
    """Return the column that `text` names or shortens; raise ConfigError if none or several."""
    found = _matches(list(table.columns), text)
    if len(found) > 1:
        which = ", ".join(found)
        raise ConfigError(f'{table.name} contains more than one column whose name matches "{text}": {which}')
    if not found:
        raise ConfigError(f'{table.name} does not contain a column whose name matches "{text}"')
    return table.columns[found[0]]


def find_column_or_uuid(table: Table, text: str) -> Column | None:
    """Return the column, or None for `_uuid`."""
    return None if text.lower() == "_uuid" else find_column(table, text)


def find_writable_column(table: Table, text: str) -> Column:
    """Return the column; raise ConfigError if it is set once, at creation."""
    column = find_column(table, text)
    check_writable(table, column)
    return column


def check_writable(table: Table, column: Column) -> None:
    """Raise ConfigError if the column is set once, at creation."""
    if not column.mutable:
        raise ConfigError(f"cannot modify read-only column {column.name} in table {table.name}")


def find_row(ctx: Context, table: Table, record: str) -> Row | None:
    """Return the row that `record` names, or None; raise ConfigError if it names several."""
    rows = ctx.view.tables[table.name]
    if record.startswith("@") and record in ctx.symbols and ctx.symbols[record].created:
        return rows.get(ctx.symbols[record].uuid)
    if is_uuid(record) and record.lower() in rows:
        return rows[record.lower()]
    if table.single and record == ".":
        return next(iter(rows.values()), None)
    found = [row for row in rows.values() if table.name_column and row.name == record]
    if not found and table.via is not None:
        owner = ctx.view.by_name(table.via[0], record)
        found = [rows[uuid] for uuid in ref_uuids(owner, table.via[1])] if owner is not None else []
        found = found if len(found) == 1 else []
    if not found and _PARTIAL_UUID.fullmatch(record):
        found = [row for uuid, row in rows.items() if uuid.startswith(record.lower())]
    if len(found) > 1:
        raise ConfigError(f'multiple rows in {table.name} match "{record}"')
    return found[0] if found else None


def get_row(ctx: Context, table: Table, record: str) -> Row:
    """Return the row that `record` names; raise ConfigError if there is not exactly one."""
    row = find_row(ctx, table, record)
    if row is None:
        raise ConfigError(f'no row "{record}" in table {table.name}')
    return row


class Argument(NamedTuple):
    """COLUMN[:KEY][OPERATOR VALUE], taken apart; column None is `_uuid`."""

    column: Column | None
    key: str | None
    operator: str
    value: str


def parse_column_key(table: Table, text: str) -> tuple[Column | None, str | None]:
    """Return the parts of COLUMN[:KEY]; raise ConfigError."""
    column, key, at = _column_key(table, text, allow_uuid=True)
    if at < len(text):
        raise ConfigError(f'{text}: trailing garbage "{text[at:]}" in argument')
    return column, key


def parse_argument(table: Table, text: str, operators: tuple[str, ...]) -> Argument:
    """Return the parts of COLUMN[:KEY]OPERATOR VALUE; the longest operator counts. Raises ConfigError."""
    column, key, at = _column_key(table, text, allow_uuid=len(operators) > 1)
    found = max((op for op in operators if text.startswith(op, at)), key=len, default="")
    if not found or at + len(found) >= len(text):
        quoted = [f'"{op}"' for op in operators]
        which = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + f", or {quoted[-1]}"
        raise ConfigError(f"{text}: argument does not end in {which} followed by a value.")
    return Argument(column, key, found, text[at + len(found) :])


def _column_key(table: Table, text: str, *, allow_uuid: bool) -> tuple[Column | None, str | None, int]:
    name, at = token(text, 0)
    if not name:
        raise ConfigError(f"{text}: missing column name")
    column = find_column_or_uuid(table, name) if allow_uuid else find_column(table, name)
    if text[at : at + 1] != ":":
        return column, None, at
    key, at = token(text, at + 1)
    return column, key, at
