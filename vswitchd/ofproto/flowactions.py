"""Actions in flow text: Open vSwitch's words to actions and instructions, one row of a table for each word.

What follows the word (`output:2`, `dec_ttl`, `controller(max_len=9)`) is the argument. A row's function gets
it and the `Scope`: ports' names, what the match says, whether the packet has a VLAN tag by now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from vswitchd.ofproto import actions as a
from vswitchd.ofproto import instructions as i
from vswitchd.ofproto.constants import OFPCML_NO_BUFFER, OFPG, OFPM, OFPP, OFPVID_PRESENT, U64_MAX
from vswitchd.ofproto.fields import (
    BY_NAME,
    ETH_MPLS,
    ETH_MPLS_MC,
    ETH_QINQ,
    ETH_VLAN,
    IP_SCTP,
    IP_TCP,
    IP_UDP,
)
from vswitchd.ofproto.flowmatch import KEYWORDS
from vswitchd.ofproto.flowvalues import PORT_WORDS, FlowTextError, number, parse_value, port
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.oxm import Match


@dataclass(slots=True)
class Scope:
    """What the actions of one flow can look at."""

    ports: Mapping[str, int]
    match: Match
    tagged: bool = False

    def proto(self) -> int | None:
        """Return the match's IP protocol."""
        found = self.match.get("ip_proto")
        return found.value if found else None


Made = Iterable[a.Action | i.Instruction]
Maker = Callable[[str, str, Scope], Made]


def _output(word: str, arg: str, scope: Scope) -> Made:
    if "=" in arg:
        raise FlowTextError(f"{word}({arg}): truncated output is Open vSwitch's own, not supported yet")
    number_ = port(arg, word, scope.ports)
    if number_ == OFPP.ANY or OFPP.MAX <= number_ < OFPP.IN_PORT:
        raise FlowTextError(f"{word}: {arg} is no port to send to")
    yield a.Output(number_, OFPCML_NO_BUFFER if number_ == OFPP.CONTROLLER else 0)


def _enqueue(word: str, arg: str, scope: Scope) -> Made:
    """Say OpenFlow 1.0's action with those of 1.3; what follows uses no queue again (queue 0)."""
    where, _, queue = arg.replace(",", ":").rpartition(":")
    if not where:
        raise FlowTextError(f'{word}: "{arg}" is not PORT:QUEUE')
    yield a.SetQueue(number(queue.strip(), word, 32))
    yield a.Output(port(where.strip(), word, scope.ports), 0)
    yield a.SetQueue(0)


def _mod_nw_tos(word: str, arg: str, _scope: Scope) -> Made:
    value = number(arg, word, 8)
    if value & 3:
        raise FlowTextError(f"{word}: {arg} is not a valid TOS: its lower two bits are ECN's")
    yield a.SetField(BY_NAME["ip_dscp"], value >> 2)


def _controller(word: str, arg: str, _scope: Scope) -> Made:
    max_len = OFPCML_NO_BUFFER
    if arg and arg.isdigit():
        max_len = number(arg, word, 16)
    else:
        for key, value in split_words(arg):
            if key == "max_len":
                max_len = number(value or "", "max_len", 16)
            elif (key, value) not in (("reason", "action"), ("id", "0")):
                raise FlowTextError(f"{word}: {key}={value} is Open vSwitch's own, not supported yet")
    yield a.Output(OFPP.CONTROLLER, max_len)


def _set_field(word: str, arg: str, scope: Scope) -> Made:
    value, arrow, name = arg.partition("->")
    if not arrow:
        raise FlowTextError(f'{word}: "{arg}" is not VALUE->FIELD')
    name = name.strip()
    row = _SET_NAMES.get(name)
    if row is None:
        raise FlowTextError(f'{word}: no field "{name}"')
    if not row.settable:
        raise FlowTextError(f"{word}: {name} cannot be set")
    parsed, mask = parse_value(row, value.strip(), word, scope.ports)
    if mask is not None and mask != row.all_ones:
        raise FlowTextError(f"{word}: a mask needs OpenFlow 1.5, not supported yet")
    yield a.SetField(row, parsed)


_SET_NAMES = KEYWORDS | {
    "nw_src": BY_NAME["ipv4_src"],
    "nw_dst": BY_NAME["ipv4_dst"],
    "tp_src": BY_NAME["tcp_src"],
    "tp_dst": BY_NAME["tcp_dst"],
    "icmp_type": BY_NAME["icmpv4_type"],
    "icmp_code": BY_NAME["icmpv4_code"],
}


