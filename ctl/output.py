"""How the programs print: tables as list, table, csv, html or json, with cells as string, bare or json.

Shared by vsctl, vsofctl and vsappctl. The formats are those of Open vSwitch's programs. A table is its
headings, each with the type of its column, and rows of datums (vswitchd/config/types.py); plain() makes one
of Python values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.config.syntax import format_datum
from vswitchd.config.types import Base, Datum, Kind, Type
from vswitchd.config.wire import ovsdb_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctl.style import Style


@dataclass(frozen=True, slots=True)
class Table:
    """Headings with their types, and rows of one datum for each heading."""

    headings: Sequence[tuple[str, Type]]
    rows: Sequence[Sequence[Datum]]


_KINDS: dict[type, Kind] = {bool: Kind.BOOLEAN, int: Kind.INTEGER, str: Kind.STRING}


def plain(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Return a table of plain str, int, bool and None; the first value that is not None types its column."""
    types = []
    for at in range(len(headings)):
        first = next((row[at] for row in rows if row[at] is not None), "")
        types.append(Type(Base(_KINDS.get(type(first), Kind.STRING)), low=0))
    data = [[() if value is None else (value,) for value in row] for row in rows]
    return Table(list(zip(headings, types, strict=True)), data)


def to_json(value: Any, *, pretty: bool = False) -> str:
    """Return a value as one line of JSON, or indented."""
    if pretty:
        return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def render(table: Table, style: Style, *, first: bool = True) -> str:
    """Return the table as text ending in a newline (or empty); `first`: no other table stands before it."""
    if style.format == "json":
        names = [name for name, _ in table.headings]
        data = [
            [ovsdb_json(k, d) for (_, k), d in zip(table.headings, row, strict=True)] for row in table.rows
        ]
        return to_json({"data": data, "headings": names}, pretty=style.pretty) + "\n"
    cells = [
        [_cell(k, d, style) for (_, k), d in zip(table.headings, row, strict=True)] for row in table.rows
    ]
    names = [name for name, _ in table.headings]
    gap = "" if first else "\n"
    if style.format == "list":
        text = _list(names, cells, style)
        return gap + text if text else ""
    if style.format == "table":
        return gap + _table(names, cells, style)
    if style.format == "csv":
        return gap + _csv(names, cells, style)
    return _html(names, cells, style)


def _cell(kind: Type, datum: Datum, style: Style) -> str:
    if style.data == "json":
        return to_json(ovsdb_json(kind, datum))
    if style.data == "bare":
        return _bare(datum)
    return format_datum(kind, datum)


def _bare(datum: Datum) -> str:
    parts = []
    for item in datum:
        pair = item if isinstance(item, tuple) else (item,)
        parts.append("=".join(("true" if x else "false") if isinstance(x, bool) else str(x) for x in pair))
    return " ".join(parts)


def _list(names: list[str], cells: list[list[str]], style: Style) -> str:
    blocks = []
    for row in cells:
        lines = []
        for name, cell in zip(names, row, strict=True):
            lines.append(f"{name:<20}: {cell}\n" if style.headings else f"{cell}\n")
        blocks.append("".join(lines))
    return "\n".join(blocks)


def _table(names: list[str], cells: list[list[str]], style: Style) -> str:
    widths = [
        max([len(name) * style.headings, *(len(row[i]) for row in cells)]) for i, name in enumerate(names)
    ]
    lines = [names, ["-" * width for width in widths]] if style.headings else []
    return "".join(
        " ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)).rstrip() + "\n" for r in lines + cells
    )


def _csv(names: list[str], cells: list[list[str]], style: Style) -> str:
    lines = [names, *cells] if style.headings else cells
    return "".join(",".join(_csv_cell(cell) for cell in line) + "\n" for line in lines)


def _csv_cell(cell: str) -> str:
    if any(char in cell for char in ',"\n\r'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _html(names: list[str], cells: list[list[str]], style: Style) -> str:
    head = [_html_row("th", names)] if style.headings else []
    return "<table border=1>\n" + "".join([*head, *(_html_row("td", row) for row in cells)]) + "</table>\n"


def _html_row(tag: str, cells: list[str]) -> str:
    escape = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
    body = "".join(f"    <{tag}>{cell.translate(escape)}</{tag}>\n" for cell in cells)
    return f"  <tr>\n{body}  </tr>\n"
