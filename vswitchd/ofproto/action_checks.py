"""What the switch's state and a flow's match allow an action list to be: ports, groups, prerequisites.

As in Open vSwitch, an output to a port that does not exist yet is allowed (it may come); a number that no
port can ever have is not. Set-field, pop-VLAN and the TTL actions need their header: the match, or an action
before, must say that it is there, else OFPBAC_MATCH_INCONSISTENT. An action set is not checked so: other
tables add to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto.constants import OFPP, OFPVID_PRESENT
from vswitchd.ofproto.errors import OFPBAC, OFError
from vswitchd.ofproto.fields import ETH_IPV4, ETH_IPV6, Field

if TYPE_CHECKING:
    from collections.abc import Container

    from vswitchd.ofproto.oxm import Match

MAX_PORT = 0xFEFF
"""The highest number that we give to a port (as Open vSwitch)."""

_FLOW_PORTS = frozenset({OFPP.IN_PORT, OFPP.NORMAL, OFPP.FLOOD, OFPP.ALL, OFPP.CONTROLLER, OFPP.LOCAL})
_IP = (ETH_IPV4, ETH_IPV6)


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
    known = {e.field.name: e.value for e in match if e.mask is None}
    vid = match.get("vlan_vid")
    tagged = vid is not None and bool(vid.value & OFPVID_PRESENT)
    under = False  # whether a tag may be below the outermost: we then know nothing
    for action in actions:
        if isinstance(action, act.PushVlan):
            under, tagged = tagged, True
        elif isinstance(action, act.PopVlan):
            if not tagged:
                raise _inconsistent("pop_vlan on a packet that need not have a tag")
            tagged = under
        elif isinstance(action, act.DecNwTtl | act.SetNwTtl):
            if known.get("eth_type") not in _IP:
                raise _inconsistent("a TTL action on a packet that need not be IP")
        elif isinstance(action, act.SetField):
            _check_set(action.field, known, tagged=tagged)


def _check_set(row: Field, known: dict[str, int], *, tagged: bool) -> None:
    if row.name == "vlan_vid" and not tagged:
        raise _inconsistent("set_field of vlan_vid on a packet that need not have a tag")
    for name, allowed in row.prereqs:
        holds = tagged if name == "vlan_vid" else known.get(name) in allowed
        if not holds:
            raise _inconsistent(f"set_field of {row.name} needs {name}")


def _inconsistent(detail: str) -> OFError:
    return OFError(OFPBAC.MATCH_INCONSISTENT, detail)
