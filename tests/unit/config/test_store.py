"""The store: transactions are whole and durable, references are kept, a bad file gives one clear error."""

import os
import sqlite3

import pytest

from vswitchd.config import store as store_module
from vswitchd.config.schema import APPLICATION_ID, FORMAT_VERSION
from vswitchd.config.store import Store
from vswitchd.errors import ConfigError, StoreError


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "state" / "config.db")


@pytest.fixture
def store(path):
    opened = Store.open(path)
    yield opened
    opened.close()


def add_bridge(txn, name="br0", **port):
    interface = txn.insert("Interface", {"name": (name,), "type": ("internal",)})
    row = txn.insert("Port", {"name": (name,), "interfaces": (interface.uuid,), **port})
    bridge = txn.insert("Bridge", {"name": (name,), "ports": (row.uuid,)})
    bridges = txn.view.root.data["bridges"]
    txn.update(txn.view.root, {"bridges": tuple(sorted({*bridges, bridge.uuid}))})
    return bridge


def names(store, table):
    return [row.name for row in store.snapshot().rows(table)]


def test_what_was_committed_is_there_after_reopening(path):
    first = Store.open(path)
    first.transact(lambda txn: add_bridge(txn, tag=(7,), trunks=(1, 2), other_config=(("a", "ü"),)))
    before = first.snapshot()
    first.close()
    second = Store.open(path)
    port = next(second.snapshot().rows("Port"))
    assert (port["tag"], port["trunks"], dict(port["other_config"]), port["vlan_mode"]) == (
        7,
        (1, 2),
        {"a": "ü"},
        None,
    )
    assert {r.uuid for r in second.snapshot().rows("Bridge")} == {r.uuid for r in before.rows("Bridge")}
    assert second.snapshot().root.uuid == before.root.uuid
    second.close()