def _mod(name: str, *, bits: int = 0) -> Maker:
    """Make the maker of an OpenFlow 1.0 word that sets a field."""
    row = BY_NAME[name]

    def make(word: str, arg: str, scope: Scope) -> Made:
        value = number(arg, word, bits) if bits else parse_value(row, arg, word, scope.ports)[0]
        yield a.SetField(row, value)

    return make


def _mod_tp(side: str) -> Maker:
    def make(word: str, arg: str, scope: Scope) -> Made:
        name = {IP_TCP: "tcp_", IP_UDP: "udp_", IP_SCTP: "sctp_"}.get(scope.proto() or 0)
        if name is None:
            raise FlowTextError(f"{word}: the match needs tcp, udp or sctp")
        yield a.SetField(BY_NAME[name + side], number(arg, word, 16))

    return make


def _mod_vlan(name: str, bits: int, present: int, *, push: bool) -> Maker:
    """OpenFlow 1.0 adds a tag where there is none: 1.3 has to push it first."""

    def make(word: str, arg: str, scope: Scope) -> Made:
        value = number(arg, word, bits)
        if not scope.tagged:
            if not push:
                raise FlowTextError(f"{word}: the match needs a VLAN tag, or push_vlan comes before")
            scope.tagged = True
            yield a.PushVlan(ETH_VLAN)
        yield a.SetField(BY_NAME[name], value | present)

    return make


def _push_vlan(word: str, arg: str, scope: Scope) -> Made:
    scope.tagged = True
    yield a.PushVlan(_ethertype(word, arg, ETH_VLAN, ETH_QINQ))


def _pop_vlan(word: str, arg: str, scope: Scope) -> Made:
    _nothing(word, arg)
    scope.tagged = False
    yield a.PopVlan()


def _ethertype(word: str, arg: str, *allowed: int) -> int:
    value = number(arg, word, 16)
    if allowed and value not in allowed:
        raise FlowTextError(f"{word}: {arg} is none of {', '.join(f'{v:#06x}' for v in allowed)}")
    return value


def _push(cls: Callable[[int], a.Action], *allowed: int) -> Maker:
    return lambda word, arg, _scope: (cls(_ethertype(word, arg, *allowed)),)


def _numbered(cls: Callable[[int], a.Action | i.Instruction], bits: int, top: int | None = None) -> Maker:
    def make(word: str, arg: str, _scope: Scope) -> Made:
        value = number(arg, word, bits)
        if top is not None and value > top:
            raise FlowTextError(f"{word}: {arg} is above {top:#x}")
        yield cls(value)

    return make


def _nothing(word: str, arg: str) -> None:
    if arg:
        raise FlowTextError(f'{word}: "{arg}" is more than it takes')


def _plain(*made: a.Action | i.Instruction) -> Maker:
    def make(word: str, arg: str, _scope: Scope) -> Made:
        _nothing(word, arg)
        return made

    return make


def _write_metadata(word: str, arg: str, _scope: Scope) -> Made:
    value, slash, mask = arg.partition("/")
    yield i.WriteMetadata(number(value, word, 64), number(mask, word, 64) if slash else U64_MAX)


def _write_actions(_word: str, arg: str, scope: Scope) -> Made:
    made = [action for key, value in split_words(arg) if key != "drop" for action in _make(key, value, scope)]
    for action in made:
        if not isinstance(action, a.Action):
            raise FlowTextError(f"write_actions: {action.__class__.__name__} is an instruction, no action")
    yield i.WriteActions(tuple(action for action in made if isinstance(action, a.Action)))


def _group(word: str, arg: str, _scope: Scope) -> Made:
    group = number(arg, word, 32)
    if group > OFPG.MAX:
        raise FlowTextError(f"{word}: {arg} is above {int(OFPG.MAX):#x}")
    yield a.Group(group)


