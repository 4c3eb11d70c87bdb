"""Faucet, unmodified: two VLANs, routing between them, access lists changed while it runs, a mirror; gauge reads statistics."""

import copy
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers import need
from peers.faucet import Faucet, need_faucet
from peers.ofctl import Ofctl
from peers.site import Site, need_site, ttl_of
from peers.switch import Switch, total
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]

OFFICE, GUESTS = 100, 200
SERVER = """
import signal, socket, sys
doors = [socket.create_server((sys.argv[1], int(port))) for port in sys.argv[2:]]
print("listening", flush=True)
signal.pause()
"""
CLIENT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
    print("connected")
except TimeoutError:
    print("nothing")
"""


def configuration(datapath_id):
    """Port 1, 2: untagged in the office; 3: tagged in both; 4, 5: untagged guests; 6: what port 2 sees and says."""
    return {
        "vlans": {
            "office": {"vid": OFFICE, "faucet_vips": ["10.0.100.254/24"], "faucet_mac": "0e:00:00:00:01:00"},
            "guests": {"vid": GUESTS, "faucet_vips": ["10.0.200.254/24"], "faucet_mac": "0e:00:00:00:02:00"},
        },
        "routers": {"inside": {"vlans": ["office", "guests"]}},
        "acls": {
            "guests-in": [
                {"rule": {"dl_type": 0x0800, "nw_proto": 6, "tcp_dst": 5002, "actions": {"allow": False}}},
                {"rule": {"actions": {"allow": True}}},
            ]
        },
        "dps": {
            "switch": {
                "dp_id": int(datapath_id, 16),
                "hardware": "Open vSwitch",
                "interfaces": {
                    "p1": {"number": 1, "native_vlan": "office"},
                    "p2": {"number": 2, "native_vlan": "office"},
                    "p3": {"number": 3, "tagged_vlans": ["office", "guests"]},
                    "p4": {"number": 4, "native_vlan": "guests", "acl_in": "guests-in"},
                    "p5": {"number": 5, "native_vlan": "guests"},
                    "p6": {"number": 6, "mirror": ["p2"], "output_only": True},
                },
            }
        },
    }


def gauge_configuration(faucet, gauge):
    """Ports into Prometheus and a file, flow tables into files, once a second."""
    dbs = {
        "page": {"type": "prometheus", "prometheus_addr": "127.0.0.1", "prometheus_port": gauge.metrics_port},
        "ports": {"type": "text", "file": str(gauge.place / "ports.txt")},
        "states": {"type": "text", "file": str(gauge.place / "states.txt")},
        "flows": {"type": "text", "path": str(gauge.place / "flows")},
    }
    watchers = {
        "ports_page": {"type": "port_stats", "dbs": ["page", "ports"], "interval": 1},
        "states_page": {"type": "port_state", "dbs": ["page", "states"], "interval": 1},
        "flows_page": {"type": "flow_table", "dbs": ["page", "flows"], "interval": 1},
    }
    return {
        "faucet_configs": [str(faucet.place / "faucet.yaml")],
        "watchers": {name: {"dps": ["switch"], **watcher} for name, watcher in watchers.items()},
        "dbs": dbs,
    }


class World:
    """Hosts on six ports of a bridge that faucet controls and gauge watches."""

    def __init__(self, place, switch, stack):
        self.site = Site(switch, stack)
        office, guests = {"gateway": "10.0.100.254"}, {"gateway": "10.0.200.254"}
        self.first = self.site.add_host("10.0.100.1/24", **office)
        self.second = self.site.add_host("10.0.100.2/24", **office)
        self.trunk = self.site.add_host("10.0.100.3/24", tag=OFFICE)
        self.site.add_tagged(self.trunk, GUESTS, "10.0.200.3/24")
        self.guest = self.site.add_host("10.0.200.4/24", **guests)
        self.other = self.site.add_host("10.0.200.5/24", **guests)
        self.mirror = self.site.add_host("192.0.2.6/32")
        self.faucet, self.gauge = Faucet(place), Faucet(place, gauge=True)
        stack.callback(self.faucet.kill)
        stack.callback(self.gauge.kill)
        self.config = configuration(self.site.datapath_id)
        (place / "flows").mkdir()
        self.faucet.configure(self.config)
        self.gauge.configure(gauge_configuration(self.faucet, self.gauge))
        self.faucet.start()
        self.gauge.start()
        self.site.obey(self.faucet.target, self.gauge.target)
        self.first.wait_ping("10.0.100.2")

    def connects(self, host, address, port, *, seconds=10):
        text = host.run(sys.executable, "-c", CLIENT, address, str(port), str(seconds))
        return text.strip() == "connected"

    def is_calm(self):
        """Neither of the two met anything that it did not expect."""
        assert self.faucet.exceptions() + self.gauge.exceptions() == ""
        assert "OFError" not in self.faucet.log()


@pytest.fixture(scope="module")
def module_world():
    need_site()
    need_faucet()
    need.need_program("tcpdump")
    with (
        tempfile.TemporaryDirectory(prefix="vsi") as place,
        Switch(Path(place) / "state") as switch,
        ExitStack() as stack,
    ):
        yield World(Path(place), switch, stack)


@pytest.fixture
def world(module_world):
    yield module_world
    module_world.is_calm()


def test_vlans_are_apart_and_tags_are_where_they_belong(world):
    world.first.wait_ping("10.0.100.3")
    world.trunk.wait_ping("10.0.100.2")
    world.guest.wait_ping("10.0.200.5")
    world.trunk.wait_ping("10.0.200.4")
    assert world.first.ping("10.0.100.2") == 3
    # The same addresses as in the other VLAN's net: nobody there.
    world.other.run("ip", "addr", "add", "10.0.100.77/24", "dev", "eth0")
    assert (
        world.first.run("ping", "-n", "-c", "1", "-W", "1", "10.0.100.77", check=False).count("bytes from")
        == 0
    )
    world.other.run("ip", "addr", "del", "10.0.100.77/24", "dev", "eth0")


def test_routes_between_vlans(world):
    world.first.wait_ping("10.0.100.254")
    world.guest.wait_ping("10.0.100.1")
    world.first.wait_ping("10.0.200.4")
    assert ttl_of(world.first, "10.0.200.4") == 63
    assert world.guest.ping("10.0.100.2", count=5) == 5


def test_access_lists_deny_and_allow_and_change_while_it_runs(world):
    world.guest.wait_ping("10.0.100.1")
    log = world.faucet.place / "server.log"
    server = [sys.executable, "-c", SERVER, "10.0.100.1", "5001", "5002"]
    with world.first.spawn(server, log) as child:
        child.wait_output("listening")
        until(lambda: world.connects(world.guest, "10.0.100.1", 5001), "5001 is allowed")
        assert not world.connects(world.guest, "10.0.100.1", 5002, seconds=1)
        assert world.connects(world.other, "10.0.100.1", 5002), "the list is of another port"
        changed = copy.deepcopy(world.config)
        rules = changed["acls"]["guests-in"]
        rules[0]["rule"].update(tcp_dst=5001)
        world.faucet.configure(changed)
        until(lambda: world.connects(world.guest, "10.0.100.1", 5002, seconds=1), "5002 is allowed now")
        assert not world.connects(world.guest, "10.0.100.1", 5001, seconds=1)
        world.faucet.configure(world.config)
        until(lambda: world.connects(world.guest, "10.0.100.1", 5001, seconds=1), "5001 is allowed again")


def test_a_port_is_mirrored(world):
    with world.mirror.spawn(
        ["tcpdump", "-n", "-l", "-e", "-i", "eth0", "icmp"], world.faucet.place / "dump"
    ) as dump:
        dump.wait_output("listening on")
        world.first.wait_ping("10.0.100.2")
        assert world.first.ping("10.0.100.2") == 3
        dump.wait_output("10.0.100.1 > 10.0.100.2: ICMP echo request")
        dump.wait_output("10.0.100.2 > 10.0.100.1: ICMP echo reply")
        world.first.ping("10.0.100.3", count=1)
        assert "10.0.100.3" not in dump.output()


def test_gauge_reads_ports_and_flows(world):
    def packets(direction, port):
        return total(world.gauge.metrics(), f"of_port_{direction}_packets", port=f"p{port}")

    until(lambda: packets("rx", 1) > 0, "gauge has read the counters of ports")
    before = packets("rx", 1)
    assert world.first.ping("10.0.100.2", count=10) == 10
    until(lambda: packets("rx", 1) >= before + 10, "ten more packets have come in by port 1")
    flows = until(
        lambda: [name for name in world.gauge.metrics() if name.startswith("flow_packet_count")],
        "flow counters",
    )
    assert flows
    place = world.gauge.place
    until(lambda: "packets-in" in (place / "ports.txt").read_text(), "statistics in the text file")
    until(lambda: list((place / "flows").iterdir()), "flow tables in files")


def test_tables_groups_and_meters_of_its_own_making(world):
    """Faucet describes the tables it wants (table features), floods by groups and limits by a meter."""
    changed = copy.deepcopy(world.config)
    limit = {"flags": "PKTPS", "bands": [{"type": "DROP", "rate": 1000}]}
    changed["meters"] = {"limit": {"meter_id": 1, "entry": limit}}
    echo = {"dl_type": 0x0800, "nw_proto": 1, "actions": {"meter": "limit", "allow": True}}
    changed["acls"]["guests-in"].insert(0, {"rule": echo})
    changed["dps"]["switch"].update(hardware="GenericTFM", group_table=True)
    ofctl = Ofctl(f"unix:{world.site.socket}")
    world.faucet.kill()
    world.faucet.configure(changed)
    world.faucet.start()
    until(lambda: "group_id=200,type=all" in ofctl("dump-groups"), "groups that flood")
    until(lambda: "type=drop rate=1000" in ofctl("dump-meters"), "the meter")
    names = re.findall(r'table \d+ \("(\w+)"\):', ofctl("dump-table-features"))
    assert names[:7] == ["port_acl", "vlan", "eth_src", "ipv4_fib", "vip", "eth_dst", "flood"]
    world.guest.wait_ping("10.0.100.1")
    world.first.wait_ping("10.0.100.2")
    assert any("actions=meter:1,goto_table:1" in flow for flow in ofctl.flows("table=0"))
    assert int(re.search(r"packet_in_count:(\d+)", ofctl("meter-stats"))[1]) > 0
    assert any("actions=group:100" in flow for flow in ofctl.flows())
    assert "OFError" not in world.faucet.log()
