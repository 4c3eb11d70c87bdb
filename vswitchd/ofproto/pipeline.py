"""The tables that there are and what each may do: what a flow-mod is held to (7.3.5.5).

At first these are all tables, each with all that the switch can do. A controller may configure a pipeline of its
own (`pipeline_config.py`): then a flow entry that needs more than the features of its table say is refused.
Thread: control; immutable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPTT_MAX
from vswitchd.ofproto.errors import OFPBAC, OFPBIC, OFPBMC, OFError
from vswitchd.ofproto.table_capabilities import MAX_ENTRIES, table_features

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vswitchd.ofproto.fields import Field
    from vswitchd.ofproto.oxm import Match
    from vswitchd.ofproto.tablefeatures import TableFeatures

_INSTRUCTIONS = ins.INSTRUCTIONS.element.types[OFP_VERSION_13]  # type: ignore[attr-defined]
_ACTIONS = act.ACTION.types[OFP_VERSION_13]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the instructions of an entry may be; actions and settable fields of write-actions first, then apply."""

    instructions: frozenset[int]
    next_tables: frozenset[int]
    actions: tuple[frozenset[int], frozenset[int]]
    settable: tuple[frozenset[Field], frozenset[Field]]


@dataclass(frozen=True, slots=True)
class Table:
    """One configured table. match: field -> may it be masked. fixed: fields that may not be left out."""

    features: TableFeatures
    match: Mapping[Field, bool]
    fixed: tuple[Field, ...]
    entries: Allowed
    table_miss: Allowed

    def check_match(self, match: Match) -> None:
        """Refuse a match that the table cannot have; OFError of type BAD_MATCH. Not for the table-miss entry."""
        for field, _value, mask in match:
            if field not in self.match:
                raise OFError(OFPBMC.BAD_FIELD, f"{field.name} in this table")
            if mask is not None and not self.match[field]:
                raise OFError(OFPBMC.BAD_MASK, f"{field.name} has no mask in this table")
            if field.name == "metadata" and (mask or field.all_ones) & ~self.features.metadata_match:
                raise OFError(
                    OFPBMC.BAD_MASK, f"this table sees metadata/{self.features.metadata_match:#x} only"
                )
        for field in self.fixed:
            if match.get(field.name) is None and _could_have(match, field):
                raise OFError(OFPBMC.BAD_WILDCARDS, f"{field.name} cannot be left out in this table")

    def check_instructions(self, instructions: tuple[ins.Instruction, ...], *, table_miss: bool) -> None:
        """Refuse what entries of this table cannot do; OFError of type BAD_INSTRUCTION, BAD_ACTION."""
        allowed = self.table_miss if table_miss else self.entries
        for item in instructions:
            if _INSTRUCTIONS[item.__class__][0] not in allowed.instructions:
                raise OFError(OFPBIC.UNSUP_INST, f"{item.__class__.__name__} in this table")
            if isinstance(item, ins.GotoTable) and item.table_id not in allowed.next_tables:
                raise OFError(OFPBIC.BAD_TABLE_ID, f"this table does not lead to table {item.table_id}")
            if isinstance(item, ins.WriteMetadata) and item.mask & ~self.features.metadata_write:
                bits = self.features.metadata_write
                raise OFError(OFPBIC.UNSUP_METADATA_MASK, f"this table writes metadata/{bits:#x} only")
            if isinstance(item, ins.WriteActions | ins.ApplyActions):
                self._check_actions(item.actions, allowed, int(isinstance(item, ins.ApplyActions)))

    @staticmethod
    def _check_actions(actions: tuple[act.Action, ...], allowed: Allowed, kind: int) -> None:
        for action in actions:
            found = _ACTIONS.get(action.__class__)  # None: one of 1.0 only, which table features cannot name
            if found is None or found[0] not in allowed.actions[kind]:
                raise OFError(OFPBAC.BAD_TYPE, f"{action.__class__.__name__} in this table")
            if isinstance(action, act.SetField) and action.field not in allowed.settable[kind]:
                raise OFError(OFPBAC.BAD_SET_TYPE, f"{action.field.name} is not set in this table")


def _could_have(match: Match, field: Field) -> bool:
    """Whether the prerequisites of a field are in the match: only then it could be there."""
    for name, values in field.prereqs:
        found = match.get(name)
        if found is None or (values and found.value not in values):
            return False
    return True


class Pipeline:
    """`in` and iteration are by table number. Without tables: all, each with all that we can do."""

    def __init__(self, tables: Mapping[int, Table] | None = None) -> None:
        self._tables: Mapping[int, Any] = dict.fromkeys(range(OFPTT_MAX)) if tables is None else tables
        self.whole = tables is None

    def __contains__(self, table: object) -> bool:
        return table in self._tables

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._tables))

    def __len__(self) -> int:
        return len(self._tables)

    def features(self, table: int) -> TableFeatures:
        """Return what a table that is there can do."""
        features: TableFeatures = table_features(table) if self.whole else self._tables[table].features
        return features

    def limits(self, table: int) -> Table | None:
        """Return what entries of a table that is there are held to; None: only to what the switch can do."""
        limits: Table | None = self._tables[table]
        return limits

    def room(self, table: int) -> int:
        """Return how many entries a table that is there takes."""
        return MAX_ENTRIES if self.whole else self.features(table).max_entries


WHOLE = Pipeline()
