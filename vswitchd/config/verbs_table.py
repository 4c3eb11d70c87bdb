"""The verbs that work on any table: list, find, get, set, add, remove, clear, create, destroy, wait-until."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vswitchd.config import wire
from vswitchd.config.lookup import (
    check_writable,
    find_column_or_uuid,
    find_row,
    find_table,
    find_writable_column,
    get_row,
    parse_argument,
    parse_column_key,
)
from vswitchd.config.relations import OPERATORS, satisfied
from vswitchd.config.syntax import format_atom, format_datum, parse_atom, parse_datum
from vswitchd.errors import ConfigError, NotYet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.config.context import Context
    from vswitchd.config.describe import Column, Table
    from vswitchd.config.rows import Row
    from vswitchd.config.types import Datum, Type


def _columns(ctx: Context, table: Table) -> list[Column | None]:
    """Return the columns to show: those of --columns, else all, `_uuid` (None) first."""
    text = ctx.option("--columns")
    if text is None:
        return [None, *table.columns.values()]
    names = [name for name in text.replace(" ", ",").split(",") if name]
    if not names:
        raise ConfigError("must specify at least one column name")
    return [find_column_or_uuid(table, name) for name in names]


def _row_or_none(ctx: Context, table: Table, record: str) -> Row | None:
    return find_row(ctx, table, record) if ctx.has("--if-exists") else get_row(ctx, table, record)


def do_list(ctx: Context) -> None:
    """Show the rows named, or all."""
    table = find_table(ctx.args[0])
    ctx.answer.columns = _columns(ctx, table)
    if len(ctx.args) == 1:
        ctx.answer.rows = list(ctx.view.rows(table.name))
        return
    rows = [_row_or_none(ctx, table, record) for record in ctx.args[1:]]
    ctx.answer.rows = [row for row in rows if row is not None]


def do_find(ctx: Context) -> None:
    """Show the rows for which all conditions hold."""
    table = find_table(ctx.args[0])
    ctx.answer.columns = _columns(ctx, table)
    for condition in ctx.args[1:]:
        parse_argument(table, condition, OPERATORS)
    ctx.answer.rows = [
        row
        for row in ctx.view.rows(table.name)
        if all(satisfied(ctx, table, row, condition) for condition in ctx.args[1:])
    ]


def do_get(ctx: Context) -> None:
    """Print values of one row; with --id, name the row."""
    table = find_table(ctx.args[0])
    row = _row_or_none(ctx, table, ctx.args[1])
    if row is None:
        return
    name = ctx.option("--id")
    if name is not None:
        ctx.define(name, row.uuid)
    lines = []
    data = []
    for text in ctx.args[2:]:
        column, key = parse_column_key(table, text)
        line, value = _get_one(ctx, row, column, key)
        lines.append(line)
        data.append(value)
    ctx.answer.text = "".join(f"{line}\n" for line in lines)
    ctx.answer.data = data


def _get_one(ctx: Context, row: Row, column: Column | None, key: str | None) -> tuple[str, object]:
    if column is None:
        if key is not None:
            raise ConfigError("cannot specify key to get for non-map column _uuid")
        return row.uuid, row.uuid
    kind = column.type
    if key is None:
        return format_datum(kind, row.data[column.name]), wire.plain(kind, row.data[column.name])
    if kind.value is None:
        raise ConfigError(f"cannot specify key to get for non-map column {column.name}")
    wanted = parse_atom(kind.key, key)
    for pair in row.data[column.name]:
        if isinstance(pair, tuple) and pair[0] == wanted:
            return format_atom(kind.value.kind, pair[1]), pair[1]
    if ctx.has("--if-exists"):
        return "", None
    raise ConfigError(f'no key "{key}" in {row.table.name} record "{ctx.args[1]}" column {column.name}')


def assign(ctx: Context, table: Table, data: dict[str, Datum], text: str, *, create: bool = False) -> None:
    """Put COLUMN[:KEY]=VALUE into `data`, a row's columns; raise ConfigError."""
    column, key, _, value = parse_argument(table, text, ("=",))
    assert column is not None
    if not create:
        check_writable(table, column)
    kind = column.type
    if key is None:
        data[column.name] = parse_datum(kind, value, ctx.symbol)
        return
    if kind.value is None:
        raise ConfigError(f"cannot specify key to set for non-map column {column.name}")
    new = (parse_atom(kind.key, key, ctx.symbol), parse_atom(kind.value, value, ctx.symbol))
    others = [pair for pair in data[column.name] if isinstance(pair, tuple) and pair[0] != new[0]]
    data[column.name] = tuple(sorted([*others, new]))


def set_columns(ctx: Context, row: Row, settings: tuple[str, ...]) -> Row:
    """Apply COLUMN[:KEY]=VALUE settings to a row; return the new row."""
    data = dict(row.data)
    for text in settings:
        assign(ctx, row.table, data, text)
    return ctx.txn.update(row, data)


