"""Values on their way to a client: typed table cells, plain JSON, and OVSDB's JSON (RFC 7047 section 5.1)."""

from __future__ import annotations

from typing import Any

from vswitchd.config.types import Base, Datum, Kind, Type


def plain(kind: Type, datum: Datum) -> Any:
    """Return a datum as natural JSON: atom, null or atom, list, or object (keys as text)."""
    if kind.is_map:
        return {str(item[0]): item[1] for item in datum if isinstance(item, tuple)}
    if kind.high == 1:
        return datum[0] if datum else None
    return list(datum)


def ovsdb_json(kind: Type, datum: Datum) -> Any:
    """Return a datum in the JSON notation of OVSDB, which tells sets, maps and UUIDs apart."""
    if kind.value is not None:
        value = kind.value.kind
        return [
            "map",
            [
                [_json_atom(kind.key.kind, i[0]), _json_atom(value, i[1])]
                for i in datum
                if isinstance(i, tuple)
            ],
        ]
    atoms = [_json_atom(kind.key.kind, atom) for atom in datum]
    return atoms[0] if len(atoms) == 1 else ["set", atoms]


def _json_atom(kind: Kind, atom: Any) -> Any:
    return ["uuid", atom] if kind is Kind.UUID else atom


def pack_type(kind: Type) -> list[Any]:
    """Return what a client must know to print values: [key kind, value kind or nil, at most one]."""
    return [kind.key.kind.value, kind.value.kind.value if kind.value is not None else None, kind.high == 1]


def unpack_type(packed: list[Any]) -> Type:
    """Return the type that pack_type() described, without its bounds."""
    key, value, single = packed
    return Type(Base(Kind(key)), Base(Kind(value)) if value is not None else None, 0, 1 if single else None)


def unpack_datum(kind: Type, cell: list[Any]) -> Datum:
    """Return a datum that went over the wire as lists."""
    return tuple((item[0], item[1]) for item in cell) if kind.is_map else tuple(cell)
