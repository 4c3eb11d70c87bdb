"""Hypothesis strategies for every OpenFlow message, generated from the codec's own tables."""

import re
import struct
from functools import cache

from hypothesis import strategies as st

from vswitchd.ofproto import (
    actions,
    actions10,
    bundle_messages,
    codec,
    hello,
    instructions,
    match10,
    messages10,
    oxm,
    tablefeatures,
    wire,
    wire10,
)  # fmt: skip
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13, OFPIT, OFPMF, OFPTFPT
from vswitchd.ofproto.errors import OFPBRC
from vswitchd.ofproto.fields import BY_NAME, FIELDS
from vswitchd.ofproto.messages import FlowMod, GroupMod, Hello, MeterMod, PortMod, RoleRequest, SetConfig
from vswitchd.ofproto.registry import BY_KEY

ROWS = tuple(BY_KEY[OFP_VERSION_13].values())
ROWS_10 = tuple(BY_KEY[OFP_VERSION_10].values())
ALL_ROWS = (*ROWS, *ROWS_10)
XIDS = st.integers(0, 0xFFFFFFFF)
INT_BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}

# Values that a check refuses (`checks.py`) or that mean something else on the wire.
OVERRIDES = {
    (FlowMod, "command"): st.integers(0, 4),
    (FlowMod, "flags"): st.integers(0, 31),
    (GroupMod, "command"): st.integers(0, 2),
    (GroupMod, "type"): st.integers(0, 3),
    (MeterMod, "command"): st.integers(0, 2),
    (MeterMod, "flags"): st.sampled_from([0, OFPMF.KBPS | OFPMF.BURST, OFPMF.PKTPS | OFPMF.STATS]).map(int),
    (PortMod, "mask"): st.integers(0, 0xFFFFFFFF).map(lambda bits: bits & 0x65),
    (RoleRequest, "role"): st.integers(0, 3),
    (SetConfig, "flags"): st.integers(0, 3),
    (Hello, "version"): st.integers(0, 255),
    (actions.PushVlan, "ethertype"): st.sampled_from([0x8100, 0x88A8]),
    (actions.PushMpls, "ethertype"): st.sampled_from([0x8847, 0x8848]),
    (actions.PushPbb, "ethertype"): st.just(0x88E7),
}


OVERRIDES_10 = {
    (FlowMod, "command"): st.integers(0, 4),
    (FlowMod, "flags"): st.integers(0, 3),
    (RoleRequest, "role"): st.integers(0, 2),
    (actions10.Enqueue, "port"): st.integers(0, 0xFEFF) | st.sampled_from([0xFFF8, 0xFFFE]),
}
OVERRIDES |= {
    (actions10.SetVlanVid, "vlan_vid"): st.integers(0, 0xFFF),
    (actions10.SetVlanPcp, "vlan_pcp"): st.integers(0, 7),
    (actions10.SetNwTos, "nw_tos"): st.integers(0, 63).map(lambda dscp: dscp << 2),
}


def ints(bits):
    """Numbers with their edges."""
    return st.integers(0, (1 << bits) - 1) | st.sampled_from([0, 1, (1 << bits) - 1])


@cache
def field_values(row):
    return ints(row.bits)


@st.composite
def constraints(draw, row):
    value = draw(field_values(row))
    if row.maskable and draw(st.booleans()):
        mask = draw(ints(row.bits))
        return row, value & mask, mask
    return row, value


@st.composite
def matches(draw):
    """Matches of any fields, with their prerequisites."""
    chosen = {}

    def want(row):
        if row in chosen:
            return
        for name, allowed in row.prereqs:
            need = BY_NAME[name]
            if need in chosen and (allowed and chosen[need][1] not in allowed):
                return
        for name, allowed in row.prereqs:
            need = BY_NAME[name]
            if need not in chosen:
                want(need)
                if need not in chosen:
                    return
                if allowed:
                    chosen[need] = (need, draw(st.sampled_from(allowed)))
                elif name == "vlan_vid":
                    chosen[need] = (need, 0x1000 | draw(st.integers(0, 4095)))
            elif name == "vlan_vid":
                chosen[need] = (need, 0x1000 | draw(st.integers(0, 4095)))
            elif allowed and chosen[need][1] not in allowed:
                return
        chosen[row] = draw(constraints(row))

    for row in draw(st.lists(st.sampled_from(FIELDS), max_size=5)):
        want(row)
    try:
        return oxm.Match.of(*chosen.values())
    except oxm.OFError:
        return oxm.Match()  # two fields whose prerequisites exclude one another


