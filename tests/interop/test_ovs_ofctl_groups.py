"""Debian's ovs-ofctl, unmodified, with OpenFlow 1.3: groups that select and fail over, meters, queues, bundles; packets counted."""

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers.ofctl import Ofctl
from peers.proc import run
from peers.site import Site, need_site
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]


def udp(number, *, size=60):
    """A UDP datagram from 10.0.0.1 whose source port is `number`, as hexadecimal digits."""
    head = "ffffffffffff0200000000010800"
    ip = f"4500{size - 14:04x}00000000401100000a0000010a000002"
    return head + ip + f"{number:04x}0035{size - 34:04x}0000" + "00" * (size - 42)


class World:
    """A bridge with four hosts, asked by ovs-ofctl."""

    def __init__(self, switch, stack):
        self.switch = switch
        self.site = Site(switch, stack)
        self.hosts = [self.site.add_host(f"10.83.0.{number}/24") for number in (1, 2, 3, 4)]
        self.ofctl = Ofctl(f"unix:{self.site.socket}")
        self.ports = switch.vsctl("list-ports", self.site.name).split()

    def send(self, *packets):
        """Put packets from port 1 into the flow tables."""
        self.ofctl("packet-out", "1", "table", *packets)

    def buckets(self, group):
        """Packets of each bucket."""
        return [
            int(n)
            for n in re.findall(
                r"bucket\d+:packet_count=(\d+)", self.ofctl("dump-group-stats", f"group_id={group}")
            )
        ]

    def sent(self, port):
        """Packets that a port transmitted."""
        return int(re.search(r"tx pkts=(\d+)", self.ofctl("dump-ports", str(port)))[1])


@pytest.fixture(scope="module")
def module_world():
    need_site()
    with (
        tempfile.TemporaryDirectory(prefix="vsi") as place,
        Switch(Path(place) / "state") as switch,
        ExitStack() as stack,
    ):
        yield World(switch, stack)


@pytest.fixture
def world(module_world):
    for command in ("del-flows", "del-groups", "del-meters"):
        module_world.ofctl(command)
    return module_world


def test_a_group_selects_by_weight_and_keeps_a_connection_together(world):
    world.ofctl(
        "add-group",
        "group_id=1,type=select,bucket=weight:3,output:2,bucket=weight:1,output:3,bucket=weight:0,output:4",
    )
    assert (
        "type=select,bucket=weight:3,actions=output:2,bucket=actions=output:3,bucket=weight:0"
        in world.ofctl("dump-groups")
    )
    world.ofctl("add-flow", "udp,actions=group:1")
    world.send(*(udp(number) for number in range(400)))
    heavy, light, none = first = world.buckets(1)
    assert heavy + light == 400
    # 300 and 100 are what weights say; a fair hash of 400 is off by 50 once in ten million.
    assert abs(heavy - 300) < 50
    assert none == 0
    world.send(*(udp(number) for number in range(400)))
    assert world.buckets(1) == [2 * count for count in first]
    world.ofctl("mod-group", "group_id=1,type=select,bucket=output:4")
    world.send(*(udp(number) for number in range(10)))
    assert world.buckets(1) == [10]


def test_a_group_fails_over_when_a_link_is_lost(world):
    world.ofctl("add-group", "group_id=2,type=ff,bucket=watch_port:2,output:2,bucket=watch_port:3,output:3")
    world.ofctl("add-group", "group_id=3,type=ff,bucket=watch_group:2,group:2,bucket=watch_port:4,output:4")
    world.ofctl("add-flow", "udp,actions=group:3")
    assert world.ofctl.fails("mod-group", "group_id=2,type=ff,bucket=watch_group:3,group:3") == [
        "OFPGMFC_LOOP"
    ]

    def goes_by(port):
        before = world.sent(port)
        world.send(udp(7))
        return world.sent(port) == before + 1

    assert goes_by(2)
    world.hosts[1].run("ip", "link", "set", "eth0", "down")
    until(lambda: goes_by(3), "the second port takes over")
    world.ofctl("mod-port", "3", "down")
    assert goes_by(4), "the second bucket of the group that watches a group"
    world.ofctl("mod-port", "3", "up")
    assert goes_by(3)
    world.hosts[1].run("ip", "link", "set", "eth0", "up")
    until(lambda: goes_by(2), "the first port is back")


def meter_counts(world, meter):
    """Packets that came in, and packets that each band took."""
    text = world.ofctl("meter-stats", f"meter={meter}")
    return int(re.search(r"packet_in_count:(\d+)", text)[1]), [
        int(n) for n in re.findall(r"\n\d+: packet_count:(\d+)", text)
    ]


def test_a_meter_drops_and_counts(world):
    world.ofctl("add-meter", "meter=1,pktps,burst,stats,bands=type=drop,rate=1,burst_size=10")
    assert re.search(
        r"meter=1 pktps burst stats bands=\s+type=drop rate=1 burst_size=10", world.ofctl("dump-meters")
    )
    world.ofctl("add-flow", "udp,actions=meter:1,output:2")
    assert "actions=meter:1,output:2" in world.ofctl("dump-flows")
    before = world.sent(2)
    world.send(*(udp(number) for number in range(300)))
    came, (dropped,) = meter_counts(world, 1)
    assert came == 300
    # A burst of ten, and one a second: were none dropped, this would have taken five minutes.
    assert 0 < dropped <= 290
    assert world.sent(2) - before == 300 - dropped
    assert "flow_count:1" in world.ofctl("meter-stats", "meter=1")
    world.ofctl("mod-meter", "meter=1,pktps,stats,bands=type=drop,rate=1000000")
    world.ofctl("del-meter", "meter=1")
    assert world.ofctl.flows() == [], "a flow ends with its meter"
    assert world.ofctl.fails("add-flow", "udp,actions=meter:1,output:2") == ["OFPMMFC_UNKNOWN_METER"]
    assert "band_types: drop dscp_remark" in world.ofctl("meter-features")


