"""Debian's ovs-testcontroller, unmodified, with OpenFlow 1.0 and 1.3: it learns, floods, and answers from buffers."""

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers.ofctl import Ofctl
from peers.site import Site, need_site
from peers.switch import Switch, free_tcp_port
from peers.testcontroller import need_tools, start
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]

VERSIONS = ["OpenFlow10", "OpenFlow13"]


class World:
    """A bridge with three hosts; `place` for the controllers' files."""

    def __init__(self, place, switch, stack):
        self.place = place
        self.site = Site(switch, stack)
        self.hosts = [self.site.add_host(f"10.82.0.{number}/24") for number in (1, 2, 3)]
        self.ofctl = Ofctl(f"unix:{self.site.socket}")

    def controller(self, stack, version, *options):
        """Start one with an empty flow table before it, wait for it, and forget who is who."""
        port = free_tcp_port()
        self.site.obey()
        self.ofctl("del-flows")
        child = stack.enter_context(start(self.place, port, "-O", version, *options))
        self.site.obey(f"tcp:127.0.0.1:{port}")
        self.site.wait_connected()
        if version == "OpenFlow13":
            until(self.ofctl.flows, "its table-miss flow")
        return child


@pytest.fixture(scope="module")
def world():
    need_site()
    need_tools()
    with (
        tempfile.TemporaryDirectory(prefix="vsi") as place,
        Switch(Path(place) / "state") as switch,
        ExitStack() as stack,
    ):
        yield World(Path(place), switch, stack)


def learned(world):
    """Flows that send to one port, with its idle timeout."""
    return [flow for flow in world.ofctl.flows() if re.match(r"idle_timeout=60, .*actions=output:\d$", flow)]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_learns(world, stack, version):
    world.controller(stack, version)
    world.hosts[0].wait_ping("10.82.0.2")
    world.hosts[2].wait_ping("10.82.0.1")
    until(lambda: len(learned(world)) >= 3, "learned flows")
    assert world.hosts[0].ping("10.82.0.2") == 3
    # Each flow is of one connection, seen from one port.
    assert all("in_port=" in flow and "dl_dst=" in flow for flow in learned(world))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_packet_goes_through_it_and_comes_back_whole_from_its_buffer(world, stack, version):
    """It takes 128 bytes of each packet only, so that the rest must come from the switch's buffer."""
    world.controller(stack, version, "--noflow")
    world.hosts[0].wait_ping("10.82.0.2")
    text = world.hosts[0].run("ping", "-n", "-c", "5", "-i", "0.05", "-W", "20", "-s", "1400", "10.82.0.2")
    assert text.count("1408 bytes from 10.82.0.2") == 5
    assert learned(world) == []


def test_as_a_hub(world, stack):
    world.controller(stack, "OpenFlow13", "--hub")
    world.hosts[0].wait_ping("10.82.0.2")
    until(lambda: any("actions=FLOOD" in flow for flow in world.ofctl.flows()), "flows that flood")
    assert learned(world) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_flows_of_a_file(world, stack, version):
    path = world.place / "flows"
    path.write_text("priority=700,arp,actions=NORMAL\npriority=699,icmp,actions=NORMAL\n")
    world.controller(stack, version, "--noflow", f"--with-flows={path}")
    until(
        lambda: (
            {"priority=700,arp actions=NORMAL", "priority=699,icmp actions=NORMAL"}
            <= set(world.ofctl.flows())
        ),
        "flows",
    )
    world.hosts[0].wait_ping("10.82.0.2")