@st.composite
def matches10(draw):
    """Matches that 1.0 can say: what any bytes with these edges are read as."""
    wild = draw(st.sampled_from([0, 0x3FFFFF, 0x3820FF]) | ints(32))
    fixed = [
        draw(ints(16)),
        draw(st.binary(min_size=12, max_size=12)),
        draw(ints(16) | st.just(5)),
        draw(ints(8)),
    ]
    fixed += [draw(st.sampled_from([0x800, 0x806, 0x8035, 0x86DD]) | ints(16)), draw(ints(8))]
    fixed += [draw(st.sampled_from([1, 6, 17, 58, 132]) | ints(8)), draw(ints(32)), draw(ints(32))]
    wire_ = struct.pack("!IH12sHBxHBBxxIIHH", wild, *fixed, draw(ints(16)), draw(ints(16)))
    return match10.MATCH10.read(wire.Reader(wire_, 0, 40, OFPBRC.BAD_LEN, 1))


def text(size):
    chars = st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])
    return st.text(chars, max_size=(size - 1) // 4)


def fixed_columns(layout):
    """One strategy for each field that the struct fills."""
    index = 0
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", layout.fixed.format):
        if kind == "x":
            continue
        if kind == "s":
            size = int(count)
            yield text(size) if index in layout.text else st.binary(min_size=size, max_size=size)
            index += 1
            continue
        for _ in range(int(count or 1)):
            yield ints(INT_BITS[kind])
            index += 1


def recast(layout, version):
    """Objects of a layout of 1.0: drawn as what the wire can hold."""
    columns = {name: st.just(value) for name, value in layout.absent.items()}
    for step in layout.steps:
        if isinstance(step, wire10.Columns):
            sizes = wire.string_sizes(step.struct.format)
            kinds = [k for c, k in re.findall(r"(\d*)([a-zA-Z])", step.struct.format) if k != "x"
                     for _ in range(1 if k == "s" else int(c or 1))]  # fmt: skip
            for index, name in enumerate(step.names):
                if name in step.text:
                    column = text(sizes[index])
                elif index in sizes:
                    column = st.binary(min_size=sizes[index], max_size=sizes[index])
                else:
                    column = OVERRIDES_10.get((layout.cls, name), ints(INT_BITS[kinds[index]]))
                if name in step.convert:
                    column = column.map(step.convert[name].read)
                columns[name] = column
        elif isinstance(step, wire10.Part):
            columns[step.name] = of_codec(step.codec, 1, 0, version)
    return st.builds(layout.cls, **columns).map(as_read)


def as_read(value):
    """What of an object of 1.0 depends on the rest of it."""
    if isinstance(value, FlowMod):
        exact = match10.MATCH10.write(value.match, 1)[:4] == bytes(4)
        table = 255 if value.command in (3, 4) else 0
        return codec.replace(value, table_id=table, priority=0xFFFF if exact else value.priority)
    return value


def of_layout(layout, step=1, size=0, version=OFP_VERSION_13):
    """Objects of a layout; with `size` bytes before, bytes of variable length end at a multiple of `step`."""
    if isinstance(layout, wire10.Recast):
        return recast(layout, version)
    columns = list(fixed_columns(layout))
    first = size + layout.fixed.size
    for part in layout.parts:
        if isinstance(part, wire.Pad):
            first += len(part.zeros)
        else:
            columns.append(of_codec(part, step, first, version))
    names = list(layout.cls.__dataclass_fields__)[: len(columns)]
    columns = [OVERRIDES.get((layout.cls, name), col) for name, col in zip(names, columns, strict=True)]
    return st.builds(layout.cls, *columns)


@cache
def of_codec(part, step=1, size=0, version=OFP_VERSION_13):
    """Values of any codec."""
    if isinstance(part, wire.Rest):
        start = -size % step
        return st.sampled_from(range(4)).flatmap(
            lambda n: st.binary(min_size=start + n * step, max_size=start + n * step)
        )
    if isinstance(part, bundle_messages._Bundled):
        inner = st.sampled_from([row for row in ROWS if row.type not in bundle_messages._NEVER])
        return st.builds(bundle_messages.Bundled, st.just(1), inner.flatmap(of_row))
    if isinstance(part, wire.ListOf):
        inner = of_codec(part.element, 1, 0, version)
        if part is instructions.INSTRUCTIONS:
            return st.lists(inner, max_size=3, unique_by=type).map(tuple)
        return st.lists(inner, max_size=3).map(tuple)
    if isinstance(part, wire.Tlv):
        return st.one_of([of_codec(row, 8, 4, version) for row in part.rows[version].values()])
    if isinstance(part, wire.Sized):
        return of_codec(part.layout, 1, 0, version)
    if isinstance(part, wire.Counted):
        return of_codec(part.inner, 1, 0, version)
    if isinstance(part, messages10._Program):
        actions_ = of_codec(actions.ACTIONS, 1, 0, version)
        return actions_.map(lambda found: (instructions.ApplyActions(found),) if found else ())
    if isinstance(part, match10.Match10):
        return matches10()
    if isinstance(part, wire.Layout | wire10.Recast):
        return of_layout(part, step, size, version)
    if isinstance(part, oxm.MatchCodec):
        return matches()
    if isinstance(part, hello.HelloElements):
        return st.frozensets(st.integers(0, 70))
    if isinstance(part, hello.HeaderVersion):
        return st.integers(0, 255)
    if isinstance(part, tablefeatures.TablePropertyCodec):
        return properties()
    if part.cls is bundle_messages.BundleProperty:
        return st.builds(bundle_messages.BundleProperty, ints(16), st.binary(max_size=9))
    if part.cls is actions.SetField:
        settable = [row for row in FIELDS if row.settable]
        return st.sampled_from(settable).flatmap(
            lambda row: st.builds(actions.SetField, st.just(row), ints(row.bits))
        )
    raise TypeError(part)


@st.composite
def properties(draw):
    kind = draw(st.sampled_from([int(k) for k in OFPTFPT]))
    if kind >= OFPTFPT.EXPERIMENTER:
        who, what = draw(ints(32)), draw(ints(32))
        return tablefeatures.ExperimenterProperty(kind, who, what, draw(st.binary(max_size=20)))
    if kind in (2, 3):
        ids = st.integers(0, 255)
    elif kind >= 8:
        ids = st.sampled_from([row.oxm_id for row in FIELDS] + [0x2320FFFF0104])
    else:
        ids = st.sampled_from([int(i) for i in OFPIT if i != OFPIT.EXPERIMENTER] + [0x2320 << 32 | 0xFFFF])
    return tablefeatures.TableProperty(kind, tuple(draw(st.lists(ids, max_size=6))))


@cache
def of_row(row):
    """Messages of one row of the table."""
    body = of_layout(row.body, 1, 0, row.version)
    if isinstance(row.key, tuple) and len(row.key) == 2:
        return st.builds(lambda msg, more: codec.replace(msg, flags=more), body, st.integers(0, 1))
    return body


def row_id(row):
    """Name a row in a test's parameters."""
    return f"{row.cls.__name__}-{'1.0' if row.version == OFP_VERSION_10 else '1.3'}"


def xid_of(msg, other):
    """The xid to encode a message with: a bundle-add has that of the message within."""
    return msg.bundled.xid if isinstance(msg, bundle_messages.BundleAdd) else other


def whole(row, body):
    """A body of a row with what stands between header and body."""
    if isinstance(row.key, tuple) and len(row.key) == 2:
        return struct.pack("!HH" if row.version == OFP_VERSION_10 else "!HH4x", row.key[1], 0) + body
    return row.prefix + body


def any_message():
    return st.sampled_from(ROWS).flatmap(of_row)


def header(kind, body, version=OFP_VERSION_13, xid=1):
    """A message of raw parts."""
    return struct.pack("!BBHI", version, kind, 8 + len(body), xid) + body
