"""What the groups of this switch can do (7.3.5.10)."""

from __future__ import annotations

from vswitchd.ofproto.constants import OFPGFC, OFPGT
from vswitchd.ofproto.groups import MAX_GROUPS
from vswitchd.ofproto.multipart import GroupFeaturesReply
from vswitchd.ofproto.table_capabilities import ACTIONS


def group_features() -> GroupFeaturesReply:
    """Return the answer to a request for group features."""
    actions = sum(1 << action for action in ACTIONS)
    return GroupFeaturesReply(
        types=sum(1 << kind for kind in OFPGT),
        capabilities=int(
            OFPGFC.SELECT_WEIGHT | OFPGFC.SELECT_LIVENESS | OFPGFC.CHAINING | OFPGFC.CHAINING_CHECKS
        ),
        max_all=MAX_GROUPS,
        max_select=MAX_GROUPS,
        max_indirect=MAX_GROUPS,
        max_ff=MAX_GROUPS,
        actions_all=actions,
        actions_select=actions,
        actions_indirect=actions,
        actions_ff=actions,
    )
