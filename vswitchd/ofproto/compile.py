"""OpenFlow matches, actions and instructions compiled into what the datapath takes.

`Program` is the compiled form of the instructions of a flow entry. Equal instructions give the same object
(flow tables of a million entries have few different ones). Only what does not depend on the state of the
switch is refused here; action_checks.py does the rest. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import actions10 as act10
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto.constants import OFPIT, OFPP, OFPVID_PRESENT
from vswitchd.ofproto.errors import OFPBAC, OFPBIC, OFPBMC, OFError
from vswitchd.ofproto.fields import BY_NAME, ETH_VLAN, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vswitchd.ofproto.match_shape import Shape

MAX_ACTIONS = 64
"""Actions of one list: what a rule of the datapath may carry."""

_SAME = (
    "in_port", "metadata", "eth_dst", "eth_src", "eth_type", "vlan_vid", "vlan_pcp", "ip_dscp", "ip_ecn",
    "ip_proto",
    "ipv4_src", "ipv4_dst", "arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ipv6_src", "ipv6_dst",
    "ipv6_flabel", "ipv6_exthdr",
    "mpls_label", "mpls_tc", "mpls_bos", "pbb_isid", "tunnel_id",
    "tcp_flags",
)  # fmt: skip
# OpenFlow field -> field of VS_KEY_FIELDS. All our ports are physical, so in_phy_port is in_port (7.2.3.9); a
# match that says otherwise takes nothing: see dp_match.
KEY_FIELD: dict[Field, str] = {
    **{BY_NAME[name]: name.upper() for name in _SAME},
    **{
        BY_NAME[f"{proto}_{end}"]: f"TP_{end.upper()}"
        for proto in ("tcp", "udp", "sctp")
        for end in ("src", "dst")
    },
    **{BY_NAME[f"icmpv{v}_{part}"]: f"ICMP_{part.upper()}" for v in (4, 6) for part in ("type", "code")},
    BY_NAME["ipv6_nd_target"]: "ND_TARGET",
    BY_NAME["ipv6_nd_sll"]: "ND_SLL",
    BY_NAME["ipv6_nd_tll"]: "ND_TLL",
    BY_NAME["nw_ttl"]: "IP_TTL",
    BY_NAME["in_phy_port"]: "BRIDGE",
}
_NEVER = ("BRIDGE", 0xFFFF, 0xFFFF)  # no bridge has this index
_NOT_SETTABLE = frozenset(
    {"in_port", "in_phy_port", "metadata", "eth_type", "ip_proto", "tcp_flags", "ipv6_exthdr"}
)


def compile_shape(shape: Shape) -> tuple[tuple[str, int, int, int], ...]:
    """Return (key field, mask, shift, bits) of each field of a shape; OFError BAD_FIELD."""
    found = []
    for place in shape.places:
        key = KEY_FIELD.get(place.field)
        if key is None:
            raise OFError(OFPBMC.BAD_FIELD, f"{place.field.name} is not supported")
        found.append((key, place.mask, place.shift, place.field.bits))
    return tuple(found)


def dp_match(fields: tuple[tuple[str, int, int, int], ...], packed: int) -> tuple[tuple[str, int, int], ...]:
    """Return the match of a rule from `compile_shape()` and the packed values."""
    found = tuple([(key, packed >> shift & ((1 << bits) - 1), mask) for key, mask, shift, bits in fields])
    if len(found) > 1 and found[1][0] == "BRIDGE":  # in_phy_port is always right behind in_port
        same = found[0][1] == found[1][1]
        return (found[0], *found[2:]) if same else (found[0], _NEVER, *found[2:])
    return found


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Program:
    """Compiled instructions. `outputs` and `groups` are what the out_port and out_group filters look at."""

    instructions: tuple[ins.Instruction, ...]
    apply: tuple[dp.Action, ...] = ()
    write: tuple[dp.Action, ...] = ()
    clear: bool = False
    metadata: tuple[int, int] | None = None
    goto: int | None = None
    meter: int | None = None
    outputs: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    inconsistent: bool = False
    """Has an action that asks something of the packet: check it against the match."""

    @property
    def whole(self) -> Program:
        """Itself: what `Rewritten.whole` is for entries whose program is one."""
        return self

    @property
    def uses(self) -> bool:
        """Whether it needs a group or a meter."""
        return bool(self.groups) or self.meter is not None


_PROGRAMS: WeakValueDictionary[tuple[Any, ...], Program] = WeakValueDictionary()


def compile_instructions(instructions: tuple[ins.Instruction, ...], *, table_miss: bool = False) -> Program:
    """Compile instructions; OFError of type BAD_INSTRUCTION or BAD_ACTION.

    `table_miss`: of the table-miss entry, whose outputs to the controller have the reason OFPR_NO_MATCH
    (5.4).
    """
    key = (instructions, table_miss)
    program = _PROGRAMS.get(key)
    if program is None:
        program = _PROGRAMS[key] = _compile(instructions, table_miss=table_miss)
    return program


def _compile(instructions: tuple[ins.Instruction, ...], *, table_miss: bool) -> Program:
    reason = dp.PUNT_NO_MATCH if table_miss else dp.PUNT_ACTION
    found: dict[str, Any] = {}
    lists: list[tuple[act.Action, ...]] = []
    for item in instructions:
        if isinstance(item, ins.ApplyActions):
            found["apply"] = compile_actions(item.actions, reason)
            found["inconsistent"] = any(isinstance(a, _ASKING) for a in item.actions)
            lists.append(item.actions)
        elif isinstance(item, ins.WriteActions):
            found["write"] = compile_actions(item.actions, reason)
            lists.append(item.actions)
        elif isinstance(item, ins.ClearActions):
            found["clear"] = True
        elif isinstance(item, ins.WriteMetadata):
            found["metadata"] = (item.metadata & item.mask, item.mask)
        elif isinstance(item, ins.GotoTable):
            found["goto"] = item.table_id
        elif isinstance(item, ins.Meter):
            found["meter"] = item.meter_id  # flow_store.py makes the action: it depends on the meter
        elif isinstance(item, ins.ExperimenterInstruction):
            raise OFError(OFPBIC.BAD_EXPERIMENTER, f"instruction of experimenter {item.experimenter:#x}")
        else:
            raise OFError(OFPBIC.UNSUP_INST, f"{item.__class__.__name__} is not supported")
    return Program(
        instructions,
        outputs=outputs(_flat(lists)),
        groups=frozenset(a.group_id for a in _flat(lists) if isinstance(a, act.Group)),
        **found,
    )


def _flat(lists: list[tuple[act.Action, ...]]) -> Iterator[act.Action]:
    for actions in lists:
        yield from actions


def compile_actions(actions: tuple[act.Action, ...], reason: int | None = None) -> tuple[dp.Action, ...]:
    """Compile actions; OFError of type BAD_ACTION. `reason`: of outputs to the controller."""
    if len(actions) > MAX_ACTIONS:
        raise OFError(OFPBAC.TOO_MANY, f"{len(actions)} actions, at most {MAX_ACTIONS}")
    why = dp.PUNT_ACTION if reason is None else reason
    found: list[dp.Action] = []
    for action in actions:
        several = _LENIENT.get(action.__class__)
        if several is None:
            found.append(_action(action, why))
        else:
            found += several(action)
    if len(found) > MAX_ACTIONS:
        raise OFError(OFPBAC.TOO_MANY, f"{len(actions)} actions are {len(found)} of the datapath")
    return tuple(found)


def outputs(actions: Iterable[act.Action]) -> frozenset[int]:
    """Return the ports that actions send to."""
    return frozenset(a.port for a in actions if isinstance(a, act.Output | act10.Enqueue))


def _action(action: act.Action, reason: int) -> dp.Action:
    if isinstance(action, act.Output):
        if action.port == OFPP.CONTROLLER:
            return dp.output(action.port, action.max_len, reason)
        return dp.output(action.port)
    maker = _MAKERS.get(action.__class__)
    if maker is None:
        if isinstance(action, act.ExperimenterAction):
            raise OFError(OFPBAC.BAD_EXPERIMENTER, f"action of experimenter {action.experimenter:#x}")
        raise OFError(OFPBAC.BAD_TYPE, f"{action.__class__.__name__} is not supported")
    return maker(action)


def _set_field(action: act.SetField) -> dp.Action:
    row = action.field
    key = KEY_FIELD.get(row)
    if key is None or row.name in _NOT_SETTABLE:
        raise OFError(OFPBAC.BAD_SET_TYPE, f"{row.name} cannot be set")
    if row.name == "vlan_vid" and not action.value & 0x1000:
        raise OFError(OFPBAC.BAD_SET_ARGUMENT, "vlan_vid without OFPVID_PRESENT")
    if row.name == "nw_ttl":
        return dp.set_ttl(action.value)
    protos = dict(row.prereqs).get("ip_proto", ())
    return dp.set_field(key, action.value, action.mask, proto=protos[0] if protos else 0)


_MAKERS: dict[type[act.Action], Callable[[Any], dp.Action]] = {
    act.Group: lambda a: dp.group(a.group_id),
    act.SetField: _set_field,
    act.PushVlan: lambda a: dp.push_vlan(a.ethertype),
    act.PopVlan: lambda _a: dp.pop_vlan(),
    act.PushMpls: lambda a: dp.push_mpls(a.ethertype),
    act.PopMpls: lambda a: dp.pop_mpls(a.ethertype),
    act.PushPbb: lambda a: dp.push_pbb(a.ethertype),
    act.PopPbb: lambda _a: dp.pop_pbb(),
    act.SetMplsTtl: lambda a: dp.set_mpls_ttl(a.ttl),
    act.DecMplsTtl: lambda _a: dp.dec_mpls_ttl(),
    act.CopyTtlOut: lambda _a: dp.copy_ttl_out(),
    act.CopyTtlIn: lambda _a: dp.copy_ttl_in(),
    act.SetQueue: lambda a: dp.set_queue(a.queue_id),
    act.SetNwTtl: lambda a: dp.set_ttl(a.ttl),
    act.DecNwTtl: lambda _a: dp.dec_ttl(),
}


def _set(key: str, value: int) -> dp.Action:
    return dp.lenient(dp.set_field(key, value))


_PUSH_IF_UNTAGGED = dp.lenient(dp.push_vlan(ETH_VLAN))
# OpenFlow 1.0: what a packet without the header does not mind. After enqueue, outputs use no queue again.
_LENIENT: dict[type[act.Action], Callable[[Any], Iterable[dp.Action]]] = {
    act10.SetVlanVid: lambda a: (_PUSH_IF_UNTAGGED, _set("VLAN_VID", OFPVID_PRESENT | a.vlan_vid)),
    act10.SetVlanPcp: lambda a: (_PUSH_IF_UNTAGGED, _set("VLAN_PCP", a.vlan_pcp)),
    act10.StripVlan: lambda _a: (dp.lenient(dp.pop_vlan()),),
    act10.SetDlSrc: lambda a: (_set("ETH_SRC", a.dl_addr),),
    act10.SetDlDst: lambda a: (_set("ETH_DST", a.dl_addr),),
    act10.SetNwSrc: lambda a: (_set("IPV4_SRC", a.nw_addr),),
    act10.SetNwDst: lambda a: (_set("IPV4_DST", a.nw_addr),),
    act10.SetNwTos: lambda a: (_set("IP_DSCP", a.nw_tos >> 2),),
    act10.SetTpSrc: lambda a: (_set("TP_SRC", a.tp_port),),
    act10.SetTpDst: lambda a: (_set("TP_DST", a.tp_port),),
    act10.Enqueue: lambda a: (dp.set_queue(a.queue_id), dp.output(a.port), dp.set_queue(0)),
}
_ASKING = (
    act.SetField, act.PopVlan, act.PopMpls, act.PopPbb, act.SetMplsTtl, act.DecMplsTtl, act.SetNwTtl,
    act.DecNwTtl,
)  # fmt: skip

SUPPORTED_ACTIONS: tuple[type[act.Action], ...] = (act.Output, *_MAKERS)
SUPPORTED_INSTRUCTIONS = (
    OFPIT.GOTO_TABLE, OFPIT.WRITE_METADATA, OFPIT.WRITE_ACTIONS, OFPIT.APPLY_ACTIONS, OFPIT.CLEAR_ACTIONS,
    OFPIT.METER,
)  # fmt: skip
SETTABLE: tuple[Field, ...] = tuple(f for f in KEY_FIELD if f.settable and f.name not in _NOT_SETTABLE)
