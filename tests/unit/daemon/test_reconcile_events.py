"""What happens to ports while they run or wait: link changes, counts, kernel interfaces that come and go."""

import asyncio
from dataclasses import replace

from fake_switch import numbers


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
