"""Random command lines raise nothing but a VsError and leave a configuration that keeps its rules."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctl import options, output, vsctl
from ctl.style import FORMATS, make_style
from vswitchd.config.command import VERBS, Command, check, from_wire
from vswitchd.config.engine import run
from vswitchd.config.rows import ref_base, ref_uuids
from vswitchd.config.schema import TABLES
from vswitchd.config.store import Store
from vswitchd.errors import VsError

_TEXT = """
    br0 br1 v5 p0 p1 5 -1 @x . "" tcp:1 k a=b k=v [] {} [1,2] x:y=z
    Bridge Port Interface QoS Queue Mirror Open_vSwitch SSL Controller b s
    name tag=7 tag qos=@x trunks=1-9 trunks{>=}1 other_config:a=b other_config name=br0
    queues:1=@x interfaces=[] ports=[] select_all=true output_port=@x mirrors=@x bridges=[]
    secure standalone controller external_ids:k fake_bridge=true statistics:a=1 ofport=5
"""
_WORDS = [*_TEXT.split(), ""]
_SPECIAL = "-- -t 5 --columns --may-exist -f json".split()  # noqa: SIM905 - reads better so
_OPTION_VALUES = st.sampled_from(["@x", "@y", "name,_uuid", "500", "x"])


@st.composite
def commands(draw):
    name = draw(st.sampled_from(list(VERBS)))
    verb = VERBS[name]
    chosen = draw(st.lists(st.sampled_from(verb.options), unique=True)) if verb.options else []
    given_options = {o.rstrip("="): draw(_OPTION_VALUES) if o.endswith("=") else None for o in chosen}
    high = verb.high if verb.high is not None else verb.low + 2
    args = draw(st.lists(st.sampled_from(_WORDS), min_size=verb.low, max_size=high))
    return check(Command(name, tuple(args), given_options))


# Lines that lay a ground to stand on, mixed in with the random ones.
_GROUND = [
    "add-br br0",
    "add-br br1",
    "add-br v5 br0 5",
    "add-port br0 p0",
    "add-port v5 p1",
    "--id=@q create QoS queues:1=@r -- --id=@r create Queue dscp=1 -- set Port p0 qos=@q",
    "--id=@p get Port p0 -- --id=@m create Mirror name=m output_port=@p -- add Bridge br0 mirrors @m",
    "set-controller br0 tcp:1 tcp:2",
]
_LINES = st.one_of(
    st.sampled_from(_GROUND).map(lambda line: options.parse(line.split()).commands),
    st.lists(commands(), min_size=1, max_size=3),
)


def check_rules(store):
    """Check by other means than the transaction does that the configuration keeps its rules."""
    snapshot = store.snapshot()
    referred = set()
    for table in TABLES.values():
        keys = [tuple(row.data[c] for c in table.index) for row in snapshot.rows(table.name)]
        assert not table.index or len(keys) == len(set(keys))
        for row in snapshot.rows(table.name):
            for column in table.columns.values():
                column.type.check(row.data[column.name])
            for column in table.references:
                base = ref_base(column.type)
                for uuid in ref_uuids(row, column.name):
                    assert snapshot.get(base.ref, uuid) is not None
                    referred |= set() if base.weak else {uuid}
    for table in TABLES.values():
        assert table.root or all(row.uuid in referred for row in snapshot.rows(table.name))
    assert len(list(snapshot.rows("Open_vSwitch"))) == 1


def stored(store):
    return {
        (name, row.uuid): {c: d for c, d in row.data.items() if not row.table.columns[c].computed}
        for name in TABLES
        for row in store.snapshot().rows(name)
    }


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.lists(_LINES, min_size=1, max_size=12), st.sampled_from(FORMATS))
def test_random_command_lines(lines, form):
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "config.db")
        store = Store.open(path)
        for line in lines:
            before = stored(store)
            try:
                outcome = run(store, line)
            except VsError:
                assert stored(store) == before
            else:
                for answer in outcome.answers:
                    if "columns" in answer:
                        assert isinstance(output.render(vsctl._table(answer), make_style(form)), str)
            check_rules(store)
        before = stored(store)
        store.close()
        store = Store.open(path)
        assert stored(store) == before
        store.close()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(list(VERBS)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=12,
)


@settings(deadline=None)
@given(_ANYTHING)
def test_anything_may_come_over_the_wire(value):
    try:
        parsed = from_wire(value)
    except VsError:
        return
    assert all(command.name in VERBS for command in parsed)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*_SPECIAL, *VERBS, *_WORDS]), max_size=8))
def test_any_command_line_parses_or_is_refused(words):
    try:
        read = options.parse(words)
    except VsError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert read.commands
