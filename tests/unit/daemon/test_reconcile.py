"""Reconciliation as a whole: what is stored is what runs, bridge by bridge, and it is acknowledged."""

import asyncio
import logging
from types import SimpleNamespace

from fake_switch import LOCAL, numbers

from vswitchd.bridge_spec import stable_mac


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
            "br0",
            ("p1", {"ingress_policing_kpkts_rate": (5,)}, {}),
            stp_enable=(True,),
            protocols=("OpenFlow15",),
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
        assert text.count("interface p1: column ingress_policing_kpkts_rate is not supported") == 1
        assert "protocols name neither OpenFlow10 nor OpenFlow13" in text
        assert "other_config:datapath-id=zz" in text

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
        assert bench.bound == [[0], [0, 1, 3]]
        bench.reconciler.apply()
        assert len(bench.bound) == 2

    switch(test)


def test_punts_go_to_their_bridge(switch):
    async def test(bench):
        bench.bridge("br0")
        bench.reconciler.apply()
        bench.reconciler.punt(SimpleNamespace(bridge=8, data=b"lost"))
        bench.reconciler.punt(SimpleNamespace(bridge=7, data=b"mine"))
        assert bench.reconciler.openflow["br0"].events[1:] == [("punt", b"mine")]

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
