"""Flow entries, actions and instructions as text, in ovs-ofctl 3.1's words and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto import actions as a
from vswitchd.ofproto import actions10 as a10
from vswitchd.ofproto import instructions as i
from vswitchd.ofproto.constants import OFP_DEFAULT_PRIORITY, OFPP, U64_MAX
from vswitchd.ofproto.fields import Form
from vswitchd.ofproto.flowmatch import format_match
from vswitchd.ofproto.flowtext import FLAG_WORDS
from vswitchd.ofproto.flowvalues import address_text, mac_text, port_text, value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vswitchd.ofproto.stats import FlowStats

# Where Open vSwitch's name of a field in set_field is not the specification's.
_SET_NAMES = {
    "ipv4_src": "ip_src",
    "ipv4_dst": "ip_dst",
    "ip_ecn": "nw_ecn",
    "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code",
    "ipv6_flabel": "ipv6_label",
    "ipv6_nd_target": "nd_target",
    "ipv6_nd_sll": "nd_sll",
    "ipv6_nd_tll": "nd_tll",
    "tunnel_id": "tun_id",
}
_WORDS: dict[type[a.Action], str] = {
    a.CopyTtlOut: "copy_ttl_out",
    a.CopyTtlIn: "copy_ttl_in",
    a.DecMplsTtl: "dec_mpls_ttl",
    a.PopVlan: "pop_vlan",
    a.DecNwTtl: "dec_ttl",
    a.PopPbb: "pop_pbb",
    a10.StripVlan: "strip_vlan",
}
_FORMATS: dict[type[a.Action], Callable[..., str]] = {
    a.SetMplsTtl: lambda action: f"set_mpls_ttl({action.ttl})",
    a.PushVlan: lambda action: f"push_vlan:{action.ethertype:#06x}",
    a.PushMpls: lambda action: f"push_mpls:{action.ethertype:#06x}",
    a.PopMpls: lambda action: f"pop_mpls:{action.ethertype:#06x}",
    a.PushPbb: lambda action: f"push_pbb:{action.ethertype:#06x}",
    a.SetQueue: lambda action: f"set_queue:{action.queue_id}",
    a.Group: lambda action: f"group:{action.group_id}",
    a.SetNwTtl: lambda action: f"mod_nw_ttl:{action.ttl}",
    a10.SetVlanVid: lambda action: f"mod_vlan_vid:{action.vlan_vid}",
    a10.SetVlanPcp: lambda action: f"mod_vlan_pcp:{action.vlan_pcp}",
    a10.SetDlSrc: lambda action: f"mod_dl_src:{mac_text(action.dl_addr)}",
    a10.SetDlDst: lambda action: f"mod_dl_dst:{mac_text(action.dl_addr)}",
    a10.SetNwSrc: lambda action: f"mod_nw_src:{address_text(action.nw_addr, 4)}",
    a10.SetNwDst: lambda action: f"mod_nw_dst:{address_text(action.nw_addr, 4)}",
    a10.SetNwTos: lambda action: f"mod_nw_tos:{action.nw_tos}",
    a10.SetTpSrc: lambda action: f"mod_tp_src:{action.tp_port}",
    a10.SetTpDst: lambda action: f"mod_tp_dst:{action.tp_port}",
    a.ExperimenterAction: lambda action: f"experimenter:{action.experimenter:#x}({action.data.hex()})",
}


def format_action(action: a.Action, names: Mapping[int, str] | None = None) -> str:
    """Write one action."""
    if isinstance(action, a.Output):
        if action.port == OFPP.CONTROLLER:
            return f"CONTROLLER:{action.max_len}"
        reserved = action.port >= OFPP.MAX and not (names and action.port in names)
        text = port_text(action.port, names)
        return text if reserved else f"output:{text}"
    if isinstance(action, a10.Enqueue):
        return f"enqueue:{port_text(action.port, names)}:{action.queue_id}"
    if isinstance(action, a.SetField):
        row = action.field
        value = f"{action.value:#x}" if row.form is Form.HEX else value_text(row, action.value)
        if row.name in ("vlan_vid", "eth_type"):
            value = str(action.value)
        mask = "" if action.mask is None else f"/{action.mask:#x}"
        return f"set_field:{value}{mask}->{_SET_NAMES.get(row.name, row.name)}"
    return _WORDS.get(action.__class__) or _FORMATS[action.__class__](action)


def format_actions(actions: Iterable[a.Action], names: Mapping[int, str] | None = None) -> str:
    """Write a list of actions: "set_queue:3,output:2", or "drop" for none."""
    return ",".join([format_action(action, names) for action in actions]) or "drop"


def format_instructions(instructions: Iterable[i.Instruction], names: Mapping[int, str] | None = None) -> str:
    """Write what stands after `actions=` in a flow, in the order of execution."""
    by_kind = {instruction.__class__: instruction for instruction in instructions}
    parts = []
    for kind in _INSTRUCTION_ORDER:
        instruction = by_kind.get(kind)
        if instruction is not None:
            text = _instruction(instruction, names)
            if text:
                parts.append(text)
    return ",".join(parts) or "drop"


_INSTRUCTION_ORDER = (
    i.Meter,
    i.ApplyActions,
    i.ClearActions,
    i.WriteActions,
    i.WriteMetadata,
    i.GotoTable,
    i.ExperimenterInstruction,
)


def _instruction(instruction: i.Instruction, names: Mapping[int, str] | None) -> str:
    match instruction:
        case i.Meter(meter_id):
            return f"meter:{meter_id}"
        case i.ApplyActions(actions):
            return format_actions(actions, names) if actions else ""
        case i.WriteActions(actions):
            return f"write_actions({format_actions(actions, names)})"
        case i.WriteMetadata(value, mask):
            return f"write_metadata:{value:#x}" + ("" if mask == U64_MAX else f"/{mask:#x}")
        case i.GotoTable(table_id):
            return f"goto_table:{table_id}"
        case i.ExperimenterInstruction(experimenter, data):
            return f"experimenter:{experimenter:#x}({data.hex()})"
        case _:
            return "clear_actions"


def format_flags(flags: int) -> str:
    """Write the flags of a flow, each with a blank after it."""
    return "".join(f"{word} " for word, flag in FLAG_WORDS.items() if flags & flag)


def format_rule(flow: FlowStats, names: Mapping[int, str] | None = None) -> str:
    """Write priority (unless the default) and match, "priority=10,tcp,tp_dst=80"."""
    match = format_match(flow.match, names)
    if flow.priority == OFP_DEFAULT_PRIORITY:
        return match
    return f"priority={flow.priority}" + (f",{match}" if match else "")


def format_flow(flow: FlowStats, names: Mapping[int, str] | None = None, *, stats: bool = True) -> str:
    """Write a flow entry as `dump-flows` does, without the leading blank; `stats` is its --no-stats."""
    parts = []
    if stats or flow.cookie:
        parts.append(f"cookie={flow.cookie:#x}")
    if stats:
        parts.append(f"duration={duration_text(flow.duration_sec, flow.duration_nsec)}")
    if stats or flow.table_id:
        parts.append(f"table={flow.table_id}")
    if stats:
        parts.append(f"n_packets={_counter(flow.packet_count)}")
        parts.append(f"n_bytes={_counter(flow.byte_count)}")
    if flow.idle_timeout:
        parts.append(f"idle_timeout={flow.idle_timeout}")
    if flow.hard_timeout:
        parts.append(f"hard_timeout={flow.hard_timeout}")
    head = "".join(f"{part}, " for part in parts) + format_flags(flow.flags)
    rule = format_rule(flow, names)
    return f"{head}{rule}{' ' if rule else ''}actions={format_instructions(flow.instructions, names)}"


def _counter(value: int) -> str:
    return "?" if value == U64_MAX else str(value)


def duration_text(sec: int, nsec: int) -> str:
    """Write a duration as ovs-ofctl does: "12s", "12.500s" for whole milliseconds, else as many digits as it takes."""
    if nsec == 0:
        return f"{sec}s"
    msec, rest = divmod(nsec, 1_000_000)
    return f"{sec}.{nsec:09d}".rstrip("0") + "s" if rest else f"{sec}.{msec:03d}s"