def test_the_file_is_private_and_marked(path):
    Store.open(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    assert db.execute("PRAGMA user_version").fetchone()[0] == FORMAT_VERSION
    db.close()


def test_a_transaction_that_raises_changes_nothing(store):
    def change(txn):
        add_bridge(txn)
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        store.transact(change)
    assert names(store, "Bridge") == []


def test_a_dry_run_checks_and_changes_nothing(store):
    store.transact(add_bridge, dry_run=True)
    assert names(store, "Bridge") == []
    store.transact(add_bridge)
    with pytest.raises(ConfigError, match="identical values"):
        store.transact(add_bridge, dry_run=True)


def test_names_are_unique_at_the_end_of_the_transaction(store):
    store.transact(add_bridge)
    with pytest.raises(ConfigError, match="identical values"):
        store.transact(add_bridge)

    def replace(txn):
        txn.update(txn.view.root, {"bridges": ()})
        add_bridge(txn)

    old = next(store.snapshot().rows("Bridge")).uuid
    store.transact(replace)
    assert names(store, "Bridge") == ["br0"]
    assert next(store.snapshot().rows("Bridge")).uuid != old


def test_unreferenced_rows_are_collected_and_weak_references_dropped(store):
    def mirror(txn):
        bridge = add_bridge(txn)
        txn.insert("QoS", {})
        port = next(txn.view.rows("Port"))
        row = txn.insert("Mirror", {"name": ("m",), "output_port": (port.uuid,)})
        txn.update(bridge, {"mirrors": (row.uuid,)})
        txn.insert("Controller", {"target": ("tcp:1",)})

    store.transact(mirror)
    assert names(store, "Mirror") == ["m"]
    assert names(store, "Controller") == []
    assert len(names(store, "QoS")) == 1

    store.transact(lambda txn: txn.update(next(txn.view.rows("Bridge")), {"ports": ()}))
    assert names(store, "Port") == names(store, "Interface") == []
    assert next(store.snapshot().rows("Mirror"))["output_port"] is None

    store.transact(lambda txn: txn.update(txn.view.root, {"bridges": ()}))
    assert names(store, "Bridge") == names(store, "Mirror") == []


def test_strong_references_forbid_deleting_and_dangling(store):
    store.transact(add_bridge)
    with pytest.raises(ConfigError, match=r"cannot delete Interface row .* because of 1 remaining reference"):
        store.transact(lambda txn: txn.delete(next(txn.view.rows("Interface"))))
    nowhere = "01234567-0123-0123-0123-0123456789ab"
    with pytest.raises(ConfigError, match=f"references nonexistent row {nowhere} in table QoS"):
        store.transact(lambda txn: txn.update(next(txn.view.rows("Port")), {"qos": (nowhere,)}))
    assert names(store, "Interface") == ["br0"]


def test_values_out_of_bounds_are_refused(store):
    store.transact(add_bridge)
    bad = [
        {"tag": (4096,)},
        {"tag": ("x",)},
        {"tag": (1, 2)},
        {"interfaces": ()},
        {"trunks": (2, 1)},
        {"tag": (True,)},
    ]
    for values in bad:
        with pytest.raises(ConfigError, match="constraint violation"):
            store.transact(lambda txn, values=values: txn.update(next(txn.view.rows("Port")), values))


def test_status_is_seen_but_not_stored(path):
    store = Store.open(path)
    store.transact(add_bridge)
    uuid = next(store.snapshot().rows("Interface")).uuid
    old = store.snapshot()
    values = {
        "ofport": 3,
        "error": "bad",
        "statistics": {"rx_packets": 1},
        "link_state": "up",
        "cfm_fault_status": ["b", "a"],
    }
    assert store.set_status("Interface", uuid, values)
    row = store.snapshot().get("Interface", uuid)
    assert (row["ofport"], row["error"], row["statistics"]["rx_packets"]) == (3, "bad", 1)
    assert row["cfm_fault_status"] == ("a", "b")
    assert old.get("Interface", uuid)["ofport"] is None
    store.transact(lambda txn: txn.update(txn.view.get("Interface", uuid), {"type": ("tap",)}))
    assert store.snapshot().get("Interface", uuid)["ofport"] == 3
    assert store.set_status("Interface", uuid, {"error": None})
    assert not store.set_status("Interface", "gone", {"error": None})
    with pytest.raises(ValueError, match="operator"):
        store.set_status("Interface", uuid, {"type": "tap"})
    with pytest.raises(ConfigError, match="allowed values"):
        store.set_status("Interface", uuid, {"link_state": "sideways"})
    store.close()
    again = Store.open(path)
    assert again.snapshot().get("Interface", uuid)["ofport"] is None
    assert again.snapshot().get("Interface", uuid)["type"] == "tap"
    again.close()


def test_next_cfg_grows_only_with_changes_that_somebody_waits_for(store):
    seen = []
    store.on_commit(lambda snapshot: seen.append(snapshot.next_cfg))
    store.transact(add_bridge, bump=True)
    store.transact(lambda txn: None, bump=True)
    store.transact(lambda txn: txn.insert("QoS", {}))
    assert (store.next_cfg, seen) == (1, [1, 1])
    store.set_applied(1)
    assert (store.cur_cfg, seen) == (1, [1, 1])


def test_listeners_can_be_ended_and_cannot_break_a_commit(store, caplog):
    seen = []
    end = store.on_commit(lambda _: seen.append("commit"))
    store.on_commit(lambda _: 1 / 0)
    store.on_change(lambda _: seen.append("change"))
    store.transact(add_bridge)
    store.set_applied(5)
    end()
    store.transact(lambda txn: txn.insert("QoS", {}))
    assert seen == ["commit", "change", "change", "change"]
    assert "a listener failed" in caplog.text
    assert len(names(store, "QoS")) == 1


def test_snapshot_walks_the_tree_sorted_by_name(store):
    for name in ("b", "a"):
        store.transact(lambda txn, name=name: add_bridge(txn, name))
    snapshot = store.snapshot()
    bridges = snapshot.refs(snapshot.root, "bridges")
    assert [b.name for b in bridges] == ["a", "b"]
    assert [p["interfaces"] for b in bridges for p in snapshot.refs(b, "ports")]
    assert snapshot.by_name("Bridge", "b") == bridges[1]
    assert snapshot.by_name("Bridge", "c") is None

    def qos(txn):
        queue = txn.insert("Queue", {"dscp": (3,)})
        txn.insert("QoS", {"queues": ((0, queue.uuid),)})

    store.transact(qos)
    row = next(store.snapshot().rows("QoS"))
    assert [q["dscp"] for q in store.snapshot().refs(row, "queues")] == [3]


def test_a_second_user_is_refused(store, path):
    with pytest.raises(StoreError, match="in use by another process"):
        Store.open(path, timeout=0.05)


def test_a_full_disk_refuses_the_change_and_keeps_the_rest(store):
    store.transact(add_bridge)
    db = store._file._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages}")
    big = tuple((f"key{n:05}", "x" * 50) for n in range(2000))
    with pytest.raises(StoreError, match="disk is full"):
        store.transact(lambda txn: txn.update(txn.view.root, {"other_config": big}))
    assert store.snapshot().root["other_config"] == {}
    db.execute("PRAGMA max_page_count=1000000")
    store.transact(lambda txn: txn.update(txn.view.root, {"other_config": big}))
    assert len(store.snapshot().root["other_config"]) == 2000


