"""Flow-mods, group-mods, meter-mods, port-mods and packet-outs in the oracle, and the errors that they deserve (6.4 to 6.7).

All faults of a request are gathered: the switch may name any one of them.
"""

from __future__ import annotations

from tests.fakes import oracle_model as o
from tests.fakes.oracle_checks import action_faults, inconsistent, match_faults

N_TABLES = 254
MAX_PORT = 0xFEFF
DELETED, GROUP_DELETED = 2, 3


def carry_out(s, mod: o.Request, verdict: str | None) -> None:
    """Do it. Raises Refused, and nothing is changed."""
    kind = type(mod)
    if kind is o.FlowMod:
        flow_mod(s, mod, verdict)
    elif kind is o.GroupMod:
        group_mod(s, mod, verdict)
    elif kind is o.MeterMod:
        meter_mod(s, mod)
    elif kind is o.PortMod:
        port_mod(s, mod)
    else:
        packet_out(s, mod)


def refuse(faults: list[str]) -> None:
    if faults:
        raise o.Refused(*faults)


# ---- flows (6.4)


def overlap(a: o.Match, b: o.Match) -> bool:
    """Could one packet match both?"""
    return all((v ^ b[n][0]) & m & b[n][1] == 0 for n, (v, m) in a.items() if n in b)


def within(wide: o.Match, match: o.Match) -> bool:
    """Is `match` equal to or more specific than `wide`?"""
    return all(
        n in match and m & ~match[n][1] == 0 and (v ^ match[n][0]) & m == 0 for n, (v, m) in wide.items() if m
    )


def flow_mod(s, mod: o.FlowMod, verdict: str | None) -> None:
    faults = match_faults(mod.match)
    deleting = mod.command.startswith("delete")
    if mod.table >= N_TABLES and not (deleting and mod.table == o.ALL_TABLES):
        faults.append("OFPFMFC_BAD_TABLE_ID")
    if deleting:
        refuse(faults)
        for flow in selected(s, mod):
            remove(s, flow, DELETED)
        return
    faults += _instruction_faults(s, mod)
    refuse(faults)  # what follows is about the tables' contents
    if mod.command == "add":
        _add(s, mod, verdict)
        return
    found = selected(s, mod)
    _check_consistent([flow.match for flow in found], mod, verdict)
    for flow in found:
        flow.instructions = mod.instructions
        if mod.flags & o.RESET_COUNTS:
            flow.packets = flow.bytes = 0


def _instruction_faults(s, mod: o.FlowMod) -> list[str]:
    todo = mod.instructions
    faults = []
    if "goto" in todo and not mod.table < todo["goto"] < N_TABLES:
        faults.append("OFPBIC_BAD_TABLE_ID")
    if "meter" in todo and todo["meter"] not in s.meters:
        faults += ["OFPMMFC_UNKNOWN_METER"]
    for part in ("apply", "write"):
        faults += action_faults(s, todo.get(part, ()))
    return faults


def _check_consistent(matches: list[o.Match], mod: o.FlowMod, verdict: str | None) -> None:
    said = [inconsistent(match, mod.instructions.get("apply", ())) for match in matches]
    if True in said:
        raise o.Refused("OFPBAC_MATCH_INCONSISTENT")
    if None in said and verdict == "OFPBAC_MATCH_INCONSISTENT":  # left open: as the switch says
        raise o.Refused(verdict)


def _add(s, mod: o.FlowMod, verdict: str | None) -> None:
    match = {n: (v & m, m) for n, (v, m) in mod.match.items() if m}
    same = [f for f in s.flows if f.table == mod.table and f.priority == mod.priority]
    faults = []
    if mod.flags & o.CHECK_OVERLAP and any(overlap(f.match, match) for f in same):
        faults.append("OFPFMFC_OVERLAP")
    try:
        _check_consistent([match], mod, verdict)
    except o.Refused as refused:
        faults += refused.names
    refuse(faults)
    flow = o.Flow(
        mod.table,
        mod.priority,
        match,
        mod.instructions,
        mod.cookie,
        mod.flags,
        mod.idle,
        mod.hard,
        s.now,
        s.now,
    )
    for old in same:
        if o.plain(old.match) == o.plain(match):
            s.flows.remove(old)
            if not mod.flags & o.RESET_COUNTS:
                flow.packets, flow.bytes = old.counts()
    s.flows.append(flow)


