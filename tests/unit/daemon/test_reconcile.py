"""Reconciliation: what is stored is what runs, and one bad row hurts no other."""

import asyncio
import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_switch import FakePort

from vswitchd.bridge_spec import stable_mac
from vswitchd.datapath import dp
from vswitchd.datapath.dp import DatapathError

LOCAL = 0xFFFFFFFE


def numbers(bench):
    return {h.name: h.ofport for h in bench.datapath.attached.values()}


def test_a_bridge_with_its_ports_runs_and_is_acknowledged(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}), ("p2", {"ofport_request": (7,)}, {}))
        bench.reconciler.apply()
        assert numbers(bench) == {"br0": LOCAL, "p1": 1, "p2": 7}
        assert bench.store.cur_cfg == bench.store.next_cfg == 1
        row = bench.interface("p2")
        assert (row["ofport"], row["link_state"], row["mtu"], row["error"]) == (7, "up", 1500, None)
        assert bench.interface("br0")["ofport"] == 65534
        assert bench.reconciler.openflow["br0"].events == [("added", "br0"), ("added", "p1"), ("added", "p2")]

    switch(test)


def test_commits_of_one_loop_turn_are_applied_together_and_soon(switch):
    async def test(bench):
        bench.store.on_commit(lambda _: bench.reconciler.schedule())
        bench.bridge("br0")
        bench.add_port("br0", "p1")
        assert bench.datapath.attached == {}
        await asyncio.sleep(0)
        assert set(numbers(bench)) == {"br0", "p1"}
        assert bench.store.cur_cfg == 2

    switch(test)


def test_a_port_that_cannot_be_made_has_its_error_and_hurts_no_other(switch):
    async def test(bench):
        bench.bridge("br0", ("bad", {"options": (("fail", "no such thing"),)}, {}), ("good", {}, {}))
        bench.add_port("br0", "odd", {"type": ("nosuchtype",)})
        bench.reconciler.apply()
        assert set(numbers(bench)) == {"br0", "good"}
        assert bench.interface("bad")["error"] == "no such thing"
        assert bench.interface("bad")["ofport"] == -1
        assert "nosuchtype" in bench.interface("odd")["error"]
        assert bench.store.cur_cfg == bench.store.next_cfg
        bench.set("Interface", "bad", options=())
        bench.reconciler.apply()
        assert bench.interface("bad")["error"] is None
        assert "bad" in numbers(bench)

    switch(test)


def test_an_unchanged_port_is_left_alone_and_a_changed_one_is_changed_in_place_where_it_can(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {"options": (("a", "1"),)}, {}), ("p2", {}, {}))
        bench.reconciler.apply()
        one, two = bench.driver("p1"), bench.driver("p2")
        bench.set("Interface", "p2", options=(("live", "yes"),))
        bench.reconciler.apply()
        assert bench.driver("p2") is two
        assert two.config.options == {"live": "yes"}
        bench.set("Interface", "p2", options=(("other", "x"),))
        bench.reconciler.apply()
        assert two.stopped
        assert bench.driver("p2") is not two
        assert bench.driver("p1") is one
        assert not one.stopped

    switch(test)


def test_numbers_survive_a_restart_and_are_not_reused(switch, tmp_path):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}), ("p2", {}, {}), ("p3", {}, {}))
        bench.reconciler.apply()
        bench.del_port("br0", "p1")
        bench.add_port("br0", "p4")
        bench.reconciler.apply()
        assert numbers(bench) == {"br0": LOCAL, "p2": 2, "p3": 3, "p4": 4}
        stored = json.loads((tmp_path / "ofports.json").read_text())
        assert stored["bridges"]["br0"]["ports"] == {"p2": 2, "p3": 3, "p4": 4}

    async def again(bench):
        bench.reconciler.apply()
        assert numbers(bench) == {"br0": LOCAL, "p2": 2, "p3": 3, "p4": 4}

    switch(test)
    switch(again)


def test_a_request_for_a_taken_number_moves_the_other_port(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}), ("p2", {}, {}))
        bench.reconciler.apply()
        bench.set("Interface", "p2", ofport_request=(1,))
        bench.reconciler.apply()
        assert numbers(bench) == {"br0": LOCAL, "p2": 1, "p1": 3}

    switch(test)


