"""What matches and actions may be: the oracle's view of 6.4, 7.2.3 and 7.2.5, apart from what the tables hold."""

from __future__ import annotations

from tests.fakes import oracle_model as o

MAX_PORT = 0xFEFF
RESERVED = (o.IN_PORT, o.NORMAL, o.FLOOD, o.ALL, o.CONTROLLER, o.LOCAL)


def match_faults(match: o.Match) -> list[str]:
    """Errors of type BAD_MATCH. Prerequisites stand before what needs them: the order of the dictionary counts."""
    faults = []
    for name, (value, mask) in match.items():
        bits, maskable, _, prereqs = o.FIELDS[name]
        full = (1 << bits) - 1
        if mask != full and not maskable:
            faults.append("OFPBMC_BAD_MASK")
        if value & ~mask:
            faults.append("OFPBMC_BAD_WILDCARDS")
        if value & ~full:
            faults.append("OFPBMC_BAD_VALUE")
        for other, allowed in prereqs:
            if not _given(match, name, other, allowed):
                faults.append("OFPBMC_BAD_PREREQ")
    return faults


def _given(match: o.Match, name: str, other: str, allowed: tuple[int, ...]) -> bool:
    names = list(match)
    if other not in match or names.index(other) > names.index(name):
        return False
    value, mask = match[other]
    if other == "vlan_vid":
        return bool(value & mask & 0x1000)
    return not allowed or (value in allowed and mask == o.ones(other))


def action_faults(s, actions, *, groups=None, table: bool = False) -> list[str]:
    """Errors of type BAD_ACTION, by what the switch has."""
    faults = []
    known = s.groups if groups is None else groups
    for action in actions:
        kind = action[0]
        if kind == "output":
            port = action[1]
            fine = 1 <= port <= MAX_PORT or port in RESERVED or (table and port == o.TABLE)
            faults += [] if fine else ["OFPBAC_BAD_OUT_PORT"]
        elif kind == "group" and action[1] not in known:
            faults.append("OFPBAC_BAD_OUT_GROUP")
        elif kind == "set_field":
            bits, _, settable, _ = o.FIELDS[action[1]]
            if not settable:
                faults.append("OFPBAC_BAD_SET_TYPE")
            elif action[2] >> bits or (action[1] == "vlan_vid" and not action[2] & 0x1000):
                faults.append("OFPBAC_BAD_SET_ARGUMENT")
        elif kind in ("push_vlan", "push_mpls", "push_pbb"):
            right = {"push_vlan": (0x8100, 0x88A8), "push_mpls": (0x8847, 0x8848), "push_pbb": (0x88E7,)}
            faults += [] if action[1] in right[kind] else ["OFPBAC_BAD_ARGUMENT"]
    return faults


HEADERS = (
    "push_mpls",
    "pop_mpls",
    "push_pbb",
    "pop_pbb",
    "copy_ttl_in",
    "copy_ttl_out",
    "dec_mpls_ttl",
    "set_mpls_ttl",
)


def inconsistent(match: o.Match, actions) -> bool | None:
    """Does an action ask for a header that the match does not promise (OFPBAC_MATCH_INCONSISTENT)? None: it is left open,
    because headers came or went before."""
    known = {n: v for n, (v, m) in match.items() if m == o.ones(n)}
    vid = match.get("vlan_vid", (0, 0))
    tagged = bool(vid[0] & vid[1] & 0x1000)
    under: bool | None = False if not tagged else None
    open_point = False
    for action in actions:
        kind = action[0]
        bad: bool | None = False
        if kind == "push_vlan":
            under, tagged = tagged or under, True
        elif kind == "pop_vlan":
            bad = not tagged
            tagged = bool(under)
            open_point = open_point or under is None
            under = None
        elif kind in ("dec_nw_ttl", "set_nw_ttl"):
            bad = known.get("eth_type") not in (0x0800, 0x86DD)
        elif kind == "set_field":
            bad = _set_is_bad(action[1], known, tagged=tagged)
            if action[1] == "icmpv6_type":
                known[action[1]] = action[2]
        elif kind in HEADERS:
            need = {"copy_ttl_in": None, "copy_ttl_out": None, "push_mpls": None, "push_pbb": None}
            wanted = need.get(kind, (0x88E7,) if kind == "pop_pbb" else (0x8847, 0x8848))
            bad = wanted is not None and known.get("eth_type") not in wanted
            if kind not in ("dec_mpls_ttl", "set_mpls_ttl"):
                open_point = True
        if bad and not open_point:
            return True
        if bad:
            return None
    return None if open_point else False


def _set_is_bad(name: str, known: dict[str, int], *, tagged: bool) -> bool:
    if name == "vlan_vid":
        return not tagged
    return any(
        not tagged if other == "vlan_vid" else known.get(other) not in allowed
        for other, allowed in o.FIELDS[name][3]
    )
