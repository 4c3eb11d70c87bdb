"""Names in use: chains of commands share what they know of them, and know the same as whoever looks afresh."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctl import options
from vswitchd.config import context
from vswitchd.config.engine import run
from vswitchd.config.store import Store
from vswitchd.config.topology import Topology
from vswitchd.errors import VsError


def names(topology):
    """All that a topology says, as plain values."""
    return (
        {b.name: (b.row.uuid, b.parent, b.vlan) for b in topology.bridges.values()},
        {name: (port.row.uuid, port.bridge.name) for name, port in topology.ports.items()},
        {name: (row.uuid, port.uuid) for name, (row, port) in topology.interfaces.items()},
    )


@pytest.fixture
def store(tmp_path):
    made = Store.open(str(tmp_path / "config.db"))
    yield made
    made.close()


def test_a_chain_looks_at_everything_once(store, monkeypatch):
    built = []
    monkeypatch.setattr(context, "Topology", lambda view: built.append(1) or Topology(view))
    words = ["add-br", "br0"]
    for i in range(100):
        words += f"-- add-port br0 p{i} tag=5 -- set Interface p{i} type=tap options:a=b".split()
    run(store, options.parse(words).commands)
    assert len(built) <= 2
    run(
        store,
        options.parse(["list-ports", "br0", "--", "port-to-br", "p7", "--", "iface-to-br", "p8"]).commands,
    )
    assert len(built) <= 3


_COMMANDS = st.sampled_from(
    """
    add-br br0 | add-br br1 | add-br v5 br0 5 | add-br v6 br0 6 | add-port br0 p0 | add-port v5 p1 | add-port br1 p2 tag=5
    add-port br0 p3 tag=5 | set Port p0 tag=5 | set Port p3 tag=6 | clear Port p1 tag | set Port v5 tag=9
    set Port p0 fake_bridge=true | del-port p0 | del-port p1 | del-port br0 p3 | del-br v5 | del-br br0 | del-br br1
    set Interface p0 type=tap | --if-exists destroy Port p2 | clear Bridge br1 ports | remove Open_vSwitch . bridges br1
    """.replace("\n", "|").split("|")
).map(str.split)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(_COMMANDS.filter(bool), min_size=1, max_size=6), min_size=1, max_size=8))
def test_what_is_shared_is_what_is_there(lines):
    looks = []

    class Checked(context.Context):
        def topology(self):
            known = super().topology()
            looks.append(names(known) == names(Topology(self.view)))
            return known

    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vswitchd.config.engine.Context", Checked)
        store = Store.open(str(Path(directory) / "config.db"))
        for line in [["add-br", "br0"], *lines]:
            chain = line if isinstance(line[0], str) else [w for c in line for w in ("--", *c)][1:]
            try:
                run(store, options.parse(chain).commands)
            except VsError:
                continue
        store.close()
    assert all(looks)