def make_file(path, script):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


def test_foreign_newer_and_broken_files_are_refused_untouched(path):
    make_file(path, "CREATE TABLE songs (name TEXT)")
    with pytest.raises(StoreError, match="another program"):
        Store.open(path)
    db = sqlite3.connect(path)
    assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["songs"]
    db.close()
    os.unlink(path)

    Store.open(path).close()
    make_file(path, f"PRAGMA user_version={FORMAT_VERSION + 1}")
    with pytest.raises(StoreError, match=f"format version {FORMAT_VERSION + 1}"):
        Store.open(path)
    os.unlink(path)

    with open(path, "wb") as file:
        file.write(b"this is no database, this is a letter to my aunt " * 100)
    with pytest.raises(StoreError, match="is damaged"):
        Store.open(path)


@pytest.mark.parametrize("value", ["not json", "[1, 2]", "[5000]", '["x"]', "7", "{}"])
def test_a_damaged_value_names_its_place(path, value):
    store = Store.open(path)
    store.transact(lambda txn: add_bridge(txn, tag=(5,)))
    store.close()
    make_file(path, f"UPDATE Port SET tag = '{value}'")
    with pytest.raises(StoreError, match=r"Port row .* column tag is damaged"):
        Store.open(path)


def test_a_cut_off_file_is_refused(path):
    store = Store.open(path)
    store.transact(add_bridge)
    store.close()
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(StoreError, match="is damaged"):
        Store.open(path)


def test_a_directory_or_missing_parent_is_refused(tmp_path):
    (tmp_path / "config.db").mkdir()
    with pytest.raises(StoreError, match="cannot open the database"):
        Store.open(str(tmp_path / "config.db"))


def test_a_column_of_a_later_version_of_the_schema_is_added(path):
    store = Store.open(path)
    store.transact(add_bridge)
    store.close()
    make_file(path, "ALTER TABLE Port DROP COLUMN tag; DROP TABLE Mirror")
    store = Store.open(path)
    assert next(store.snapshot().rows("Port"))["tag"] is None
    store.transact(lambda txn: txn.update(next(txn.view.rows("Port")), {"tag": (9,)}))
    store.close()
    store = Store.open(path)
    assert next(store.snapshot().rows("Port"))["tag"] == 9
    store.close()


def test_status_that_was_told_before_is_not_looked_at_again(store, monkeypatch):
    seen = []
    plain = store_module.to_datum
    monkeypatch.setattr(
        store_module, "to_datum", lambda kind, value: seen.append(value) or plain(kind, value)
    )
    store.transact(add_bridge)
    row = store.snapshot().by_name("Interface", "br0")
    tell = {"link_state": "up", "statistics": {"rx_packets": 1}}
    for _ in range(3):
        store.set_status("Interface", row.uuid, dict(tell))
    assert seen == ["up", {"rx_packets": 1}]
    store.set_status("Interface", row.uuid, {"link_state": "down"})
    store.set_status("Interface", row.uuid, dict(tell))
    assert store.snapshot().by_name("Interface", "br0")["link_state"] == "up"
    store.transact(lambda txn: txn.update(txn.view.get("Interface", row.uuid), {"mtu_request": (1400,)}))
    store.set_status("Interface", row.uuid, {**tell, "statistics": {"rx_packets": 2}})
    assert store.snapshot().by_name("Interface", "br0")["statistics"] == {"rx_packets": 2}
