"""Flow-mods that are taken in runs leave the same switch, answers and packets' ways as one by one through Python."""

import random
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "ofproto"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.packet_zoo import ZOO
from run_world import World

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.codec import encode, join
from vswitchd.ofproto.compose import compose
from vswitchd.ofproto.constants10 import OFPFW
from vswitchd.ofproto.dialect import express
from vswitchd.ofproto.errors import OFError
from vswitchd.ofproto.fields import BY_NAME, FIELDS
from vswitchd.ofproto.flow_dump10 import flow10
from vswitchd.ofproto.flow_table import Selection
from vswitchd.ofproto.match10 import nearest10
from vswitchd.ofproto.messages10 import FLOW_STATS
from vswitchd.ofproto.multipart import FlowStatsRequest
from vswitchd.ofproto.oxm import FieldMatch, Match, from_wire_order
from vswitchd.ofproto.ports import duration
from vswitchd.ofproto.stats import FlowStats
from vswitchd.ofproto.structures import Bucket, DropBand, DscpRemarkBand

FRAMES = [bytes(packet) for packet in ZOO.values()]
SETS = [
    act.SetField(BY_NAME[name], 1)
    for name in ("udp_dst", "ipv4_dst", "eth_src", "mpls_label", "ip_dscp", "nw_ttl", "vlan_pcp")
]
SETS.append(act.SetField(BY_NAME["vlan_vid"], 0x1003))
LISTS = [(act.Output(port),) for port in (1, 2, 0, 0xFFFFFFFD)] + [(act.Group(1),), (act.Group(2),), ()]
LISTS += [(one, act.Output(2)) for one in (*SETS, act.PopVlan(), act.DecNwTtl(), act.PushVlan(0x8100))]


def constraint(r, row):
    value = r.getrandbits(row.bits)
    if row.maskable and r.random() < 0.4:
        mask = r.choice((0, row.all_ones, r.getrandbits(row.bits), row.all_ones ^ 1))
        return FieldMatch(row, value & mask, mask)
    return FieldMatch(row, value)


def kind(r):
    """Fields with what they need, in an order that may stand on the wire."""
    found = {}

    def want(row):
        for name, values in row.prereqs:
            need = BY_NAME[name]
            if need not in found:
                want(need)
            value = r.choice(values) if values else found[need].value | (0x1000 if name == "vlan_vid" else 0)
            if need in found and not (values and found[need].value in values):
                found[need] = FieldMatch(need, value)
        if row not in found:
            found[row] = constraint(r, row)

    for row in r.sample(FIELDS, r.randrange(1, 4)):
        want(row)
    return tuple(found.values())


def varied(r, entries):
    """The same fields and masks with other values; now and then of those too that others need."""
    for entry in entries:
        needed = any(name == entry.field.name for row in FIELDS for name, _ in row.prereqs)
        if needed and r.random() < 0.9:
            yield entry
        else:
            few = r.getrandbits(entry.field.bits) & r.choice((1, 3, entry.field.all_ones))
            yield FieldMatch(
                entry.field, few & (entry.field.all_ones if entry.mask is None else entry.mask), entry.mask
            )


def instructions(r):
    found = [r.choice((ins.ApplyActions, ins.WriteActions))(r.choice(LISTS))] if r.random() < 0.9 else []
    more = (ins.GotoTable(r.randrange(3)), ins.WriteMetadata(5, 7), ins.Meter(1), ins.ClearActions())
    return (*found, *(one for one in more if r.random() < 0.12))


def rewritten(r, item):
    """The same instruction, whose set-fields set other values."""
    if not isinstance(item, ins.ApplyActions | ins.WriteActions):
        return item
    return item.__class__(tuple(
        replace(a, value=r.getrandbits(a.field.bits)) if isinstance(a, act.SetField) and r.random() < 0.8 else a
        for a in item.actions
    ))  # fmt: skip