def test_a_meter_remarks(world):
    world.ofctl(
        "add-meter", "meter=2,pktps,burst,stats,bands=type=dscp_remark,rate=1,burst_size=1,prec_level=1"
    )
    # AF11 (10), which becomes AF12 (12); DSCP 10 is a TOS of 40.
    world.ofctl("add-flow", "table=0,udp,actions=meter:2,goto_table:1")
    world.ofctl("add-flow", "table=1,priority=2,udp,nw_tos=48,actions=output:3")
    world.ofctl("add-flow", "table=1,priority=1,udp,actions=output:2")
    low, high = world.sent(2), world.sent(3)
    # The header checksum is none: nothing looks at it here.
    world.send(*([udp(9).replace("4500", "4528", 1)] * 200))
    came, (remarked,) = meter_counts(world, 2)
    assert came == 200
    assert remarked > 0
    assert world.sent(3) - high == remarked
    assert world.sent(2) - low == 200 - remarked


def test_queues_are_described_and_count(world):
    port = world.ports[1]
    try:
        world.switch.vsctl(
            "set", "Port", port, "qos=@q",
            "--", "--id=@q", "create", "QoS", "type=linux-htb", "queues:1=@a", "queues:2=@b",
            "--", "--id=@a", "create", "Queue", "other_config:min-rate=1000000000",
            "--", "--id=@b", "create", "Queue", "other_config:max-rate=2000000000",
        )  # fmt: skip
        # In parts of the port's speed, which is known a little after the link has come back.
        wanted = r"queue 1:\s+min_rate:10\.0%\s+queue 2:\s+max_rate:20\.0%"
        until(lambda: re.search(wanted, world.ofctl("queue-get-config", "2")), "the queues")
        world.ofctl("add-flow", "priority=2,udp,tp_src=1,actions=set_queue:1,output:2")
        world.ofctl("add-flow", "priority=1,udp,actions=set_queue:2,output:2")
        world.send(udp(1), udp(2), udp(3))
        until(
            lambda: "port 2 queue 2: bytes=120, pkts=2, errors=0" in world.ofctl("queue-stats", "2"),
            "queue 2 counts",
        )
        assert "port 2 queue 1: bytes=60, pkts=1, errors=0" in world.ofctl("queue-stats", "2", "1")
        assert world.ofctl.fails("queue-stats", "2", "9") == ["OFPQOFC_BAD_QUEUE"]
        old = Ofctl(world.ofctl.target, "OpenFlow10")
        assert "port 2 queue 1: bytes=60, pkts=1, errors=0" in old("queue-stats")
        assert "actions=enqueue:2:1" in old("dump-flows")
    finally:
        world.switch.vsctl(
            "clear", "Port", port, "qos", "--", "--all", "destroy", "QoS", "--", "--all", "destroy", "Queue"
        )


def test_a_bundle_is_carried_out_whole_or_not_at_all(world, place):
    path = place / "bundle"
    path.write_text("".join(f"add priority={i},udp,actions=output:2\n" for i in range(1, 101)))
    world.ofctl("--bundle add-flows", path)
    assert len(world.ofctl.flows()) == 100
    path.write_text("delete\nadd priority=7,tcp,actions=output:3\nadd priority=8,tcp,actions=group:99\n")
    assert "OFPBAC_BAD_OUT_GROUP" in errors(world, "--bundle add-flows", path)
    assert len(world.ofctl.flows()) == 100
    path.write_text("priority=50,udp,actions=output:3\npriority=51,udp,actions=output:2\n")
    world.ofctl("--bundle replace-flows", path)
    assert world.ofctl("diff-flows", path) == ""
    world.ofctl("--bundle mod-flows", "udp,actions=output:4")
    world.ofctl("--bundle --strict del-flows", "priority=50,udp")
    assert world.ofctl.flows() == ["priority=51,udp actions=output:4"]


def test_a_bundle_of_flows_and_groups(world, place):
    path = place / "bundle"
    path.write_text(
        "group group_id=5,type=all,bucket=output:2,bucket=output:3\nflow priority=5,udp,actions=group:5\n"
    )
    world.ofctl("bundle", path)
    world.send(udp(1))
    assert world.buckets(5) == [1, 1]
    path.write_text("flow priority=7,tcp,actions=output:3\ngroup group_id=5,type=all,bucket=output:2\n")
    assert "OFPGMFC_GROUP_EXISTS" in errors(world, "bundle", path)
    assert world.ofctl.flows() == ["priority=5,udp actions=group:5"]
    path.write_text("group delete group_id=5\nflow add priority=6,udp,actions=output:4\n")
    world.ofctl("bundle", path)
    assert world.ofctl.flows() == ["priority=6,udp actions=output:4"]
    assert world.ofctl("dump-groups").strip() == ""


def errors(world, command, path):
    """What ovs-ofctl says of a bundle that is refused."""
    done = run(world.ofctl.words(command, path), check=False)
    assert done.returncode
    return done.stdout + done.stderr
