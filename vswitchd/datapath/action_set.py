"""An action set as the list of actions that it runs as (OpenFlow 1.3.5, 5.10); pipeline.c does it for rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.datapath.core import lib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vswitchd.datapath.action import Action

_ORDER: tuple[int, ...] = (
    lib.VS_ACT_COPY_TTL_IN, lib.VS_ACT_POP_VLAN, lib.VS_ACT_POP_PBB, lib.VS_ACT_POP_MPLS,
    lib.VS_ACT_PUSH_MPLS, lib.VS_ACT_PUSH_PBB, lib.VS_ACT_PUSH_VLAN, lib.VS_ACT_COPY_TTL_OUT,
    lib.VS_ACT_DEC_MPLS_TTL, lib.VS_ACT_DEC_TTL, lib.VS_ACT_SET_MPLS_TTL, lib.VS_ACT_SET_TTL,
    lib.VS_ACT_SET_FIELD, lib.VS_ACT_SET_QUEUE, lib.VS_ACT_GROUP, lib.VS_ACT_OUTPUT,
)  # fmt: skip
_PLACE = {kind: place for place, kind in enumerate(_ORDER)}


def action_set(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Return one action of each type (of each field for set-field), the last given; with a group no output.

    Raises KeyError for an action that a set cannot hold (a meter, a drop).
    """
    last = {(_PLACE[action.type], action.field): action for action in actions}
    if (_PLACE[lib.VS_ACT_GROUP], 0) in last:
        last.pop((_PLACE[lib.VS_ACT_OUTPUT], 0), None)
    return tuple(last[slot] for slot in sorted(last))