def selected(s, mod: o.FlowMod) -> list[o.Flow]:
    """What a modify or delete means."""
    strict = mod.command.endswith("strict")
    found = []
    for flow in s.flows:
        fits = (
            flow.priority == mod.priority and o.plain(flow.match) == o.plain(mod.match)
            if strict
            else within(mod.match, flow.match)
        )
        if (
            fits
            and mod.table in (flow.table, o.ALL_TABLES)
            and not (flow.cookie ^ mod.cookie) & mod.cookie_mask
        ):
            found.append(flow)
    if mod.command.startswith("modify"):
        return found
    return [
        flow
        for flow in found
        if (mod.out_port == o.ANY or ("output", mod.out_port) in {a[:2] for a in flow.actions()})
        and (mod.out_group == o.GROUP_ANY or ("group", mod.out_group) in flow.actions())
    ]


def remove(s, flow: o.Flow, reason: int) -> None:
    """Take a flow out, and tell it if it asked for that (6.4, 7.4.2)."""
    s.flows.remove(flow)
    if flow.flags & o.SEND_FLOW_REM:
        s.removed.append(
            o.Removed(
                reason,
                flow.table,
                flow.priority,
                flow.cookie,
                flow.idle,
                flow.hard,
                flow.packets,
                flow.bytes,
                int(s.now - flow.created),
                o.plain(flow.match),
            )
        )


# ---- groups (6.7)


def uses(actions) -> set[int]:
    return {a[1] for a in actions if a[0] == "group"}


def reaches(s, start: set[int], goal: int) -> bool:
    """Does a chain of groups lead to `goal`?"""
    seen: set[int] = set()
    todo = set(start)
    while todo:
        number = todo.pop()
        if number == goal:
            return True
        if number in seen or number not in s.groups:
            continue
        seen.add(number)
        for bucket in s.groups[number].buckets:
            todo |= uses(bucket.actions)
    return False


def group_mod(s, mod: o.GroupMod, verdict: str | None) -> None:
    if mod.command == "delete":
        _delete_groups(s, mod)
        return
    faults = []
    if mod.group > o.GROUP_MAX:
        faults.append("OFPGMFC_INVALID_GROUP")
    if mod.command == "add" and mod.group in s.groups:
        faults.append("OFPGMFC_GROUP_EXISTS")
    if mod.command == "modify" and mod.group not in s.groups:
        faults.append("OFPGMFC_UNKNOWN_GROUP")
    if mod.type == "indirect" and len(mod.buckets) != 1:
        faults.append("OFPGMFC_INVALID_GROUP")
    for bucket in mod.buckets:
        faults += _bucket_faults(s, mod, bucket)
    refuse(faults)
    open_points = {name for b in mod.buckets for name in _open_points(s, mod, b)}
    if verdict in open_points:
        raise o.Refused(verdict)
    s.generation += 1
    group = o.Group(mod.type, mod.buckets, s.generation, counts=[[0, 0] for _ in mod.buckets])
    old = s.groups.get(mod.group)
    if old is not None:  # 6.7: its own counters go on, those of the buckets begin anew
        group.packets, group.bytes = old.packets, old.bytes
    s.groups[mod.group] = group


def _bucket_faults(s, mod: o.GroupMod, bucket: o.Bucket) -> list[str]:
    known = set(s.groups) | ({mod.group} if mod.group in uses(bucket.actions) else set())
    faults = action_faults(s, bucket.actions, groups=known)
    if mod.type != "select" and bucket.weight:
        faults.append("OFPGMFC_INVALID_GROUP")
    watches = bucket.watch_port != o.ANY or bucket.watch_group != o.GROUP_ANY
    if mod.type in ("all", "indirect") and watches:
        faults += ["OFPGMFC_WATCH_UNSUPPORTED", "OFPGMFC_INVALID_GROUP", "OFPGMFC_BAD_WATCH"]
    if mod.type == "ff" and not watches:
        faults += ["OFPGMFC_BAD_WATCH", "OFPGMFC_INVALID_GROUP", "OFPGMFC_WATCH_UNSUPPORTED"]
    targets = uses(bucket.actions)
    if reaches(s, targets, mod.group):
        faults.append("OFPGMFC_LOOP")
    return faults


