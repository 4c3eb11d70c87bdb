"""Table features that a controller asks for, made into a pipeline: checked against what we can do (7.3.5.5.1).

The request describes the whole pipeline: each table once, with each property once (those of table-miss entries
may be left out where they are the same as for others). What is asked for must be a part of what the switch can
do, and is then had exactly. Thread: any; pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPTFPT, OFPTT_MAX
from vswitchd.ofproto.errors import OFPTFFC, OFError
from vswitchd.ofproto.fields import FIELDS, Field
from vswitchd.ofproto.pipeline import Allowed, Pipeline, Table
from vswitchd.ofproto.table_capabilities import MAX_ENTRIES, table_features
from vswitchd.ofproto.tablefeatures import TableFeatures, TableProperty

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

_TABLE_CONFIG = 3  # OFPTC_DEPRECATED_MASK
_T = OFPTFPT
_MISS = {
    _T.INSTRUCTIONS_MISS: _T.INSTRUCTIONS, _T.NEXT_TABLES_MISS: _T.NEXT_TABLES,
    _T.WRITE_ACTIONS_MISS: _T.WRITE_ACTIONS, _T.APPLY_ACTIONS_MISS: _T.APPLY_ACTIONS,
    _T.WRITE_SETFIELD_MISS: _T.WRITE_SETFIELD, _T.APPLY_SETFIELD_MISS: _T.APPLY_SETFIELD,
}  # fmt: skip
_NEEDED = (*_MISS.values(), _T.MATCH, _T.WILDCARDS)
_OXM = (_T.MATCH, _T.WILDCARDS, *(kind for kind in _T if "SETFIELD" in kind.name))
_HAS_MASK = 0x100
_Ids = dict[int, frozenset[int]]
_FIELDS: dict[int, tuple[Field, bool]] = {}
_WITHOUT_LENGTH: dict[int, int] = {}
"""Ids whose length is 0, as Ryu and os-ken (faucet) write them: the same with the length that the field has."""
for _field in FIELDS:
    _WITHOUT_LENGTH[_field.oxm_id & ~0xFF] = _field.oxm_id
    _WITHOUT_LENGTH[_field.oxm_id & ~0xFF | _HAS_MASK] = _field.oxm_id + _HAS_MASK + _field.size
    _FIELDS[_field.oxm_id] = (_field, False)
    _FIELDS[_field.oxm_id | _HAS_MASK] = (_field, True)
    _FIELDS[_field.oxm_id + _HAS_MASK + _field.size] = (_field, True)
_ONE_WAY = {i: field.oxm_id | (_HAS_MASK if masked else 0) for i, (field, masked) in _FIELDS.items()}
"""The ids of fields written in one way."""


def configure(entries: Iterable[TableFeatures]) -> Generator[bytes, None, Pipeline]:
    """Return the pipeline that a request asks for; OFError of type TABLE_FEATURES_FAILED. Yields for turns of others."""
    wanted: dict[int, TableFeatures] = {}
    for entry in entries:
        if entry.table_id >= OFPTT_MAX:
            raise OFError(OFPTFFC.BAD_TABLE, f"table {entry.table_id}: the last one is {OFPTT_MAX - 1}")
        if entry.table_id in wanted:
            raise OFError(OFPTFFC.BAD_TABLE, f"table {entry.table_id} twice")
        wanted[entry.table_id] = entry
    if 0 not in wanted:
        raise OFError(OFPTFFC.BAD_TABLE, "a pipeline without table 0, where packets begin")
    tables = {}
    for number, entry in sorted(wanted.items()):
        tables[number] = _table(entry, wanted)
        yield b""
    return Pipeline(tables)


def changed(old: Pipeline, new: Pipeline) -> Generator[bytes, None, list[int]]:
    """Return the tables of the old pipeline whose entries go: tables that go or can do something else."""
    tables = []
    for table in old:
        if table not in new or _capabilities(old.features(table)) != _capabilities(new.features(table)):
            tables.append(table)
        yield b""
    return tables


def _capabilities(features: TableFeatures) -> tuple[object, ...]:
    return replace(features, name="", properties=()), _full(_properties(features)[0])


def _table(entry: TableFeatures, wanted: Mapping[int, object]) -> Table:
    if entry.config & ~_TABLE_CONFIG:
        raise OFError(OFPTFFC.BAD_ARGUMENT, f"table {entry.table_id}: config {entry.config:#x}")
    if entry.max_entries > MAX_ENTRIES:
        raise OFError(OFPTFFC.BAD_ARGUMENT, f"table {entry.table_id}: more than {MAX_ENTRIES} entries")
    asked, order = _properties(entry)
    missing = [kind.name for kind in _NEEDED if kind not in asked]
    if missing:
        raise OFError(OFPTFFC.BAD_ARGUMENT, f"table {entry.table_id}: no property {missing[0]}")
    able = _full(_properties(table_features(entry.table_id))[0])
    for kind, values in asked.items():
        _check(entry.table_id, kind, values, able[kind])
    ids = _full(asked)
    for table in ids[_T.NEXT_TABLES] | ids[_T.NEXT_TABLES_MISS]:
        if table not in wanted:
            raise OFError(
                OFPTFFC.BAD_ARGUMENT, f"table {entry.table_id} leads to table {table}, which is not there"
            )
    match = {field: False for field, _ in map(_FIELDS.__getitem__, ids[_T.MATCH])}
    match |= {field: True for field, masked in map(_FIELDS.__getitem__, ids[_T.MATCH]) if masked}
    wild = _named(ids[_T.WILDCARDS])
    if not wild <= match.keys():
        raise OFError(OFPTFFC.BAD_ARGUMENT, f"table {entry.table_id}: a wildcard that is no match field")
    fixed = tuple(field for field in match if field not in wild)
    kept = replace(entry, properties=order)
    return Table(kept, match, fixed, _allowed(ids, 0), _allowed(ids, 1))


def _properties(entry: TableFeatures) -> tuple[_Ids, tuple[TableProperty, ...]]:
    """Return the ids by property, and the properties in the order they were sent in."""
    found: _Ids = {}
    order = []
    for prop in entry.properties:
        if not isinstance(prop, TableProperty):
            raise OFError(OFPTFFC.BAD_TYPE, f"table {entry.table_id}: an experimenter's property")
        if prop.type in found:
            raise OFError(OFPTFFC.BAD_ARGUMENT, f"table {entry.table_id}: {_T(prop.type).name} twice")
        ids = _with_length(prop.type, prop.ids)
        found[prop.type] = frozenset(ids)
        order.append(replace(prop, ids=ids))
    return found, tuple(order)


def _with_length(kind: int, ids: tuple[int, ...]) -> tuple[int, ...]:
    if kind not in _OXM:
        return ids
    if kind == _T.WILDCARDS:  # a mask says nothing there, and ovs-ofctl does not read it
        ids = tuple(i & ~_HAS_MASK if i in _WITHOUT_LENGTH else i for i in ids)
    return tuple(_WITHOUT_LENGTH.get(i, i) for i in ids)


def _full(ids: _Ids) -> _Ids:
    """Fill in the properties for table-miss entries that are left out, and write fields in one way."""
    full = ids | {miss: ids[kind] for miss, kind in _MISS.items() if miss not in ids}
    return {kind: _canonical(found) if kind in _OXM else found for kind, found in full.items()}


def _canonical(ids: frozenset[int]) -> frozenset[int]:
    return frozenset(_ONE_WAY[i] for i in ids if i in _ONE_WAY)


def _check(table: int, kind: int, ids: frozenset[int], able: frozenset[int]) -> None:
    """Refuse what the switch cannot do."""
    if kind not in _OXM:
        bad = ids - able
    else:
        # A field that may be masked may as well be had without.
        fine = able | {oxm & ~_HAS_MASK for oxm in able}
        if kind == _T.WILDCARDS:
            fine |= {oxm | _HAS_MASK for oxm in able}
        bad = frozenset(i for i in ids if _ONE_WAY.get(i) not in fine)
    if bad:
        raise OFError(OFPTFFC.BAD_ARGUMENT, f"table {table}: {_T(kind).name} of {min(bad):#x}")


def _named(ids: frozenset[int]) -> frozenset[Field]:
    return frozenset(_FIELDS[i][0] for i in ids)


def _allowed(ids: _Ids, miss: int) -> Allowed:
    """Return what entries may do, or (miss 1) table-miss entries."""
    return Allowed(
        ids[_T.INSTRUCTIONS + miss],
        ids[_T.NEXT_TABLES + miss],
        (ids[_T.WRITE_ACTIONS + miss], ids[_T.APPLY_ACTIONS + miss]),
        (_named(ids[_T.WRITE_SETFIELD + miss]), _named(ids[_T.APPLY_SETFIELD + miss])),
    )