def request(r, kinds, odd=1):
    chance = r.random() if odd else 1
    if chance < 0.02:
        return encode(
            m.GroupMod(r.choice((0, 2)), 0, r.choice((1, 2)), (Bucket(actions=(act.Output(2),)),)), 1
        )
    if chance < 0.04:
        bands = (r.choice((DropBand(5), DscpRemarkBand(5))),)
        return encode(m.MeterMod(r.choice((0, 1, 2)), 1, 1, bands), 2)
    entries, table, flags, todo, command = r.choice(kinds)
    todo = tuple(rewritten(r, one) for one in todo)
    if r.random() < 0.1 * odd:
        todo, flags, command, table = (
            instructions(r),
            r.randrange(32),
            r.choice((0, 1, 2, 3, 4, 4)),
            r.choice((0, 1, 255)),
        )
    try:
        match = from_wire_order(varied(r, entries))
    except OFError:
        match = Match()
    mod = m.FlowMod(
        cookie=r.choice((0, r.getrandbits(64))), cookie_mask=r.choice((0, 0, 0, 1)), table_id=table, command=command,
        idle_timeout=r.choice((0, 0, 5)), hard_timeout=r.choice((0, 0, 9)), priority=r.randrange(3),
        buffer_id=r.choice((0xFFFFFFFF,) * 9 + (7,)) if odd else 0xFFFFFFFF,
        out_port=r.choice((0xFFFFFFFF,) * 9 + (1,)), flags=flags, match=match,
        instructions=todo,
    )  # fmt: skip
    data = bytearray(encode(mod, r.getrandbits(32)))
    if r.random() < 0.2 * odd:
        data[r.choice((0, 1, *range(8, len(data)), *range(56, len(data) - 16)))] ^= 1 << r.randrange(8)
    return bytes(data)


def assert_same_by_runs(fast, slow, messages):
    """All at once in the one world, one by one in the other; a second later both are as they would be."""
    one_by_one = [answer for message in messages for answer in slow.peer.feed(message)]
    assert fast.peer.feed(b"".join(messages)) == one_by_one
    for world in (fast, slow):
        world.clock.now += 1
        world.agent.tick()
    assert fast.state() == slow.state()
    assert fast.peer.unasked == slow.peer.unasked


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_as_one_by_one(seed):
    r, of_one_shape = random.Random(seed), seed % 2
    fast, slow = World(runs=r.choice((1, 7, 256))), World(runs=0)
    kinds = [
        (kind(r), r.choice((0, 0, 1)), r.choice((0, 0, 1, 4, 5)), instructions(r), r.choice((0, 0, 0, 4)))
        for _ in range(6 - 3 * of_one_shape)
    ]
    if of_one_shape:  # deletions and additions with other flags beside them
        kinds += [
            (one[0], one[1], r.choice((0, 1, 4, 5)), one[3], what) for one in kinds for what in (4, 4, 0)
        ]
    group = encode(m.GroupMod(0, 0, 1, (Bucket(actions=(act.Output(2),)),)), 1)
    for world in (fast, slow):
        world.peer.feed(group + encode(m.MeterMod(0, 1, 1, (DropBand(5),)), 2))
    for _ in range(6):
        messages = [request(r, kinds) for _ in range(30)]
        assert_same_by_runs(fast, slow, messages)
        assert fast.peer.ask(FlowStatsRequest()) == slow.peer.ask(FlowStatsRequest())
    assert_dumped_as_the_codec_does(fast)
    frames = r.sample(FRAMES, 5)
    for entry in r.sample(
        sorted(slow.entries().values(), key=lambda e: (e.table, e.key)), min(40, len(slow.entries()))
    ):
        try:
            frames.append(compose(entry.match))
        except (ValueError, OverflowError):
            continue
    for frame in frames:
        assert fast.way(frame) == slow.way(frame)
    assert fast.taken > 0 or of_one_shape
    fast.close()
    slow.close()


SIMPLE = (ins.ApplyActions((act.Output(1),)), ins.GotoTable(2))


