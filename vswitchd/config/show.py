"""The verb `show`: the switch as a tree, of each row what differs from its default; JSON has every field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.config.syntax import format_datum
from vswitchd.config.wire import plain

if TYPE_CHECKING:
    from vswitchd.config.context import Context
    from vswitchd.config.rows import Row

# Table -> (the column that names its rows, the columns shown).
SHOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "Open_vSwitch": ("", ("manager_options", "bridges", "ovs_version")),
    "Bridge": ("name", ("controller", "fail_mode", "datapath_type", "ports")),
    "Port": ("name", ("tag", "trunks", "interfaces")),
    "Interface": ("name", ("type", "options", "error")),
    "Controller": ("target", ("is_connected",)),
    "Manager": ("target", ("is_connected",)),
}
INDENT = "    "


def show(ctx: Context) -> None:
    """Print the tree."""
    lines: list[str] = []
    _text(ctx, ctx.view.root, 0, lines)
    ctx.lines(lines)
    ctx.answer.data = _data(ctx, ctx.view.root)


def _text(ctx: Context, row: Row, level: int, lines: list[str]) -> None:
    key, columns = SHOWN[row.table.name]
    if key:
        name = format_datum(row.table.columns[key].type, row.data[key])
        lines.append(f"{INDENT * level}{row.table.name} {name}")
    else:
        lines.append(INDENT * level + row.uuid)
    for column in columns:
        kind = row.table.columns[column].type
        if kind.key.ref:
            for child in ctx.view.refs(row, column):
                _text(ctx, child, level + 1, lines)
        elif row.data[column] != kind.default():
            lines.append(f"{INDENT * (level + 1)}{column}: {format_datum(kind, row.data[column])}")


def _data(ctx: Context, row: Row) -> dict[str, Any]:
    key, columns = SHOWN[row.table.name]
    data: dict[str, Any] = {key: row[key]} if key else {"_uuid": row.uuid}
    for column in columns:
        kind = row.table.columns[column].type
        if kind.key.ref:
            data[column] = [_data(ctx, child) for child in ctx.view.refs(row, column)]
        else:
            data[column] = plain(kind, row.data[column])
    return data