@pytest.mark.parametrize(
    ("columns", "vlan"),
    [
        ({}, ("trunk", 0, ())),
        ({"tag": (10,)}, ("access", 10, ())),
        ({"tag": (10,), "trunks": (3, 4)}, ("access", 10, ())),
        ({"trunks": (3, 4)}, ("trunk", 0, (3, 4))),
        ({"tag": (10,), "trunks": (3,), "vlan_mode": ("native-tagged",)}, ("native-tagged", 10, (3,))),
        ({"tag": (10,), "vlan_mode": ("native-untagged",)}, ("native-untagged", 10, ())),
        ({"tag": (10,), "trunks": (5,), "vlan_mode": ("trunk",)}, ("trunk", 10, (5,))),
    ],
)
def test_vlan_columns(switch, columns, vlan):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, columns))
        bench.reconciler.apply()
        assert bench.datapath.attached["p1"].vlan == vlan

    switch(test)


def test_a_vlan_change_does_not_remake_the_port(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))
        bench.reconciler.apply()
        before = bench.driver("p1")
        bench.set("Port", "p1", tag=(5,))
        bench.reconciler.apply()
        assert bench.driver("p1") is before
        assert bench.datapath.attached["p1"].vlan == ("access", 5, ())

    switch(test)


def test_bridge_settings(switch):
    async def test(bench):
        config = (("forward-bpdu", "true"), ("mac-aging-time", "60"), ("mac-table-size", "nonsense"))
        bench.bridge("br0", other_config=config)
        bench.bridge(
            "br1", other_config=(("datapath-id", "00000000000000ff"), ("hwaddr", "02:00:00:00:00:09"))
        )
        bench.reconciler.apply()
        br0, br1 = bench.datapath.bridges
        assert br0.fdb_limits == (8192, 60)
        assert br0.bpdu is True
        assert br1.bpdu is False
        rows = bench.store.snapshot()
        assert rows.by_name("Bridge", "br1")["datapath_id"] == "00000000000000ff"
        assert bench.interface("br1")["mac_in_use"] == "02:00:00:00:00:09"
        mac = stable_mac(rows.by_name("Bridge", "br0").uuid)
        assert bench.interface("br0")["mac_in_use"] == mac
        assert rows.by_name("Bridge", "br0")["datapath_id"] == "0000" + mac.replace(":", "")

    switch(test)


def test_what_has_no_effect_is_said_once(switch):
    async def test(bench):
        bench.bridge(
            "br0", ("p1", {"ingress_policing_rate": (5,)}, {}), stp_enable=(True,), protocols=("OpenFlow10",)
        )
        bench.set("Bridge", "br0", other_config=(("datapath-id", "zz"),))
        said = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logging.getLogger("vswitchd").addHandler(handler)
        bench.reconciler.apply()
        bench.reconciler.apply()
        logging.getLogger("vswitchd").removeHandler(handler)
        text = "\n".join(said)
        assert text.count("bridge br0: column stp_enable is not supported") == 1
        assert text.count("interface p1: column ingress_policing_rate is not supported") == 1
        assert "protocols do not name OpenFlow13" in text
        assert "other_config:datapath-id=zz" in text

    switch(test)


def test_patch_ports_pair_only_when_both_say_so(switch):
    def patch(peer):
        return {"type": ("patch",), "options": (("peer", peer),)}

    async def test(bench):
        bench.bridge("br0", ("a", patch("b"), {}))
        bench.bridge("br1", ("b", patch("a"), {}), ("c", patch("a"), {}))
        bench.reconciler.apply()
        live = bench.datapath.attached
        assert (live["a"].peer, live["b"].peer, live["c"].peer) == (live["b"], live["a"], None)
        assert bench.interface("a")["error"] is None
        assert bench.interface("c")["error"] == "No usable peer 'a' exists in this switch."
        bench.del_port("br1", "b")
        bench.reconciler.apply()
        assert live["a"].peer is None
        assert "No usable peer" in bench.interface("a")["error"]

    switch(test)


def test_a_removed_bridge_takes_its_ports_and_connections_down(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))
        bench.bridge("br1", ("p2", {}, {}))
        bench.reconciler.apply()
        driver, side = bench.driver("p1"), bench.reconciler.openflow["br0"]
        keep = tuple(r.uuid for r in bench.store.snapshot().rows("Bridge") if r.name == "br1")
        bench.set("Open_vSwitch", ".", bridges=keep)
        bench.reconciler.apply()
        await asyncio.sleep(0)
        assert driver.stopped
        assert side.closed
        assert set(numbers(bench)) == {"br1", "p2"}
        assert [b.name for b in bench.datapath.bridges] == ["br1"]

    switch(test)


