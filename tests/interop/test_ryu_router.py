"""Ryu 4.34's rest_router, unmodified: our switch routes between networks, by static routes and in a VLAN."""

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers.ryu_controller import Ryu, flows_of, need_ryu
from peers.site import Site, need_site, ttl_of
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]


class World:
    """Three hosts in three networks; the third is the way to a fourth, and two of them speak VLAN 110 as well."""

    def __init__(self, place, switch, stack):
        self.site = Site(switch, stack)
        self.ryu = Ryu(place, "ryu.app.rest_router")
        stack.callback(self.ryu.kill)
        self.first = self.site.add_host("172.16.20.10/24", gateway="172.16.20.1")
        self.second = self.site.add_host("172.16.10.10/24", gateway="172.16.10.1")
        self.third = self.site.add_host("172.16.30.10/24", gateway="172.16.30.1")
        self.third.run("ip", "addr", "add", "192.168.30.1/32", "dev", "lo")
        self.ryu.start()
        self.site.obey(self.ryu.target)
        self.path = f"/router/{self.site.datapath_id}"
        until(lambda: self.ryu.rest("GET", self.path), "the router has joined")

    def set(self, vlan="", **parameters):
        """Give the router an address or a route."""
        answer = self.ryu.rest("POST", self.path + vlan, parameters)
        assert answer[0]["command_result"][0]["result"] == "success", answer

    def flows(self):
        return flows_of(self.site.socket)


@pytest.fixture(scope="module")
def world():
    need_site()
    need_ryu()
    with (
        tempfile.TemporaryDirectory(prefix="vsi") as place,
        Switch(Path(place) / "state") as switch,
        ExitStack() as stack,
    ):
        w = World(Path(place), switch, stack)
        for network in (10, 20, 30):
            w.set(address=f"172.16.{network}.1/24")
        yield w


def test_routes_between_its_networks(world):
    world.first.wait_ping("172.16.20.1")  # the router itself answers, by packet-in and packet-out
    world.first.wait_ping("172.16.10.10")
    world.third.wait_ping("172.16.20.10")
    # The router has learned who is where: from now on the switch routes, each way in one hop.
    until(lambda: sum("dec_ttl,set_field:" in flow for flow in world.flows()) >= 3, "flows to the hosts")
    routed = [flow for flow in world.flows() if "nw_dst=172.16.10.10" in flow]
    assert re.search(
        r"^cookie=0x1, idle_timeout=1800, priority=35,ip,nw_dst=172.16.10.10 actions=dec_ttl,"
        r"set_field:\S+->eth_src,set_field:\S+->eth_dst,output:2$", routed[0],
    ), routed  # fmt: skip
    assert ttl_of(world.first, "172.16.10.10") == 63
    assert world.first.ping("172.16.10.10", count=5) == 5


def test_a_ttl_that_ends_at_the_router_is_told(world):
    world.first.wait_ping("172.16.10.10")
    text = world.first.run("ping", "-n", "-c", "1", "-W", "20", "-t", "1", "172.16.10.10", check=False)
    assert "From 172.16.20.1 icmp_seq=1 Time to live exceeded" in text


def test_static_and_default_routes(world):
    assert (
        world.first.run("ping", "-n", "-c", "1", "-W", "1", "192.168.30.1", check=False).count("bytes from")
        == 0
    )
    world.set(destination="192.168.30.0/24", gateway="172.16.30.10")
    world.first.wait_ping("192.168.30.1")
    until(
        lambda: any("nw_dst=192.168.30.0/24 actions=dec_ttl" in flow for flow in world.flows()),
        "the route's flow",
    )
    assert ttl_of(world.second, "192.168.30.1") == 63
    answer = world.ryu.rest("DELETE", world.path, {"route_id": 1})
    assert answer[0]["command_result"][0]["result"] == "success", answer
    until(lambda: not any("192.168.30" in flow for flow in world.flows()), "the route's flow is gone")


def test_a_router_of_a_vlan(world):
    world.site.add_tagged(world.first, 110, "10.110.1.10/24")
    world.site.add_tagged(world.second, 110, "10.110.2.10/24")
    world.first.run("ip", "route", "add", "10.110.2.0/24", "via", "10.110.1.1")
    world.second.run("ip", "route", "add", "10.110.1.0/24", "via", "10.110.2.1")
    world.set("/110", address="10.110.1.1/24")
    world.set("/110", address="10.110.2.1/24")
    world.first.wait_ping("10.110.2.10")
    until(
        lambda: any("dl_vlan=110,nw_dst=10.110.2.10 actions=dec_ttl" in flow for flow in world.flows()),
        "learned",
    )
    assert ttl_of(world.first, "10.110.2.10") == 63
    assert all("ERROR" not in line for line in world.ryu.output().splitlines()), world.ryu.output()