def bundled(r, inner, flags, odd):
    """A bundle-add around a message, seldom a wrong one."""
    data = bytearray(struct.pack("!BBHIIIIxxH", 4, 4, 24 + len(inner), 0, 0x4F4E4600, 2301, 1, flags) + inner)
    data[4:8] = inner[4:8]
    if r.random() < 0.03 * odd:
        data[r.choice((0, 1, *range(4, 25), 26, 27, *range(28, 32)))] ^= 1 << r.randrange(8)
    return bytes(data)


def around(number, kind, flags=3):
    return struct.pack("!BBHIIIIHH", 4, 4, 24, number, 0x4F4E4600, 2300, 1, kind, flags)


@pytest.mark.parametrize(
    "seed", [0, 8, 10, 16, 24, 35, 43, 72, 109, 110]
)  # those with kinds that a bundle can have
def test_bundles_in_runs_are_as_one_by_one(seed):
    r = random.Random(seed)
    fast, slow = World(runs=r.choice((1, 7, 256))), World(runs=0)
    kinds = [
        (
            kind(r),
            r.choice((0, 0, 1)),
            r.choice((0, 0, 1, 4)),
            r.choice((SIMPLE, SIMPLE, instructions(r))),
            r.choice((0, 0, 4)),
        )
        for _ in range(3)
    ]
    kinds += [(*one[:4], what) for one in kinds for what in (0, 4)]
    group = encode(m.GroupMod(0, 0, 1, (Bucket(actions=(act.Output(2),)),)), 1)
    for world in (fast, slow):
        world.peer.feed(group + encode(m.MeterMod(0, 1, 1, (DropBand(5),)), 2))
    for _ in range(10):
        flags = r.choice((3, 3, 1))
        odd = r.choice((0, 0, 0, 1))
        adds = [bundled(r, request(r, kinds, odd), flags, odd) for _ in range(40)]
        if odd and r.random() < 0.5:
            adds.insert(
                r.randrange(40),
                r.choice((around(3, 2, flags), around(4, 6, flags), around(5, 4, flags), request(r, kinds))),
            )
        messages = [around(1, 0, flags), *adds, around(2, 4, flags)]
        one_by_one = [answer for message in messages for answer in slow.peer.feed(message)]
        assert fast.peer.feed(b"".join(messages)) == one_by_one
        assert fast.agent.bundle_budget == slow.agent.bundle_budget
        for world in (fast, slow):
            world.clock.now += 1
            world.agent.tick()
        assert fast.state() == slow.state()
        assert fast.peer.unasked == slow.peer.unasked
        shown = [
            sorted(map(str, join([part for _, part in world.peer.ask(FlowStatsRequest())]).entries))
            for world in (fast, slow)
        ]
        assert shown[0] == shown[1]  # what is taken back comes in any order
    assert fast.wrapped > 20
    assert fast.taken > 0
    fast.close()
    slow.close()


def assert_dumped_as_the_codec_does(world):
    """Each entry in flow statistics of 1.0: the bytes that the codec writes of its nearest match."""
    now, flows = world.clock() + 2.25, world.agent.flows
    for entry in flows.tables.select(Selection()):
        counters = flows.counters(entry)
        stats = FlowStats(
            entry.table, *duration(now - entry.created), entry.priority, entry.idle, entry.hard, entry.flags, entry.cookie,
            counters.packets, counters.bytes, nearest10(entry.match), express(entry.program.instructions, 1, entry.match),
        )  # fmt: skip
        assert flow10(entry, counters, now) == FLOW_STATS.write(stats, 1)


