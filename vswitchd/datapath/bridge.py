"""One bridge of the datapath: rules and their versions, groups, packet-out, the MAC table. Control thread."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, NamedTuple

from vswitchd.datapath.action import KEY_SIZE, Action, RuleSpec, actions_array, pack, pack_match
from vswitchd.datapath.core import DatapathError, check, ffi, lib, no_memory
from vswitchd.datapath.trace import Trace, trace_frame

MAX_TABLE = 254


class Retired(NamedTuple):
    """A removed rule and its final counters."""

    rule: int
    packets: int
    bytes: int
    used_ms: int


class BucketSpec(NamedTuple):
    """A bucket of a group: actions in order, weight (SELECT), what its liveness hangs on (OFPP_ANY, OFPG_ANY: nothing)."""

    actions: tuple[Action, ...]
    weight: int = 0
    watch_port: int = 0xFFFFFFFF
    watch_group: int = 0xFFFFFFFF


class BandSpec(NamedTuple):
    """A band of a meter (OFPMBT_*): rate in kb/s or packets/s, burst in kb or packets."""

    type: int
    rate: int
    burst: int = 0
    prec_level: int = 0


def fill_spec(to: Any, spec: RuleSpec) -> None:
    """Write all of a rule but match and actions into a struct vs_rule_spec."""
    to.table = spec.table
    to.clear = spec.clear
    to.goto_table = -1 if spec.goto is None else spec.goto
    to.priority = spec.priority
    to.cookie = spec.cookie
    meta, meta_mask = spec.metadata or (0, 0)
    to.metadata = (meta & meta_mask).to_bytes(8, "big")
    to.metadata_mask = meta_mask.to_bytes(8, "big")
    to.n_apply, to.n_write = len(spec.apply), len(spec.write)


class DpBridge:
    """Rules are staged by add_rule and remove_rule and become visible together by commit."""

    def __init__(self, dp: Any, cdata: Any, name: str) -> None:
        self._dp = dp
        self.cdata = cdata
        self.name = name
        self.index = int(lib.vs_bridge_index(cdata))
        self._spec = ffi.new("struct vs_rule_spec *")
        self._stats = ffi.new("struct vs_rule_stats *")
        self._retired = ffi.new("struct vs_retired[]", 1024)

    # ---- rules

    def add_rule(self, spec: RuleSpec) -> int:
        """Stage a rule; returns its id. Raises DatapathError (memory), KeyError (field name)."""
        value, mask = pack_match(spec.match)
        return self.add_packed(spec, value, mask, pack(spec.apply + spec.write))

    def add_packed(self, spec: RuleSpec, value: bytes, mask: bytes, actions: bytes) -> int:
        """As add_rule, with match and actions already packed (action.pack_match, action.pack)."""
        fill_spec(self._spec, spec)
        rule = lib.vs_bridge_rule_add(
            self.cdata,
            self._spec,
            ffi.from_buffer("struct vs_key *", value),
            ffi.from_buffer("struct vs_key *", mask),
            ffi.from_buffer("struct vs_action[]", actions),
        )
        if rule == 0:
            raise no_memory("rule")
        return int(rule)

    def remove_rule(self, rule: int) -> None:
        """Stage the removal of a rule that add_rule gave; once."""
        lib.vs_bridge_rule_remove(self.cdata, rule)

    def commit(self) -> None:
        """Make all staged changes visible to packets at once."""
        check(lib.vs_bridge_commit(self.cdata), "commit")

    def rule_stats(self, rule: int) -> tuple[int, int, int]:
        """(packets, bytes, used_ms) as of the last Datapath.harvest."""
        lib.vs_rule_read(rule, self._stats)
        return self._stats.packets, self._stats.bytes, self._stats.used_ms

    def take_retired(self) -> list[Retired]:
        """Removed rules that no packet can meet any more, with final counters; each once."""
        out: list[Retired] = []
        while n := lib.vs_bridge_take_retired(self.cdata, self._retired, len(self._retired)):
            out.extend(Retired(r.rule, r.packets, r.bytes, r.used_ms) for r in self._retired[0:n])
        return out

    def table_stats(self) -> dict[int, tuple[int, int]]:
        """Table -> (lookups, matches) as of the last harvest; tables that were never used are left out."""
        lookups, matches, rules = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("uint32_t *")
        out = {}
        for table in range(MAX_TABLE + 1):
            lib.vs_bridge_table_stats(self.cdata, table, lookups, matches, rules)
            if lookups[0] or rules[0]:
                out[table] = (lookups[0], matches[0])
        return out

    def stats(self) -> dict[str, int]:
        """version, n_rules, n_masks, n_subtables (what the masks are merged to), n_ports."""
        s = ffi.new("struct vs_bridge_stats *")
        lib.vs_bridge_stats(self.cdata, s)
        return {
            name: getattr(s, name) for name in ("version", "n_rules", "n_masks", "n_subtables", "n_ports")
        }

    def used_mask(self) -> bytes:
        """The bits of the key that anybody asked about, as struct vs_key."""
        key = ffi.new("struct vs_key *")
        lib.vs_bridge_used_mask(self.cdata, key)
        return bytes(ffi.buffer(key, KEY_SIZE))

    def rollback(self) -> None:
        """Forget all staged changes; the rules that were staged still come out of take_retired."""
        lib.vs_bridge_rollback(self.cdata)

    # ---- groups and meters: staged as rules are

    def set_group(self, group_id: int, kind: int, buckets: Sequence[BucketSpec]) -> None:
        """Stage a new or changed group (kind: OFPGT_*). Raises DatapathError."""
        flat = tuple(a for bucket in buckets for a in bucket.actions)
        specs = ffi.new("struct vs_bucket_spec[]", len(buckets))
        for to, bucket in zip(specs, buckets, strict=True):
            to.n_actions = len(bucket.actions)
            to.weight, to.watch_port, to.watch_group = bucket.weight, bucket.watch_port, bucket.watch_group
        keep = actions_array(flat)
        check(lib.vs_bridge_group_set(self.cdata, group_id, kind, keep, specs, len(buckets)), "group")

    def remove_group(self, group_id: int) -> None:
        """Stage the end of a group; packets sent to it will be dropped with no_group. Raises DatapathError."""
        check(lib.vs_bridge_group_remove(self.cdata, group_id), "group")

    def set_meter(self, meter_id: int, flags: int, bands: Sequence[BandSpec]) -> None:
        """Stage a new or changed meter (flags: OFPMF_*). Raises DatapathError."""
        specs = ffi.new("struct vs_band_spec[]", len(bands))
        for to, band in zip(specs, bands, strict=True):
            to.type, to.prec_level, to.rate, to.burst = band.type, band.prec_level, band.rate, band.burst
        check(lib.vs_bridge_meter_set(self.cdata, meter_id, flags, specs, len(bands)), "meter")

    def remove_meter(self, meter_id: int) -> None:
        """Stage the end of a meter. Raises DatapathError."""
        check(lib.vs_bridge_meter_remove(self.cdata, meter_id), "meter")

    def meter_stats(self, meter_id: int, n_bands: int) -> list[tuple[int, int]]:
        """(packets, bytes) of the meter, then of each band. Raises DatapathError."""
        rows = ffi.new("struct vs_meter_stats[]", n_bands + 1)
        check(lib.vs_bridge_meter_stats(self.cdata, meter_id, rows, n_bands + 1), f"meter {meter_id}")
        return [(r.packets, r.bytes) for r in rows]

    def set_punt_miss(self, on: bool) -> None:
        """Send packets that no rule takes to the controllers of OpenFlow 1.0? Raises DatapathError."""
        check(lib.vs_bridge_set_punt_miss(self.cdata, on), "table miss")

    def group_stats(self, group_id: int, n_buckets: int) -> list[tuple[int, int]]:
        """(packets, bytes) of the group, then of each bucket. Raises DatapathError."""
        rows = ffi.new("struct vs_group_stats[]", n_buckets + 1)
        check(lib.vs_bridge_group_stats(self.cdata, group_id, rows, n_buckets + 1), f"group {group_id}")
        return [(r.packets, r.bytes) for r in rows]

    # ---- packets

    def packet_out(self, frame: bytes, in_port: int, actions: tuple[Action, ...]) -> None:
        """Run actions on a frame, on this thread. Raises DatapathError for a runt."""
        keep = actions_array(actions)
        code = lib.vs_dp_packet_out(self._dp, self.cdata, frame, len(frame), in_port, keep, len(actions))
        if code == -errno.EINVAL:
            raise DatapathError("packet-out: a frame has 14 to 65600 bytes", errno.EINVAL)
        check(code, "packet-out")

    def trace(self, frame: bytes, in_port: int) -> Trace:
        """What would happen to a frame; nothing is sent, counted or learned. Raises DatapathError for a runt."""
        return trace_frame(self._dp, self.cdata, frame, in_port)

    def set_frag_mode(self, drop: bool) -> None:
        """Drop IP fragments (OFPC_FRAG_DROP)?"""
        check(lib.vs_bridge_set_drop_fragments(self.cdata, drop), "fragments")

    def set_ttl_punt(self, on: bool) -> None:
        """Also send packets whose TTL ran out to the controllers (OFPR_INVALID_TTL)?"""
        lib.vs_bridge_set_punt_ttl(self.cdata, on)

    def now_ms(self) -> int:
        """Milliseconds of the datapath clock."""
        return int(lib.vs_dp_now_ms(self._dp))

    # ---- NORMAL

    def set_forward_bpdu(self, on: bool) -> None:
        """Let NORMAL forward frames to 01:80:c2:00:00:0x."""
        lib.vs_bridge_set_forward_bpdu(self.cdata, on)

    def fdb(self) -> list[tuple[int, int, str, int]]:
        """(port, VLAN, MAC, age in seconds) of every learned address."""
        macs, now = lib.vs_bridge_macs(self.cdata), lib.vs_dp_now_ms(self._dp) // 1000
        room = lib.vs_mac_dump(macs, ffi.NULL, 0, now) + 64
        rows = ffi.new("struct vs_mac_entry[]", room)
        n = min(lib.vs_mac_dump(macs, rows, room, now), room)
        return [(r.port, r.vlan, bytes(r.mac).hex(":"), r.age_s) for r in rows[0:n]]

    def fdb_flush(self) -> None:
        """Forget all learned addresses."""
        lib.vs_mac_flush(lib.vs_bridge_macs(self.cdata))

    def set_fdb(self, limit: int, ageing_s: int) -> None:
        """Bound of the table and ageing time. Raises DatapathError."""
        check(lib.vs_bridge_set_macs(self.cdata, limit, ageing_s), "MAC table")

    def fdb_stats(self) -> dict[str, int]:
        """learned, moved, expired, evicted, entries, limit, ageing_s."""
        s, macs = ffi.new("struct vs_mac_stats *"), lib.vs_bridge_macs(self.cdata)
        lib.vs_mac_expire(macs, lib.vs_dp_now_ms(self._dp) // 1000)
        lib.vs_mac_stats(macs, s)
        names = ("learned", "moved", "expired", "evicted", "entries", "limit", "ageing_s")
        return {name: getattr(s, name) for name in names}