def test_a_port_can_move_to_another_bridge_in_one_transaction(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))
        bench.bridge("br1")
        bench.reconciler.apply()

        def move(txn):
            port = txn.view.by_name("Port", "p1").uuid
            old, new = txn.view.by_name("Bridge", "br0"), txn.view.by_name("Bridge", "br1")
            txn.update(old, {"ports": tuple(u for u in old["ports"] if u != port)})
            txn.update(new, {"ports": tuple(sorted([*new["ports"], port]))})

        bench.store.transact(move)
        bench.reconciler.apply()
        assert bench.datapath.attached["p1"].bridge == "br1"

    switch(test)


def test_link_changes_reach_the_store_the_datapath_and_openflow(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))
        bench.reconciler.apply()
        assert bench.datapath.attached["p1"].link is True
        bench.driver("p1").set_link(up=False)
        await asyncio.sleep(0)
        assert bench.datapath.attached["p1"].link is False
        row = bench.interface("p1")
        assert (row["link_state"], row["link_resets"]) == ("down", 1)
        assert bench.reconciler.openflow["br0"].events[-1] == ("changed", "p1")

    switch(test)


def test_statistics_carry_open_vswitch_names(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))
        bench.reconciler.apply()
        count = bench.datapath.attached["p1"].count
        count.rx_packets, count.rx_forwarded, count.rx_drops = 10, 6, {"runt": 1, "table_miss": 3}
        count.tx_packets, count.tx_drops = 5, {"ring_full": 2}
        bench.reconciler.publish()
        seen = bench.interface("p1")["statistics"]
        assert (seen["rx_packets"], seen["rx_errors"], seen["rx_dropped"]) == (10, 1, 3)
        assert (seen["tx_packets"], seen["tx_dropped"], seen["ovs_tx_failure_drops"]) == (5, 2, 2)

    switch(test)


def test_cores_sleep_and_pinning_follow_other_config(switch):
    async def test(bench):
        pin = {"other_config": (("pmd-rxq-affinity", "0:2,1:9"),)}
        bench.bridge("br0", ("p1", pin, {}))
        bench.reconciler.apply()
        assert bench.datapath.cpus == [1, 2, 3]
        assert bench.datapath.sleep == 2000
        assert bench.datapath.pins == {("p1", 0): 2, ("p1", 1): 9}
        bench.set("Open_vSwitch", ".", other_config=(("pmd-cpu-mask", "0x4"), ("vs-idle-sleep-us", "never")))
        bench.reconciler.apply()
        assert bench.datapath.cpus == [2]
        assert bench.datapath.sleep is None

    switch(test)


def test_a_port_that_waits_for_its_kernel_interface_is_made_when_that_appears(switch):
    async def test(bench):
        bench.bridge("br0", ("eth9", {"type": ("system",), "options": (("fail", "not there"),)}, {}))
        bench.reconciler.apply()
        assert bench.interface("eth9")["error"] == "not there"
        bench.reconciler.interface_changed("eth8", 8, gone=False)
        assert "eth9" not in numbers(bench)
        port = bench.reconciler.bridges["br0"].ports["eth9"]
        port.spec.config.options.clear()
        bench.reconciler.interface_changed("eth9", 9, gone=False)
        assert numbers(bench)["eth9"] == 1
        assert bench.interface("eth9")["error"] is None
        assert bench.reconciler.openflow["br0"].events[-1] == ("added", "eth9")

    switch(test)


def test_a_tap_whose_name_was_taken_is_made_when_the_name_is_free(switch, monkeypatch):
    taken = {"t9": 44}
    monkeypatch.setattr("vswitchd.bridge.ifindex_of", lambda name: taken.get(name, 0))

    async def test(bench):
        bench.bridge("br0", ("t9", {"type": ("tap",), "options": (("fail", "exists already"),)}, {}))
        bench.reconciler.apply()
        assert bench.interface("t9")["error"] == "exists already"
        bench.reconciler.bridges["br0"].ports["t9"].spec.config.options.clear()
        for name, index, gone in (("t9", 44, False), ("other", 45, True), ("t9", 45, True)):
            bench.reconciler.interface_changed(name, index, gone=gone)
            assert "t9" not in numbers(bench)
        bench.reconciler.interface_changed("renamed", 44, gone=False)
        assert numbers(bench)["t9"] == 1
        assert bench.interface("t9")["error"] is None

    switch(test)