HEAD_10 = struct.Struct("!BBHIIH6s6sHBxHBBxxIIHHQHHHHIHH")
ACTIONS_10 = [struct.pack("!HHHH", 0, 8, port, 0) for port in (1, 2, 0xFFFB)]
ACTIONS_10 += [
    b"",
    struct.pack("!HHI", 7, 8, 0x0A000001) + ACTIONS_10[0],
    struct.pack("!HHHH", 0, 8, 0xFF01, 0),
]
WILD_10 = (
    OFPFW.IN_PORT,
    OFPFW.DL_SRC,
    OFPFW.DL_DST,
    OFPFW.DL_VLAN,
    OFPFW.DL_VLAN_PCP,
    OFPFW.NW_TOS,
    OFPFW.TP_SRC,
    OFPFW.TP_DST,
)


def kind10(r):
    """Wildcards, and those values of a match of 1.0 that decide what others are."""
    wild = (
        sum(r.sample(WILD_10, r.choice((0, 6, 7, 8))))
        | r.choice((0, 8, 32, 33)) << 8
        | r.choice((0, 16, 63)) << 14
    )
    wild ^= r.choice((0, 0, 0, r.getrandbits(32)))
    return (
        wild, r.choice((0x800, 0x800, 0x806, 0x86DD)), r.choice((6, 17, 1, 58)), r.choice((0xFFFF, 5, 0x1005)),
        r.choice((0, 1, 2, 4)), r.choice(ACTIONS_10), r.choice((0, 0, 0, 0, 1, 2, 3, 4)),
    )  # fmt: skip


def request10(r, kinds):
    wild, dl_type, proto, vlan, flags, todo, command = r.choice(kinds)
    if r.random() < 0.1:
        command, todo = r.choice((0, 1, 2, 3, 4, 4)), r.choice(ACTIONS_10)

    def few(bits, unless=0, shift=0):
        if wild & unless and r.random() < 0.99:
            return 0
        return (r.getrandbits(bits) & r.choice((1, 3, (1 << bits) - 1))) << shift

    port = 0 if wild & OFPFW.IN_PORT else r.choice((1, 2, r.getrandbits(16), 0xFFFE, 0xFF00, 0x8000))
    src, dst = (few(48, bit).to_bytes(6, "big") for bit in (OFPFW.DL_SRC, OFPFW.DL_DST))
    body = HEAD_10.pack(
        1, 14, HEAD_10.size + len(todo), r.getrandbits(32), wild, port, src, dst,
        r.choice((vlan, vlan, vlan ^ few(12, OFPFW.DL_VLAN))), few(3, OFPFW.DL_VLAN_PCP), dl_type, few(6, OFPFW.NW_TOS, 2),
        proto, few(24, 32 << 8, 8), 0x0A000000 | few(8, 63 << 14, 16), few(8, OFPFW.TP_SRC), few(16, OFPFW.TP_DST),
        few(64), command, r.choice((0, 0, 5)), r.choice((0, 0, 9)), r.choice((1, 2, 0xFFFF)),
        r.choice((0xFFFFFFFF,) * 9 + (7,)), r.choice((0xFFFF,) * 9 + (1,)), flags & r.choice((3, 7)),
    )  # fmt: skip
    data = bytearray(body + todo)
    if r.random() < 0.1:
        data[r.choice((0, 1, *range(8, len(data))))] ^= 1 << r.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_runs_of_version_1_are_as_one_by_one(seed):
    r = random.Random(seed)
    fast, slow = World(runs=r.choice((1, 7, 256)), version=1), World(runs=0, version=1)
    kinds = [kind10(r) for _ in range(5)]
    kinds += [(*one[:6], command) for one in kinds for command in (0, 4)]
    for _ in range(8):
        messages = [request10(r, kinds) for _ in range(30)]
        assert_same_by_runs(fast, slow, messages)
    for frame in r.sample(FRAMES, 20):
        assert fast.way(frame) == slow.way(frame)
    for entry in list(slow.entries().values())[:40]:
        try:
            frame = compose(entry.match)
        except (ValueError, OverflowError):
            continue
        assert fast.way(frame) == slow.way(frame)
    assert_dumped_as_the_codec_does(fast)
    assert fast.taken > 5
    fast.close()
    slow.close()
