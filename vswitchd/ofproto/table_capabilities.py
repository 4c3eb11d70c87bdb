"""What every table of this switch can do, as table features say it (7.3.5.5). All tables are alike."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from vswitchd.ofproto.actions import ACTION
from vswitchd.ofproto.compile import KEY_FIELD, SETTABLE, SUPPORTED_ACTIONS, SUPPORTED_INSTRUCTIONS
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPIT, OFPTFPT, OFPTT_MAX, OFPXMC, U64_MAX
from vswitchd.ofproto.tablefeatures import TableFeatures, TableProperty

if TYPE_CHECKING:
    from vswitchd.ofproto.fields import Field

MAX_ENTRIES = 4_000_000
_TYPES = ACTION.types[OFP_VERSION_13]
ACTIONS = tuple(sorted(_TYPES[action][0] for action in SUPPORTED_ACTIONS))
"""Types (OFPAT) of the actions that we can do."""


@cache
def table_features(table: int) -> TableFeatures:
    """Return the features of one table; its name is that which Open vSwitch gives, "table<N>"."""
    later = tuple(range(table + 1, OFPTT_MAX))
    kinds = (
        SUPPORTED_INSTRUCTIONS if later else tuple(k for k in SUPPORTED_INSTRUCTIONS if k != OFPIT.GOTO_TABLE)
    )
    instructions = tuple(int(kind) for kind in kinds)
    return TableFeatures(
        table,
        f"table{table}",
        metadata_match=U64_MAX,
        metadata_write=U64_MAX,
        max_entries=MAX_ENTRIES,
        # A property for table-miss entries may be left out where it equals that for others (7.3.5.5.2).
        properties=(
            TableProperty(OFPTFPT.INSTRUCTIONS, instructions),
            TableProperty(OFPTFPT.NEXT_TABLES, later),
            *_same_for_all(),
        ),
    )


@cache
def _same_for_all() -> tuple[TableProperty, ...]:
    matched = tuple(_oxm(field, masked=field.maskable) for field in KEY_FIELD if _basic(field))
    settable = tuple(_oxm(field, masked=False) for field in SETTABLE if _basic(field))
    wild = tuple(_oxm(field, masked=False) for field in KEY_FIELD if _basic(field))
    return (
        TableProperty(OFPTFPT.WRITE_ACTIONS, ACTIONS),
        TableProperty(OFPTFPT.APPLY_ACTIONS, ACTIONS),
        TableProperty(OFPTFPT.MATCH, matched),
        TableProperty(OFPTFPT.WILDCARDS, wild),
        TableProperty(OFPTFPT.WRITE_SETFIELD, settable),
        TableProperty(OFPTFPT.APPLY_SETFIELD, settable),
    )


def _basic(field: Field) -> bool:
    """Fields of experimenters are left out: few controllers read their ids."""
    return field.oxm_class == OFPXMC.OPENFLOW_BASIC


def _oxm(field: Field, *, masked: bool) -> int:
    return field.header + 0x100 + field.size if masked else field.header
