"""Flow tables against an obvious model: what a filter selects, what overlaps, and that packing loses nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st
from of_peer import Clock

from vswitchd.ofproto.actions import Group, Output
from vswitchd.ofproto.compile import compile_instructions
from vswitchd.ofproto.constants import OFPG, OFPP
from vswitchd.ofproto.expiry import Expiry
from vswitchd.ofproto.flow_table import FlowEntry, FlowTables, Selection
from vswitchd.ofproto.instructions import ApplyActions, WriteActions
from vswitchd.ofproto.match_shape import pack
from vswitchd.ofproto.oxm import MATCH, Match

BITS = {"in_port": 32, "eth_dst": 48, "eth_type": 16, "ipv4_src": 32, "vlan_vid": 13, "metadata": 64}
MASKABLE = ("eth_dst", "ipv4_src", "vlan_vid", "metadata")
PROGRAMS = [
    compile_instructions(instructions)
    for instructions in (
        (),
        (ApplyActions((Output(1),)),),
        (WriteActions((Output(2),)),),
        (ApplyActions((Group(1), Output(1))),),
    )
]


@st.composite
def matches(draw):
    """Few fields, few values: so that equal, wider and overlapping matches are common."""
    fields = {}
    for name in draw(st.sets(st.sampled_from(list(BITS)), max_size=3)):
        top = BITS[name]
        value = draw(st.integers(0, 3)) | draw(st.sampled_from([0, 1 << (top - 1)]))
        mask = (1 << top) - 1
        if name in MASKABLE:
            mask = draw(st.sampled_from([1, 2, 3, 1 << (top - 1), mask ^ 1, mask]))
        fields[name] = (value & mask, mask)
    if "ipv4_src" in fields:
        fields["eth_type"] = (0x800, 0xFFFF)
    ordered = {name: fields[name] for name in BITS if name in fields}
    return Match.named(
        **{name: v if m == (1 << BITS[name]) - 1 else (v, m) for name, (v, m) in ordered.items()}
    )


def as_dict(match):
    return {e.field.name: (e.value, e.field.all_ones if e.mask is None else e.mask) for e in match}


def within(narrow, wide):
    """Every packet of `narrow` is one of `wide`."""
    a, b = as_dict(narrow), as_dict(wide)
    return all(
        name in a and not mask & ~a[name][1] and a[name][0] & mask == value
        for name, (value, mask) in b.items()
    )


def share_a_packet(one, other):
    a, b = as_dict(one), as_dict(other)
    return all(not (a[name][0] ^ b[name][0]) & a[name][1] & b[name][1] for name in a.keys() & b.keys())


entries = st.lists(
    st.tuples(st.integers(0, 2), matches(), st.integers(0, 2), st.sampled_from(PROGRAMS), st.integers(0, 3)),
    max_size=25,
)


def build(rows):
    """The tables, and the same as a plain dict (table, match, priority) -> entry."""
    tables, model = FlowTables(), {}
    for table, match, priority, program, cookie in rows:
        shape, packed = pack(match)
        sub = tables.subtable(table, shape)
        if not tables.find_all(table, shape, packed | priority):
            entry = FlowEntry(table, shape, packed | priority, program, 0.0)
            entry.cookie = cookie
            tables.insert(sub, entry)
            assert (table, match, priority) not in model
            model[table, match, priority] = entry
        else:
            assert (table, match, priority) in model
    return tables, model


@settings(max_examples=120, deadline=None)
@given(
    entries,
    matches(),
    st.sampled_from([0, 1, 2, 255]),
    st.tuples(st.sampled_from([OFPP.ANY, 1, 2]), st.sampled_from([OFPG.ANY, 1])),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_selection_is_that_of_the_model(rows, match, table, out, cookie):
    tables, model = build(rows)
    out_port, out_group = out
    want = Selection(match, table, out_port, out_group, *cookie)
    found = {id(entry) for entry in tables.select(want)}
    expected = {
        id(entry)
        for (in_table, flow, _), entry in model.items()
        if table in (255, in_table)
        and within(flow, match)
        and (entry.cookie ^ cookie[0]) & cookie[1] == 0
        and (out_port == OFPP.ANY or out_port in entry.program.outputs)
        and (out_group == OFPG.ANY or out_group in entry.program.groups)
    }
    assert found == expected
    assert sum(tables.counts) == len(tables) == len(model)


@settings(max_examples=120, deadline=None)
@given(entries, matches(), st.integers(0, 2), st.integers(0, 2))
def test_overlap_is_that_of_the_model(rows, match, table, priority):
    tables, model = build(rows)
    expected = any(
        in_table == table and with_priority == priority and share_a_packet(flow, match)
        for in_table, flow, with_priority in model
    )
    assert (tables.overlaps(table, match, priority) is not None) == expected


@settings(max_examples=60, deadline=None)
@given(matches(), st.randoms())
def test_packing_loses_nothing_and_ignores_the_order(match, rng):
    shape, packed = pack(match)
    assert shape.unpack(packed | 0xFFFF) == match
    assert shape.encode(packed | 0xFFFF) == MATCH.write(shape.unpack(packed), 4)
    mixed = list(match.entries)
    rng.shuffle(mixed)
    assert pack(Match(tuple(mixed))) == (shape, packed)


@settings(max_examples=60, deadline=None)
@given(entries, st.randoms())
def test_removing_all_leaves_nothing(rows, rng):
    tables, model = build(rows)
    order = list(model.values())
    rng.shuffle(order)
    for entry in order:
        tables.remove(entry)
        assert entry not in list(tables.select(Selection()))
    assert len(tables) == 0
    assert not any(tables.tables)


def test_equal_instructions_are_one_program():
    one = compile_instructions((ApplyActions((Output(7),)),))
    assert compile_instructions((ApplyActions((Output(7),)),)) is one
    assert compile_instructions((ApplyActions((Output(7),)),), table_miss=True) is not one


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.lists(st.integers(0, 12))), max_size=8))
def test_timeouts_second_by_second(rows):
    """Entries with (idle, hard, times of packets) end at the second that the specification says."""
    clock = Clock(0.0)
    expiry = Expiry()
    shape, packed = pack(Match())
    watched = {}
    for number, (idle, hard, packets) in enumerate(rows):
        entry = FlowEntry(0, shape, packed | number, PROGRAMS[0], 0.0)
        entry.idle, entry.hard = idle, hard
        expiry.watch(entry)
        watched[id(entry)] = (entry, sorted(packets))
    ended = {}
    while clock.now < 30:
        clock.now += 1

        def used(entry):
            return max([t for t in watched[id(entry)][1] if t < clock.now], default=0)

        for entry, reason in expiry.due(clock.now, used):
            assert id(entry) not in ended
            ended[id(entry)] = (clock.now, reason)
            entry.reason = reason
    for key, (entry, packets) in watched.items():
        assert ended.get(key) == _end(entry.idle, entry.hard, packets)
    assert expiry.next() is None


def _end(idle, hard, packets):
    """When and why such an entry ends: a packet at second t counts for what is looked at later."""
    for now in range(1, 31):
        if hard and now >= hard:
            return (now, 1)
        if idle and now >= idle + max([t for t in packets if t < now], default=0):
            return (now, 0)
    return None
