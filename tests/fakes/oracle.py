"""A slow, plain OpenFlow pipeline in Python, sharing no code with the switch: the oracle of the property tests.

Frames are bytes; a packet is parsed anew before every table and edited by rewriting bytes and computing checksums from
scratch. Only what the tests generate is covered: Ethernet, VLAN tags, ARP, IPv4, IPv6, TCP, UDP.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ALL, FLOOD, IN_PORT, CONTROLLER = 0xFFFFFFFC, 0xFFFFFFFB, 0xFFFFFFF8, 0xFFFFFFFD


class Dropped(Exception):
    """The packet ends here, with the reason."""


def csum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def layers(f: bytes) -> tuple[list[int], int, int]:
    """TCIs of all tags, ethertype after them, offset of L3."""
    tags, at = [], 12
    kind = int.from_bytes(f[12:14], "big")
    while kind in (0x8100, 0x88A8):
        tags.append(int.from_bytes(f[at + 2 : at + 4], "big"))
        at += 4
        kind = int.from_bytes(f[at : at + 2], "big")
    return tags, kind, at + 2


def fields(f: bytes, in_port: int, metadata: int) -> dict[str, int]:
    """All fields present, by their names in flow_key.h."""
    tags, kind, l3 = layers(f)
    out = {
        "IN_PORT": in_port,
        "METADATA": metadata,
        "ETH_TYPE": kind,
        "ETH_DST": int.from_bytes(f[:6], "big"),
        "ETH_SRC": int.from_bytes(f[6:12], "big"),
        "VLAN_VID": tags[0] & 0xFFF | 0x1000 if tags else 0,
        "VLAN_PCP": tags[0] >> 13 if tags else 0,
    }
    p = f[l3:]
    if kind == 0x0800:
        ihl = (p[0] & 15) * 4
        out |= {
            "IP_DSCP": p[1] >> 2,
            "IP_ECN": p[1] & 3,
            "IP_PROTO": p[9],
            "IP_TTL": p[8],
            "IPV4_SRC": int.from_bytes(p[12:16], "big"),
            "IPV4_DST": int.from_bytes(p[16:20], "big"),
        }
        l4 = p[ihl:]
    elif kind == 0x86DD:
        tc = (p[0] << 4 | p[1] >> 4) & 0xFF
        out |= {
            "IP_DSCP": tc >> 2,
            "IP_ECN": tc & 3,
            "IP_PROTO": p[6],
            "IP_TTL": p[7],
            "IPV6_SRC": int.from_bytes(p[8:24], "big"),
            "IPV6_DST": int.from_bytes(p[24:40], "big"),
        }
        l4 = p[40:]
    elif kind == 0x0806:
        out |= {
            "ARP_OP": int.from_bytes(p[6:8], "big"),
            "ARP_SPA": int.from_bytes(p[14:18], "big"),
            "ARP_TPA": int.from_bytes(p[24:28], "big"),
        }
        return out
    else:
        return out
    if out["IP_PROTO"] in (6, 17):
        out |= {"TP_SRC": int.from_bytes(l4[:2], "big"), "TP_DST": int.from_bytes(l4[2:4], "big")}
    return out


def mend(f: bytes) -> bytes:
    """All checksums computed from scratch."""
    _, kind, l3 = layers(f)
    b = bytearray(f)
    if kind == 0x0800:
        ihl = (b[l3] & 15) * 4
        b[l3 + 10 : l3 + 12] = b"\0\0"
        b[l3 + 10 : l3 + 12] = csum(bytes(b[l3 : l3 + ihl])).to_bytes(2, "big")
        proto, l4, end = b[l3 + 9], l3 + ihl, l3 + int.from_bytes(b[l3 + 2 : l3 + 4], "big")
        pseudo = bytes(b[l3 + 12 : l3 + 20])
    elif kind == 0x86DD:
        proto, l4, end = b[l3 + 6], l3 + 40, l3 + 40 + int.from_bytes(b[l3 + 4 : l3 + 6], "big")
        pseudo = bytes(b[l3 + 8 : l3 + 40])
    else:
        return f
    at = {6: l4 + 16, 17: l4 + 6}.get(proto)
    if at is None or (proto == 17 and kind == 0x0800 and b[at : at + 2] == b"\0\0"):
        return bytes(b)
    b[at : at + 2] = b"\0\0"
    value = csum(pseudo + bytes([0, proto]) + (end - l4).to_bytes(2, "big") + bytes(b[l4:end]))
    b[at : at + 2] = (value or (0xFFFF if proto == 17 else 0)).to_bytes(2, "big")
    return bytes(b)


def set_field(f: bytes, name: str, value: int, mask: int) -> bytes:
    tags, kind, l3 = layers(f)
    v4, v6 = kind == 0x0800, kind == 0x86DD
    have = fields(f, 0, 0)
    if name not in have or (name.startswith("VLAN") and not tags):
        raise Dropped("bad_action")
    new = have[name] & ~mask | value & mask
    b = bytearray(f)

    def put(at: int, size: int, number: int) -> None:
        b[at : at + size] = number.to_bytes(size, "big")

    l4 = l3 + (b[l3] & 15) * 4 if v4 else l3 + 40
    if name in ("ETH_DST", "ETH_SRC"):
        put(0 if name == "ETH_DST" else 6, 6, new)
    elif name == "VLAN_VID":
        put(14, 2, tags[0] & 0xF000 | new & 0xFFF)
    elif name == "VLAN_PCP":
        put(14, 2, tags[0] & 0x1FFF | new << 13)
    elif name in ("IP_DSCP", "IP_ECN"):
        tos = (new << 2 | have["IP_ECN"]) if name == "IP_DSCP" else (have["IP_DSCP"] << 2 | new)
        if v4:
            b[l3 + 1] = tos
        else:
            b[l3], b[l3 + 1] = b[l3] & 0xF0 | tos >> 4, b[l3 + 1] & 0x0F | (tos & 15) << 4
    elif name in ("IPV4_SRC", "IPV4_DST"):
        put(l3 + (12 if name == "IPV4_SRC" else 16), 4, new)
    elif name in ("IPV6_SRC", "IPV6_DST"):
        put(l3 + (8 if name == "IPV6_SRC" else 24), 16, new)
    elif name in ("TP_SRC", "TP_DST"):
        put(l4 + (0 if name == "TP_SRC" else 2), 2, new)
    elif name == "ARP_OP":
        put(l3 + 6, 2, new)
    elif name in ("ARP_SPA", "ARP_TPA"):
        put(l3 + (14 if name == "ARP_SPA" else 24), 4, new)
    else:
        raise AssertionError(name)
    return mend(bytes(b)) if v4 or v6 else bytes(b)


def dec_ttl(f: bytes) -> bytes:
    _, kind, l3 = layers(f)
    if kind not in (0x0800, 0x86DD):
        raise Dropped("bad_action")
    at = l3 + (8 if kind == 0x0800 else 7)
    if f[at] <= 1:
        raise Dropped("ttl_expired")
    return mend(f[:at] + bytes([f[at] - 1]) + f[at + 1 :])


@dataclass
class Rule:
    table: int
    priority: int
    match: tuple[tuple[str, int, int], ...]
    apply: tuple[
        tuple, ...
    ] = ()  # ("output", port) ("set", name, value, mask) ("push", tpid) ("pop",) ("dec",) ("group", id)
    write: tuple[tuple, ...] = ()
    clear: bool = False
    metadata: tuple[int, int] | None = None
    goto: int | None = None
    packets: int = 0
    bytes: int = 0


@dataclass
class Oracle:
    ports: set[int]
    rules: list[Rule] = field(default_factory=list)
    groups: dict[int, tuple[str, list[tuple[tuple, ...]]]] = field(default_factory=dict)
    out: list[tuple[int, bytes]] = field(default_factory=list)
    punted: list[tuple[int, bytes]] = field(default_factory=list)

    def lookup(self, table: int, have: dict[str, int]) -> Rule | None:
        hits = [
            r
            for r in self.rules
            if r.table == table and all(have.get(n, 0) & m == v & m for n, v, m in r.match)
        ]
        return max(hits, key=lambda r: r.priority, default=None)

    def output(self, f: bytes, in_port: int, port: int) -> bool:
        if port in (ALL, FLOOD):
            others = sorted(self.ports - {in_port})
            self.out += [(p, f) for p in others]
            return bool(others)
        if port == CONTROLLER:
            self.punted.append((in_port, f))
            return True
        if port == IN_PORT:
            port = in_port
        elif port == in_port:
            return False
        if port not in self.ports:
            return False
        self.out.append((port, f))
        return True

    def act(self, f: bytes, in_port: int, action: tuple) -> tuple[bytes, bool]:
        """The packet after the action, and was it handed on?"""
        kind, *args = action
        if kind == "output":
            return f, self.output(f, in_port, args[0])
        if kind == "set":
            return set_field(f, *args), False
        if kind == "push":
            tags, _, _ = layers(f)
            tci = tags[0] & 0xEFFF if tags else 0
            return f[:12] + args[0].to_bytes(2, "big") + tci.to_bytes(2, "big") + f[12:], False
        if kind == "pop":
            if not layers(f)[0]:
                raise Dropped("bad_action")
            return f[:12] + f[16:], False
        if kind == "dec":
            return dec_ttl(f), False
        group = self.groups.get(args[0])
        done = False
        for bucket in (group[1] if group else ())[: None if group and group[0] == "all" else 1]:
            copy = f
            try:
                for a in bucket:
                    copy, sent = self.act(copy, in_port, a)
                    done = done or sent
            except Dropped:
                continue
        return f, done

    def run(self, frame: bytes, in_port: int) -> bool:
        """One packet through table 0 on. True: forwarded."""
        f, metadata, table = frame, 0, 0
        action_set: dict[object, tuple] = {}
        forwarded, ended, path = False, False, []
        walk = frame  # what the tables see: edits count even when the packet itself was dropped by then
        while True:
            rule = self.lookup(table, fields(walk, in_port, metadata))
            if rule is None:
                action_set = {}
                break
            path.append(rule)
            for a in rule.apply:
                if not ended:
                    try:
                        f, sent = self.act(f, in_port, a)
                        forwarded = forwarded or sent
                    except Dropped:
                        ended = True
                walk = self.imagine(walk, a)
            if rule.clear:
                action_set = {}
            for a in rule.write:
                action_set[("set", a[1]) if a[0] == "set" else a[0]] = a
            if rule.metadata:
                value, mask = rule.metadata
                metadata = metadata & ~mask | value & mask
            if rule.goto is None:
                break
            table = rule.goto
        for rule in path:
            rule.packets += 1
            rule.bytes += len(frame)
        return self.finish(f, in_port, action_set, forwarded, ended)

    def imagine(self, f: bytes, action: tuple) -> bytes:
        """The edit as the next table sees it; an edit that fails leaves the packet alone (it is dropped anyway)."""
        if action[0] in ("output", "group"):
            return f
        try:
            return self.act(f, 0, action)[0]
        except Dropped:
            return f

    def finish(self, f: bytes, in_port: int, action_set: dict, forwarded: bool, ended: bool) -> bool:
        order = [action_set.get("pop"), action_set.get("push"), action_set.get("dec")]
        order += [a for k, a in action_set.items() if isinstance(k, tuple)]
        order.append(action_set.get("group") or action_set.get("output"))
        try:
            for a in order:
                if a is not None and not ended:
                    f, sent = self.act(f, in_port, a)
                    forwarded = forwarded or sent
        except Dropped:
            pass
        return forwarded