def do_set(ctx: Context) -> None:
    """Set columns of a row."""
    row = _row_or_none(ctx, find_table(ctx.args[0]), ctx.args[1])
    if row is not None:
        set_columns(ctx, row, ctx.args[2:])


def do_add(ctx: Context) -> None:
    """Add elements to a set, or pairs to a map; a key that is there gets the new value."""
    table = find_table(ctx.args[0])
    column = find_writable_column(table, ctx.args[2])
    row = _row_or_none(ctx, table, ctx.args[1])
    if row is None:
        return
    loose = replace(column.type, low=1, high=None)
    have = {_key(item): item for item in row.data[column.name]}
    for text in ctx.args[3:]:
        for item in parse_datum(loose, text, ctx.symbol):
            have[_key(item)] = item
    _store(ctx, row, column, have, "add")


def do_remove(ctx: Context) -> None:
    """Remove elements from a set; from a map, keys or pairs that are exactly so."""
    table = find_table(ctx.args[0])
    column = find_writable_column(table, ctx.args[2])
    row = _row_or_none(ctx, table, ctx.args[1])
    if row is None:
        return
    have = {_key(item): item for item in row.data[column.name]}
    for text in ctx.args[3:]:
        for item in _parse_removed(ctx, column.type, text):
            if not isinstance(item, tuple) or have.get(item[0]) == item:
                have.pop(_key(item), None)
    _store(ctx, row, column, have, "remove")


def _parse_removed(ctx: Context, kind: Type, text: str) -> Datum:
    loose = replace(kind, low=0, high=None)
    if kind.value is None:
        return parse_datum(loose, text, ctx.symbol)
    try:
        return parse_datum(loose, text, ctx.symbol)
    except ConfigError:
        return parse_datum(replace(loose, value=None), text, ctx.symbol)


def _key(item: object) -> object:
    return item[0] if isinstance(item, tuple) else item


def _store(ctx: Context, row: Row, column: Column, items: Mapping[object, Any], verb: str) -> None:
    kind = column.type
    where = f"column {column.name} of table {row.table.name}"
    put = f'"{verb}" operation would put {len(items)} values in {where}'
    if len(items) < kind.low:
        raise ConfigError(f"{put} but the minimum number is {kind.low}")
    if kind.high is not None and len(items) > kind.high:
        raise ConfigError(f"{put} but the maximum number is {kind.high}")
    ctx.txn.update(row, {column.name: tuple(sorted(items.values()))})


def do_clear(ctx: Context) -> None:
    """Empty columns of a row."""
    table = find_table(ctx.args[0])
    row = _row_or_none(ctx, table, ctx.args[1])
    if row is None:
        return
    for name in ctx.args[2:]:
        column = find_writable_column(table, name)
        if column.type.low > 0:
            raise ConfigError(
                f'"clear" operation cannot be applied to column {column.name} of table {table.name},'
                " which is not allowed to be empty"
            )
        row = ctx.txn.update(row, {column.name: ()})


def do_create(ctx: Context) -> None:
    """Make a row and print its UUID."""
    table = find_table(ctx.args[0])
    name = ctx.option("--id")
    uuid = ctx.define(name) if name is not None else None
    if uuid is None and not table.root:
        text = f'applying "create" command to table {table.name} without --id option will have no effect'
        ctx.warnings.append(text)
    data: dict[str, Datum] = table.defaults()  # type: ignore[assignment]
    for text in ctx.args[1:]:
        assign(ctx, table, data, text, create=True)
    row = ctx.txn.insert(table.name, data, uuid)
    ctx.lines([row.uuid])


def do_destroy(ctx: Context) -> None:
    """Delete the rows named, or all."""
    table = find_table(ctx.args[0])
    if ctx.has("--all"):
        if len(ctx.args) > 1:
            raise ConfigError("--all and records argument should not be specified together")
        for row in list(ctx.view.rows(table.name)):
            ctx.txn.delete(row)
    elif len(ctx.args) == 1:
        ctx.warnings.append("either --all or records argument should be specified")
    for record in ctx.args[1:]:
        found = _row_or_none(ctx, table, record)
        if found is not None:
            ctx.txn.delete(found)


def do_wait_until(ctx: Context) -> None:
    """Go on when the row exists and all conditions hold; until then the whole transaction is tried again."""
    table = find_table(ctx.args[0])
    row = find_row(ctx, table, ctx.args[1])
    if row is None:
        raise NotYet(f'no row "{ctx.args[1]}" in table {table.name}')
    for condition in ctx.args[2:]:
        if not satisfied(ctx, table, row, condition):
            raise NotYet(f"{condition}: is not so yet")
