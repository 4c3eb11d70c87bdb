"""The comparisons of `find` and `wait-until`; those in braces compare as sets: {=} {<} {in} ..."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vswitchd.config.lookup import parse_argument
from vswitchd.config.syntax import parse_atom, parse_datum
from vswitchd.config.types import Base, Datum, Kind, Type
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.config.context import Context
    from vswitchd.config.describe import Column, Table
    from vswitchd.config.rows import Row

OPERATORS = ("=", "!=", "<", ">", "<=", ">=", "{=}", "{!=}", "{<}", "{>}", "{<=}", "{>=}", "{in}", "{not-in}")
_UUID_TYPE = Type(Base(Kind.UUID))


def holds(operator: str, have: Datum, want: Datum) -> bool:
    """Return whether `have OPERATOR want`. The order of sets is by size, then by elements."""
    a, b = set(have), set(want)
    order = (len(have), have) < (len(want), want)
    equal = have == want
    return {
        "=": equal,
        "!=": not equal,
        "<": order,
        ">": not order and not equal,
        "<=": order or equal,
        ">=": not order,
        "{=}": equal,
        "{!=}": not equal,
        "{<}": a < b,
        "{>}": a > b,
        "{<=}": a <= b,
        "{>=}": a >= b,
        "{in}": a <= b,
        "{not-in}": not a & b,
    }[operator]


def satisfied(ctx: Context, table: Table, row: Row, text: str) -> bool:
    """Return whether the condition COLUMN[:KEY]OPERATOR VALUE holds for a row; raise ConfigError."""
    column, key, operator, value = parse_argument(table, text, OPERATORS)
    kind = _UUID_TYPE if column is None else column.type
    have: Datum = (row.uuid,) if column is None else row.data[column.name]
    is_set_operator = operator.startswith("{")
    if key is not None:
        if column is None or kind.value is None:
            raise ConfigError(f"cannot specify key to check for non-map column {_name(column)}")
        wanted_key = parse_atom(kind.key, key, ctx.symbol)
        have = tuple(pair[1] for pair in have if isinstance(pair, tuple) and pair[0] == wanted_key)
        if not have and not is_set_operator:
            parse_atom(kind.value, value, ctx.symbol)
            return False
        kind = Type(kind.value)
        if not is_set_operator:
            return holds(operator, have, (parse_atom(kind.key, value, ctx.symbol),))
    # A set operator may compare with more (or fewer) elements than the column itself could hold.
    want = parse_datum(replace(kind, low=0, high=None) if is_set_operator else kind, value, ctx.symbol)
    return holds(operator, have, want)


def _name(column: Column | None) -> str:
    return "_uuid" if column is None else column.name
