"""What the switch's state and a flow's match allow an action list to be: ports, groups, prerequisites.

As in Open vSwitch, an output to a port that does not exist yet is allowed (it may come); a number that no
port can ever have is not. Set-field, pop and TTL actions need their header: the match, or an action before, must say
that it is there, else OFPBAC_MATCH_INCONSISTENT. An action set is not checked so: other tables add to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto.constants import OFPP, OFPVID_PRESENT
from vswitchd.ofproto.errors import OFPBAC, OFError
from vswitchd.ofproto.fields import (
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_PBB,
    ETH_QINQ,
    ETH_VLAN,
    Field,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from vswitchd.ofproto.oxm import Match

MAX_PORT = 0xFEFF
"""The highest number that we give to a port (as Open vSwitch)."""

_FLOW_PORTS = frozenset({OFPP.IN_PORT, OFPP.NORMAL, OFPP.FLOOD, OFPP.ALL, OFPP.CONTROLLER, OFPP.LOCAL})
_IP = (ETH_IPV4, ETH_IPV6)
_MPLS = (ETH_MPLS, ETH_MPLS_MC)
_TAGS = (ETH_VLAN, ETH_QINQ)


def check_ports(outputs: frozenset[int], *, packet_out: bool = False) -> None:
    """Refuse outputs to numbers that no port can have; OFPP_TABLE is for packet-outs only (4.5)."""
    for port in outputs:
        if not (1 <= port <= MAX_PORT or port in _FLOW_PORTS or (packet_out and port == OFPP.TABLE)):
            raise OFError(OFPBAC.BAD_OUT_PORT, f"output to port {port:#x}")


def check_groups(groups: frozenset[int], known: Container[int]) -> None:
    """Refuse groups that do not exist."""
    for group in groups:
        if group not in known:
            raise OFError(OFPBAC.BAD_OUT_GROUP, f"group {group}")


def check_consistent(match: Match, instructions: tuple[ins.Instruction, ...]) -> None:
    """Check the apply-actions of a flow entry against its match; OFError MATCH_INCONSISTENT."""
    for item in instructions:
        if isinstance(item, ins.ApplyActions):
            check_actions_consistent(match, item.actions)


def check_actions_consistent(match: Match, actions: tuple[act.Action, ...]) -> None:
    """Check one list of actions against what is known of the packet."""
    vid = match.get("vlan_vid")
    tagged = vid is not None and bool(vid.value & OFPVID_PRESENT)
    known = _Known(
        {e.field.name: e.value for e in match if e.mask is None}, [None, True] if tagged else [False]
    )
    for action in actions:
        known.check(action)


class _Known:
    """What a match and the actions so far say of a packet; what a pop uncovers is not known and not refused."""

    def __init__(self, fields: dict[str, int], tags: list[bool | None]) -> None:
        """tags: whether there is one, from the inside out; None where we do not know."""
        self._fields = fields
        self._tags = tags
        self._uncovered = False

    def check(self, action: act.Action) -> None:
        """Refuse an action whose header need not be there; else note what it does."""
        if isinstance(action, act.SetField):
            self._check_set(action.field)
            self._fields[action.field.name] = action.value
        elif isinstance(action, act.PushVlan):
            self._tags.append(True)
        elif isinstance(action, act.PopVlan):
            if self._tags[-1] is False:
                raise _inconsistent("pop_vlan on a packet that need not have a tag")
            self._tags = self._tags[:-1] or [None]
        elif isinstance(action, act.PushMpls | act.PushPbb):
            self._begin(action.ethertype, [False])  # in front of all tags
        elif isinstance(action, act.PopMpls):
            self._need(_MPLS, "pop_mpls")
            self._begin(action.ethertype, [None, True] if action.ethertype in _TAGS else [False])
        elif isinstance(action, act.PopPbb):
            self._need((ETH_PBB,), "pop_pbb")
            self._begin(None, [None])
        elif isinstance(action, act.DecMplsTtl | act.SetMplsTtl):
            self._need(_MPLS, "an action on the TTL of MPLS")
        elif isinstance(action, act.DecNwTtl | act.SetNwTtl):
            self._need(_IP, "an action on the TTL of IP")

    def _begin(self, eth_type: int | None, tags: list[bool | None]) -> None:
        """Another packet begins here: it has this EtherType, None for one that is not known."""
        self._uncovered = eth_type is None or eth_type in _TAGS
        self._fields = {} if eth_type is None or self._uncovered else {"eth_type": eth_type}
        self._tags = tags

    def _need(self, eth_types: tuple[int, ...], what: str) -> None:
        if not self._uncovered and self._fields.get("eth_type") not in eth_types:
            raise _inconsistent(f"{what} on a packet that need not have it")

    def _check_set(self, row: Field) -> None:
        if row.name == "vlan_vid" and self._tags[-1] is False:
            raise _inconsistent("set_field of vlan_vid on a packet that need not have a tag")
        for name, allowed in row.prereqs:
            if name == "vlan_vid":
                holds = self._tags[-1] is not False
            else:
                holds = self._fields.get(name) in allowed or (self._uncovered and name not in self._fields)
            if not holds:
                raise _inconsistent(f"set_field of {row.name} needs {name}")


def _inconsistent(detail: str) -> OFError:
    return OFError(OFPBAC.MATCH_INCONSISTENT, detail)
