"""A datapath without packets: what the control plane uses of vswitchd.datapath.dp, with counters to set."""

from dataclasses import dataclass, field

from vswitchd.datapath.core import ffi


@dataclass
class FakeCounters:
    rx_packets: int = 0
    rx_bytes: int = 0
    rx_forwarded: int = 0
    tx_offered: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    rx_drops: dict = field(default_factory=dict)
    tx_drops: dict = field(default_factory=dict)


class FakePortHandle:
    def __init__(self, ofport):
        self.index = ofport
        self.ofport = ofport
        self.bits = 0
        self.stats = FakeCounters()

    def counters(self):
        return self.stats

    def set_config(self, bits):
        self.bits = bits

    def queues(self):
        return {}


class FakeBridge:
    """Rules and groups by id; `visible()` is what packets would see: it changes at commit only."""

    def __init__(self, name="br0"):
        self.name = name
        self.cdata = ffi.NULL
        self.index = 0
        self.rules = {}
        self.seen = 0
        self.ttl_punt = self.punt_miss = False
        self.stats = {}
        self.retired = []
        self.commits = 0
        self.groups = {}
        self.shown_groups = {}
        self.meters = {}
        self.shown_meters = {}
        self.sent = []
        self.frag_drop = False
        self.fail_add = self.fail_commit = None
        self._next = 0
        self._gone = {}
        self._undone = []

    def add_rule(self, spec):
        if self.fail_add is not None:
            raise self.fail_add
        self._next += 1
        self.rules[self._next] = spec
        return self._next

    def remove_rule(self, rule):
        self._gone[rule] = self.rules.pop(rule)

    def commit(self):
        staged = self.groups != self.shown_groups or self.meters != self.shown_meters
        if self._next == self.seen and not self._gone and not staged:
            return
        if self.fail_commit is not None:
            raise self.fail_commit
        self.commits += 1
        self.seen = self._next
        self.retired += [*self._gone, *self._undone]
        self._gone, self._undone = {}, []
        self.shown_groups = dict(self.groups)
        self.shown_meters = dict(self.meters)

    def rollback(self):
        staged = [rule for rule in self.rules if rule > self.seen]
        self._undone += staged + [rule for rule in self._gone if rule > self.seen]
        self.rules = {rule: spec for rule, spec in self.rules.items() if rule <= self.seen}
        self.rules |= {rule: spec for rule, spec in self._gone.items() if rule <= self.seen}
        self._gone = {}
        self.seen = self._next
        self.groups = dict(self.shown_groups)
        self.meters = dict(self.shown_meters)

    def visible(self):
        return {rule: spec for rule, spec in self.rules.items() if rule <= self.seen}

    def set_ttl_punt(self, on):
        self.ttl_punt = on

    def set_punt_miss(self, on):
        self.punt_miss = on

    def group_stats(self, group, n_buckets):
        return [(10 * group, 100)] + [(group, 9)] * n_buckets

    def rule_stats(self, rule):
        return self.stats.get(rule, (0, 0, 0))

    def hit(self, rule, packets, octets, used_ms):
        had = self.stats.get(rule, (0, 0, 0))
        self.stats[rule] = (had[0] + packets, had[1] + octets, used_ms)

    def take_retired(self):
        gone, self.retired = self.retired, []
        return [(rule, *self.stats.get(rule, (0, 0, 0))) for rule in gone]

    def table_stats(self):
        return {0: (7, 5)}

    def set_group(self, group, kind, buckets):
        self.groups[group] = (kind, [bucket.actions for bucket in buckets])

    def remove_group(self, group):
        del self.groups[group]

    def set_meter(self, meter, flags, bands):
        self.meters[meter] = (flags, list(bands))

    def remove_meter(self, meter):
        del self.meters[meter]

    def meter_stats(self, meter, n_bands):
        return [(10 * meter, 100)] + [(meter, 9)] * n_bands

    def packet_out(self, frame, in_port, actions):
        self.sent.append((frame, in_port, actions))

    def set_frag_mode(self, drop):
        self.frag_drop = drop


class FakeDatapath:
    def __init__(self):
        self.harvests = 0

    def harvest(self):
        self.harvests += 1