def test_an_interface_with_which_a_port_failed_does_not_make_it_try_again(switch, monkeypatch):
    monkeypatch.setattr("vswitchd.bridge.ifindex_of", lambda _: 44)

    async def test(bench):
        bench.bridge("br0", ("eth9", {"type": ("system",), "options": (("fail", "bad MTU"),)}, {}))
        bench.reconciler.apply()
        bench.reconciler.bridges["br0"].ports["eth9"].spec.config.options.clear()
        bench.reconciler.interface_changed("eth9", 44, gone=False)
        assert "eth9" not in numbers(bench)
        bench.reconciler.interface_changed("eth9", 45, gone=False)
        assert "eth9" in numbers(bench)

    switch(test)


def test_a_tap_that_fails_for_another_reason_is_not_tried_at_each_event(switch):
    async def test(bench):
        bench.bridge("br0", ("t9", {"type": ("tap",), "options": (("fail", "bad MTU"),)}, {}))
        bench.reconciler.apply()
        bench.reconciler.bridges["br0"].ports["t9"].spec.config.options.clear()
        bench.reconciler.interface_changed("t9", 44, gone=True)
        assert "t9" not in numbers(bench)

    switch(test)


def test_a_running_port_that_lost_its_interface_shows_why(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))
        bench.reconciler.apply()
        driver = bench.driver("p1")
        driver.now = replace(driver.now, link_up=False, info={"error": "interface p1 was deleted"})
        bench.reconciler.publish()
        row = bench.interface("p1")
        assert (row["error"], row["link_state"]) == ("interface p1 was deleted", "down")
        driver.now = replace(driver.now, link_up=True, info={})
        bench.reconciler.publish()
        assert bench.interface("p1")["error"] is None

    switch(test)


def test_punts_go_to_their_bridge(switch):
    async def test(bench):
        bench.bridge("br0")
        bench.reconciler.apply()
        bench.reconciler.punt(SimpleNamespace(bridge=8, data=b"lost"))
        bench.reconciler.punt(SimpleNamespace(bridge=7, data=b"mine"))
        assert bench.reconciler.openflow["br0"].events[1:] == [("punt", b"mine")]

    switch(test)


def test_hundreds_of_ports_on_several_bridges(switch):
    async def test(bench):
        for b in range(4):
            bench.bridge(f"br{b}", *[(f"p{b}-{i}", {}, {}) for i in range(100)])
        bench.reconciler.apply()
        assert len(bench.datapath.attached) == 404
        assert sorted(n for n in numbers(bench).values() if n != LOCAL) == sorted(list(range(1, 101)) * 4)

    switch(test)


def test_a_bond_is_refused_by_its_ports_alone(switch):
    async def test(bench):
        bench.bridge("br0", ("p1", {}, {}))

        def bond(txn):
            rows = [txn.insert("Interface", {"name": (n,), "type": ("fake",)}).uuid for n in ("m1", "m2")]
            port = txn.insert("Port", {"name": ("bond0",), "interfaces": tuple(sorted(rows))})
            bridge = txn.view.by_name("Bridge", "br0")
            txn.update(bridge, {"ports": tuple(sorted([*bridge["ports"], port.uuid]))})

        bench.store.transact(bond)
        bench.reconciler.apply()
        assert set(numbers(bench)) == {"br0", "p1"}
        assert "bonds are not supported" in bench.interface("m1")["error"]

    switch(test)


def test_a_port_that_the_datapath_refuses_is_given_back(switch, monkeypatch):
    def refuse(handle, bridge, ofport, name=""):
        raise DatapathError("port table is full", 28)

    async def test(bench):
        destroyed, drivers = [], []
        monkeypatch.setattr(bench.datapath, "attach", refuse)
        monkeypatch.setattr(dp, "lib", SimpleNamespace(vs_port_destroy=destroyed.append))
        stop = FakePort.stop
        monkeypatch.setattr(FakePort, "stop", lambda port: (drivers.append(port.handle), stop(port)))
        bench.bridge("br0", ("p1", {}, {}))
        bench.reconciler.apply()
        assert "port table is full" in bench.interface("p1")["error"]
        assert sorted(destroyed) == sorted(drivers) == ["br0", "p1"]

    switch(test)


def test_a_bug_does_not_keep_clients_waiting(switch, monkeypatch, caplog):
    async def test(bench):
        bench.store.on_commit(lambda _: bench.reconciler.schedule())
        monkeypatch.setattr(bench.datapath, "create_bridge", lambda name: 1 / 0)
        bench.bridge("br0")
        await asyncio.sleep(0)
        assert bench.store.cur_cfg == bench.store.next_cfg == 1

    switch(test)


def test_an_empty_configuration_is_applied_too(switch):
    async def test(bench):
        bench.reconciler.apply()
        assert bench.reconciler.applied_once
        assert bench.datapath.cpus == [1, 2, 3]

    switch(test)