def _open_points(s, mod: o.GroupMod, bucket: o.Bucket) -> set[str]:
    """What a switch may or may not refuse: weights of zero, and what is watched but not there."""
    found = set()
    if mod.type == "select" and not bucket.weight:
        found.add("OFPGMFC_INVALID_GROUP")
    missing = bucket.watch_port != o.ANY and bucket.watch_port not in s.ports
    if missing or (bucket.watch_group != o.GROUP_ANY and bucket.watch_group not in s.groups):
        found.add("OFPGMFC_BAD_WATCH")
    if bucket.watch_group == mod.group or reaches_watching(s, bucket.watch_group, mod.group):
        found |= {"OFPGMFC_LOOP", "OFPGMFC_BAD_WATCH"}
    return found


def reaches_watching(s, start: int, goal: int) -> bool:
    group = s.groups.get(start)
    return start == goal or (
        group is not None and any(reaches_watching(s, b.watch_group, goal) for b in group.buckets)
    )


def _delete_groups(s, mod: o.GroupMod) -> None:
    if mod.group == o.GROUP_ALL:
        doomed = set(s.groups)
    elif mod.group > o.GROUP_MAX:
        raise o.Refused("OFPGMFC_INVALID_GROUP")
    else:
        doomed = {mod.group} & set(s.groups)
        others = [b for n, g in s.groups.items() if n != mod.group for b in g.buckets]
        if doomed and any(mod.group in uses(b.actions) for b in others):
            raise o.Refused("OFPGMFC_CHAINED_GROUP")
    for flow in list(s.flows):
        if uses(flow.actions()) & doomed:
            remove(s, flow, GROUP_DELETED)
    for number in doomed:
        del s.groups[number]


# ---- meters (7.3.4.4)


def meter_mod(s, mod: o.MeterMod) -> None:
    if mod.command == "delete":
        doomed = set(s.meters) if mod.meter == o.METER_ALL else {mod.meter} & set(s.meters)
        for flow in list(s.flows):  # 5.7: the flows that use it go along
            if flow.instructions.get("meter") in doomed:
                remove(s, flow, DELETED)
        for number in doomed:
            del s.meters[number]
        return
    faults = []
    if mod.command == "add" and mod.meter in s.meters:
        faults.append("OFPMMFC_METER_EXISTS")
    if mod.command == "modify" and mod.meter not in s.meters:
        faults.append("OFPMMFC_UNKNOWN_METER")
    if not 0 < mod.meter <= o.METER_MAX:
        faults.append("OFPMMFC_INVALID_METER")
    if mod.flags & 3 == 3 or mod.flags & ~15:
        faults.append("OFPMMFC_BAD_FLAGS")
    faults += ["OFPMMFC_BAD_RATE" for band in mod.bands if not band.rate]
    refuse(faults)
    meter = o.Meter(mod.flags, mod.bands, since=s.now)
    meter.counts = [[0, 0] for _ in mod.bands]
    meter.taken = [0] * len(mod.bands)
    old = s.meters.get(mod.meter)
    if old is not None:
        meter.packets, meter.bytes = old.packets, old.bytes
    s.meters[mod.meter] = meter


# ---- ports, packets


def port_mod(s, mod: o.PortMod) -> None:
    port = s.ports.get(mod.port)
    faults = ["OFPPMFC_BAD_PORT"] if port is None else []
    if port is not None and mod.hw_addr is not None:
        faults.append("OFPPMFC_BAD_HW_ADDR")
    if mod.mask & ~(o.PORT_DOWN | o.NO_RECV | o.NO_FWD | o.NO_PACKET_IN):
        faults.append("OFPPMFC_BAD_CONFIG")
    refuse(faults)
    port.config = port.config & ~mod.mask | mod.config & mod.mask


def packet_out(s, mod: o.PacketOut) -> None:
    faults = action_faults(s, mod.actions, table=True)
    if mod.in_port not in s.ports and mod.in_port not in (o.CONTROLLER, o.ANY):
        faults.append("OFPBRC_BAD_PORT")
    if len(mod.data) < 14:
        faults.append("OFPBRC_BAD_PACKET")
    refuse(faults)
    s.packet_out(mod.data, mod.in_port, mod.actions)