ACTION_WORDS: dict[str, Maker] = {
    "output": _output,
    "controller": _controller,
    "set_field": _set_field,
    "group": _group,
    "enqueue": _enqueue,
    "set_queue": _numbered(a.SetQueue, 32),
    "push_vlan": _push_vlan,
    "pop_vlan": _pop_vlan,
    "strip_vlan": _pop_vlan,
    "mod_vlan_vid": _mod_vlan("vlan_vid", 12, OFPVID_PRESENT, push=True),
    "mod_vlan_pcp": _mod_vlan("vlan_pcp", 3, 0, push=True),
    "set_vlan_vid": _mod_vlan("vlan_vid", 12, OFPVID_PRESENT, push=False),
    "set_vlan_pcp": _mod_vlan("vlan_pcp", 3, 0, push=False),
    "push_mpls": _push(a.PushMpls, ETH_MPLS, ETH_MPLS_MC),
    "pop_mpls": _push(a.PopMpls),
    "push_pbb": _push(a.PushPbb, 0x88E7),
    "pop_pbb": _plain(a.PopPbb()),
    "mod_dl_src": _mod("eth_src"),
    "mod_dl_dst": _mod("eth_dst"),
    "mod_nw_src": _mod("ipv4_src"),
    "mod_nw_dst": _mod("ipv4_dst"),
    "mod_nw_tos": _mod_nw_tos,
    "mod_nw_ecn": _mod("ip_ecn"),
    "mod_nw_ttl": _numbered(a.SetNwTtl, 8),
    "mod_tp_src": _mod_tp("src"),
    "mod_tp_dst": _mod_tp("dst"),
    "set_tunnel": _mod("tunnel_id", bits=64),
    "set_tunnel64": _mod("tunnel_id", bits=64),
    "set_mpls_ttl": _numbered(a.SetMplsTtl, 8),
    "set_mpls_label": _mod("mpls_label"),
    "set_mpls_tc": _mod("mpls_tc"),
    "dec_ttl": _plain(a.DecNwTtl()),
    "dec_mpls_ttl": _plain(a.DecMplsTtl()),
    "copy_ttl_out": _plain(a.CopyTtlOut()),
    "copy_ttl_in": _plain(a.CopyTtlIn()),
    "goto_table": _numbered(i.GotoTable, 8, 0xFE),
    "write_metadata": _write_metadata,
    "write_actions": _write_actions,
    "clear_actions": _plain(i.ClearActions()),
    "meter": _numbered(i.Meter, 32, int(OFPM.MAX)),
}
_LATER = [
    "resubmit",
    "learn",
    "conjunction",
    "note",
    "exit",
    "multipath",
    "bundle",
    "bundle_load",
    "sample",
    "ct",
    "ct_clear",
    "clone",
    "encap",
    "decap",
    "move",
    "load",
    "push",
    "pop",
    "fin_timeout",
    "check_pkt_larger",
    "delete_field",
    "pop_queue",
    "dec_nsh_ttl",
]
# The order of a flow's instructions (5.9), which Open vSwitch demands of its text, too.
_ORDER = (i.Meter, a.Action, i.ClearActions, i.WriteActions, i.WriteMetadata, i.GotoTable)
_ORDER_WORDS = ("meter", "actions", "clear_actions", "write_actions", "write_metadata", "goto_table")


def _make(word: str, value: str | None, scope: Scope) -> Made:
    lower = word.lower()
    arg = value or ""
    maker = ACTION_WORDS.get(lower)
    if maker is not None:
        return maker(lower, arg, scope)
    if lower in _LATER:
        raise FlowTextError(f"{word}: an action of Open vSwitch's own, not supported yet")
    if lower == "apply_actions":
        raise FlowTextError("apply_actions: write its actions as they are, it is what actions= means")
    if value is None and (
        word in scope.ports or lower in PORT_WORDS or word[:1].isdigit() or word[:1] == '"'
    ):
        return _output("output", word, scope)
    raise FlowTextError(f"unknown action {word}")


def parse_instructions(text: str, ports: Mapping[str, int], match: Match) -> tuple[i.Instruction, ...]:
    """Read what follows `actions=`; the match tells what `mod_tp_dst` means and if there is a VLAN tag."""
    words = list(split_words(text))
    if [key.lower() for key, _value in words] == ["drop"]:
        return ()
    vid = match.get("vlan_vid")
    scope = Scope(ports, match, tagged=bool(vid and vid.value & OFPVID_PRESENT))
    made: list[tuple[int, a.Action | i.Instruction]] = []
    for key, value in words:
        if key.lower() == "drop":
            raise FlowTextError("drop: no other action may stand beside it")
        for item in _make(key, value, scope):
            rank = next(n for n, kind in enumerate(_ORDER) if isinstance(item, kind))
            last = made[-1][0] if made else -1
            if rank < last or (rank == last and isinstance(item, i.Instruction)):
                raise FlowTextError(f"{key}: must come once and before {_ORDER_WORDS[last]}")
            made.append((rank, item))
    actions = tuple(item for _rank, item in made if isinstance(item, a.Action))
    out: list[i.Instruction] = [item for _rank, item in made if isinstance(item, i.Instruction)]
    if actions:
        out.insert(1 if out and isinstance(out[0], i.Meter) else 0, i.ApplyActions(actions))
    return tuple(out)


def parse_actions(text: str, ports: Mapping[str, int]) -> tuple[a.Action, ...]:
    """Read a plain list of actions (packet-out, buckets); instructions are refused."""
    found = parse_instructions(text, ports, Match())
    if not found:
        return ()
    if len(found) > 1 or not isinstance(found[0], i.ApplyActions):
        raise FlowTextError(f"{found[-1].__class__.__name__}: only actions may stand here")
    return found[0].actions
