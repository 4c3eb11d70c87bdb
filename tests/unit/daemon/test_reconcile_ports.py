"""Reconciled ports: numbers, VLANs, peers and changes in place; one bad port hurts no other."""

import json
from types import SimpleNamespace

import pytest
from fake_switch import LOCAL, FakePort, numbers

from vswitchd.datapath import dp
from vswitchd.datapath.dp import DatapathError


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
