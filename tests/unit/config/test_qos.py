"""QoS and Queue rows as values: Open vSwitch's names and units, and one line for what cannot be."""

import pytest

from vswitchd.config.qos import read, touched_interfaces
from vswitchd.config.store import Store
from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec
from vswitchd.errors import ConfigError


@pytest.fixture
def store(tmp_path):
    opened = Store.open(str(tmp_path / "config.db"))

    def change(txn):
        interface = txn.insert("Interface", {"name": ("p0",)})
        port = txn.insert("Port", {"name": ("p0",), "interfaces": (interface.uuid,)})
        bridge = txn.insert("Bridge", {"name": ("br0",), "ports": (port.uuid,)})
        txn.update(txn.view.root, {"bridges": (bridge.uuid,)})

    opened.transact(change)
    yield opened
    opened.close()


def config(values):
    return {"other_config": tuple(sorted(values.items()))}


def give(store, kind="linux-htb", qos=None, queues=None):
    """Give port p0 such a QoS, in place of the one it has."""

    def change(txn):
        rows = {i: txn.insert("Queue", config(values)).uuid for i, values in (queues or {}).items()}
        row = txn.insert("QoS", {"type": (kind,), "queues": tuple(sorted(rows.items())), **config(qos or {})})
        txn.update(txn.view.by_name("Port", "p0"), {"qos": (row.uuid,)})

    store.transact(change)


def reading(store):
    snapshot = store.snapshot()
    return read(snapshot, snapshot.by_name("Port", "p0"))


def test_rates_bursts_priorities_and_bounds(store):
    assert reading(store) is None
    full = {"min-rate": "1", "max-rate": "2", "burst": "3", "priority": "4", "vs-queue-packets": "5"}
    full["vs-queue-bytes"] = "6"
    give(store, qos={"max-rate": "10000000", "unknown": "x"}, queues={7: full, 0: {}})
    assert reading(store) == QosSpec(10_000_000, (QueueSpec(0), QueueSpec(7, 1, 2, 3, 4, 5, 6)))


@pytest.mark.parametrize("kind", ["", "linux-noop"])
def test_no_qos(store, kind):
    give(store, kind, {"max-rate": "bad"})
    assert reading(store) is None


def test_a_policer_counts_in_bytes(store):
    give(store, "egress-policer", {"cir": "46000000", "cbs": "2048"})
    assert reading(store) == QosSpec(368_000_000, (), QosKind.POLICE, 16384)


@pytest.mark.parametrize(
    ("kind", "qos", "queues", "text"),
    [
        ("linux-hfsc", {}, {}, 'type "linux-hfsc" is not supported: use linux-htb or egress-policer'),
        ("egress-policer", {}, {}, "type egress-policer needs other_config:cir, bytes a second"),
        ("linux-htb", {"max-rate": "10M"}, {}, 'other_config:max-rate "10M" is not a number from 0 to 1'),
        ("linux-htb", {"max-rate": "-1"}, {}, 'other_config:max-rate "-1" is not'),
        ("linux-htb", {"max-rate": "9" * 40}, {}, "is not a number"),
        ("linux-htb", {"max-rate": "²"}, {}, "is not a number"),
        ("linux-htb", {}, {3: {"min-rate": ""}}, 'queue 3: other_config:min-rate "" is not a number'),
        ("linux-htb", {}, {3: {"min-rate": "5", "max-rate": "4"}}, "queue 3: min-rate 5 is over max-rate 4"),
        ("linux-htb", {}, {3: {"priority": str(1 << 32)}}, "queue 3: other_config:priority"),
        ("linux-htb", {}, {0xFFFFFFFF: {}}, "queue 4294967295 cannot be"),
    ],
)
def test_what_cannot_be_is_one_line(store, kind, qos, queues, text):
    give(store, kind, qos, queues)
    with pytest.raises(ConfigError) as told:
        reading(store)
    assert str(told.value).startswith(text) or text in str(told.value)
    assert "\n" not in str(told.value)


def test_whose_qos_was_touched(store):
    interface = next(store.snapshot().rows("Interface")).uuid

    def change(act):
        before = store.snapshot()
        act()
        return touched_interfaces(before, store.snapshot())

    def set_row(table, **values):
        store.transact(lambda txn: txn.update(next(txn.view.rows(table)), values))

    assert change(lambda: give(store, queues={1: {}})) == [interface]
    assert change(lambda: set_row("Queue", other_config=(("max-rate", "5"),))) == [interface]
    assert change(lambda: set_row("QoS", other_config=(("max-rate", "5"),))) == [interface]
    assert change(lambda: set_row("Port", tag=(3,))) == []
    assert change(lambda: set_row("Queue", dscp=(3,))) == []
    assert change(lambda: set_row("Port", qos=())) == []
