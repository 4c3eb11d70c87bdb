"""Value syntax: what is printed reads back as the same value, and what is wrong says why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vswitchd.config.schema import TABLES
from vswitchd.config.syntax import format_atom, format_datum, parse_atom, parse_datum
from vswitchd.config.types import DEFAULT_ATOM, Base, Kind, Type
from vswitchd.config.wire import pack_type, unpack_datum, unpack_type
from vswitchd.errors import ConfigError

_COLUMNS = [(table.name, column.name) for table in TABLES.values() for column in table.columns.values()]
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def atoms(base: Base):
    if base.enum:
        return st.sampled_from(base.enum)
    return {
        Kind.INTEGER: st.integers(base.low, base.high),
        Kind.BOOLEAN: st.booleans(),
        Kind.UUID: st.uuids().map(str),
        Kind.STRING: _TEXT,
    }[base.kind]


def datums(kind: Type):
    low, high = kind.low, min(kind.high or 6, 6)
    if kind.value is not None:
        pairs = st.dictionaries(atoms(kind.key), atoms(kind.value), min_size=low, max_size=high)
        return pairs.map(lambda d: tuple(sorted(d.items())))
    return st.sets(atoms(kind.key), min_size=low, max_size=high).map(lambda s: tuple(sorted(s)))


def type_of(case):
    return TABLES[case[0]].columns[case[1]].type


@settings(deadline=None)
@given(st.sampled_from(_COLUMNS).flatmap(lambda case: st.tuples(st.just(case), datums(type_of(case)))))
def test_printing_then_parsing_gives_the_value_again(case):
    (table, column), datum = case
    kind = TABLES[table].columns[column].type
    assert parse_datum(kind, format_datum(kind, datum)) == datum
    sent = [list(item) if isinstance(item, tuple) else item for item in datum]
    assert unpack_datum(unpack_type(pack_type(kind)), sent) == datum


@settings(deadline=None)
@given(st.sampled_from(list(Kind)).flatmap(lambda k: st.tuples(st.just(k), atoms(Base(k)))))
def test_printed_atoms_read_back(case):
    kind, atom = case
    assert parse_atom(Base(kind), format_atom(kind, atom)) == atom


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from(_COLUMNS))
def test_any_text_is_a_valid_value_or_a_clear_error(text, column):
    kind = TABLES[column[0]].columns[column[1]].type
    try:
        datum = parse_datum(kind, text)
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right
    else:
        kind.check(datum)


STRINGS = Type(Base(Kind.STRING), low=0, high=None)
VLANS = Type(Base(Kind.INTEGER, 0, 4095), low=0, high=4096)
MAP = Type(Base(Kind.STRING), Base(Kind.STRING), low=0, high=None)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (STRINGS, "a,b", ("a", "b")),
        (STRINGS, "b a", ("a", "b")),
        (STRINGS, "[]", ()),
        (STRINGS, '["a b", "c,d"]', ("a b", "c,d")),
        (STRINGS, "", ()),
        (VLANS, "[1-3,7]", (1, 2, 3, 7)),
        (VLANS, "0-4095", tuple(range(4096))),
        (MAP, "{a=1, b=2}", (("a", "1"), ("b", "2"))),
        (MAP, 'a = "x\\ty"', (("a", "x\ty"),)),
        (MAP, "{}", ()),
        (Type(Base(Kind.BOOLEAN)), "yes", (True,)),
        (
            Type(Base(Kind.UUID), low=0),
            "ABCDEF00-0000-0000-0000-00000000000A",
            ("abcdef00-0000-0000-0000-00000000000a",),
        ),
    ],
)
def test_readable_values(kind, text, expected):
    assert parse_datum(kind, text) == expected


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (STRINGS, "[a", 'missing "]" at end of data'),
        (STRINGS, "[a]b", 'trailing garbage after "]"'),
        (STRINGS, "a,,b", 'unexpected "," parsing set of strings'),
        (STRINGS, "a,a", "set contains duplicate value"),
        (STRINGS, '"a', "quoted string extends past end of argument"),
        (STRINGS, "a\\", "backslash at end of argument"),
        (STRINGS, '"\\q"', "invalid escape or quote"),
        (STRINGS, '"\\u0000"', "NUL"),
        (STRINGS, '"\\ud800"', "UTF-8"),
        (STRINGS, "\udc80", "UTF-8"),
        (VLANS, "4096", "4096 is not in the valid range 0 to 4095 (inclusive)"),
        (VLANS, "9-1", "Range end cannot be before start"),
        (VLANS, "9" * 5000, "is not a valid integer or range"),
        (Type(Base(Kind.INTEGER), low=0, high=None), "0-9223372036854775807", "Range is too big"),
        (MAP, "a", 'syntax error at "" expecting "="'),
        (MAP, "a=1,a=2", "map contains duplicate key"),
        (Type(Base(Kind.STRING)), "[]", "0 value(s) specified but the minimum number is 1"),
        (Type(Base(Kind.STRING)), "a,b", "2 value(s) specified but the maximum number is 1"),
        (Type(Base(Kind.UUID)), "@x", '"@x" is not a valid UUID'),
    ],
)
def test_wrong_values_say_why(kind, text, message):
    with pytest.raises(ConfigError) as caught:
        parse_datum(kind, text)
    assert message in str(caught.value)


def test_every_column_accepts_its_default():
    for table in TABLES.values():
        for column in table.columns.values():
            default = column.type.default()
            assert len(default) == column.type.low
            if column.type.low and not column.type.key.ref:
                assert DEFAULT_ATOM[column.type.key.kind] == default[0]
            column.type.check_count(len(default))


def test_every_reference_points_to_a_table():
    for table in TABLES.values():
        for column in table.references:
            bases = (column.type.key, column.type.value)
            assert any(base is not None and base.ref in TABLES for base in bases)
