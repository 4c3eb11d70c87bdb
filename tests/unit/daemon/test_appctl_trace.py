"""vsappctl ofproto/trace over a real datapath: the layout of ovs-appctl's, live packets, bad words."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd import appctl_main
from vswitchd.bridge_openflow import BridgeOpenFlow
from vswitchd.datapath import dp
from vswitchd.errors import VsError
from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.flowtext import parse_flow
from vswitchd.ofproto.messages import MeterMod
from vswitchd.ofproto.structures import DropBand

FRAME = bytes.fromhex("020000000002020000000001") + b"\x88\xb5" + bytes(46)


class World:
    """Bridges br0 (ports 1 to 4) and br1, joined by br0's port 9, and as much of the daemon as the command asks."""

    def __init__(self) -> None:
        self.box = SwitchBox(4)
        self.bridges: dict[str, Any] = {}
        self.sides: dict[str, Any] = {}
        self.flows: dict[str, Any] = {}
        other = self.box.dp.create_bridge("br1")
        for name, bridge in (("br0", self.box.bridge), ("br1", other)):
            agent = Agent(bridge, self.box.dp, lambda: 0.0, Identity(1))
            side = object.__new__(BridgeOpenFlow)
            side._side = SimpleNamespace(agent=agent)
            self.sides[name], self.flows[name] = side, agent.flows
            ports = self.box.ports if name == "br0" else {}
            live = [(SimpleNamespace(name=f"p{n}", ofport=n), None, handle) for n, handle in ports.items()]
            self.bridges[name] = SimpleNamespace(
                name=name, dp=bridge, ports={p.name: p for p, _, _ in live}, live=lambda rows=live: rows
            )
        self.box.patch(9, self.box.bridge, 7, other)
        self.table = appctl_main.table()
        self.daemon = SimpleNamespace(
            reconciler=SimpleNamespace(bridges=self.bridges, openflow=self.sides), datapath=self.box.dp
        )

    def add(self, text: str, bridge: str = "br0") -> None:
        self.flows[bridge].apply(parse_flow(text))

    async def ask(self, *args: str) -> tuple[str, Any]:
        answer = await self.table.rpc(self.daemon, {"command": "ofproto/trace", "args": list(args)})
        return answer["text"], answer["data"]

    def __call__(self, *args: str) -> str:
        return asyncio.run(self.ask(*args))[0]


@pytest.fixture
def world() -> Any:
    w = World()
    yield w
    w.box.close()


def test_a_meter_is_no_action_of_the_set(world: World) -> None:
    meters = world.sides["br0"]._side.agent.meters
    meters.apply(MeterMod(meter_id=1, flags=1, bands=(DropBand(1000, 0),)), world.flows["br0"])
    world.add("in_port=1,actions=meter:1,push_vlan:0x8100,output:2")
    text = world("br0", "in_port=1,eth_type=0x88b5")
    assert "meter:1" in text
    assert "Executing action set" not in text


def test_the_layout(world: World) -> None:
    world.add("in_port=1,tcp,priority=10,cookie=5,actions=set_field:02:00:00:00:00:09->eth_src,goto_table:1")
    world.add(
        "table=1,priority=1,tcp,tp_dst=80,"
        "actions=output:2,mod_nw_ttl:3,write_actions(push_vlan:0x8100,output:3),write_metadata:0x5,goto_table:2"
    )
    world.add("table=2,actions=output:9")
    world.add("actions=output:IN_PORT", "br1")
    world.flows["br1"].commit()
    flow = "in_port=1,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,nw_src=1.2.3.4,nw_dst=0.0.0.0"
    assert (
        world(
            "br0", "in_port=p1,tcp,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,nw_src=1.2.3.4,tp_dst=80"
        )
        == f"""\
Flow: tcp,{flow},nw_tos=0,nw_ecn=0,nw_ttl=64,tp_src=0,tp_dst=80,tcp_flags=ack

bridge("br0")
-------------
 0. tcp,in_port=1, priority 10, cookie 0x5
    set_field:02:00:00:00:00:09->eth_src
    goto_table:1
 1. tcp,tp_dst=80, priority 1
    output:2
    mod_nw_ttl:3
    write_actions(push_vlan:0x8100,output:3)
    write_metadata:0x5
    goto_table:2
 2. priority 32768
    output:9

bridge("br1")
-------------
 0. priority 32768
    IN_PORT
     -> output to port 7

bridge("br0")
-------------
 0. No match.
    drop
--. Executing action set:
    push_vlan:0x8100
    output:3

Final flow: tcp,metadata=0x5,in_port=1,dl_vlan=0,dl_vlan_pcp=0,dl_src=02:00:00:00:00:09,\
dl_dst=02:00:00:00:00:02,nw_src=1.2.3.4,nw_dst=0.0.0.0,nw_tos=0,nw_ecn=0,nw_ttl=3,tp_src=0,tp_dst=80,tcp_flags=ack
Datapath actions: set_field:02:00:00:00:00:09->eth_src,2,mod_nw_ttl:3,push_vlan:0x8100,3"""
    )
    assert world.box.take() == {}


def test_groups_reasons_and_data(world: World) -> None:
    world.box.bridge.set_group(
        1, 0, [dp.BucketSpec((dp.set_field("TP_DST", 99), dp.output(2))), dp.BucketSpec(())]
    )
    world.box.rule(1, (("IN_PORT", 1, 0xFFFFFFFF),), dp.group(1), dp.dec_ttl(), dp.output(3))
    text, data = asyncio.run(world.ask("br0", "in_port=1,udp,nw_ttl=1"))
    assert (
        text.split("\n\n", 1)[1]
        == """\
bridge("br0")
-------------
 0. a flow entry that is gone by now
    group:1
     -> using bucket 0
        set_field:99->udp_dst
        output:2
     -> using bucket 1
    dec_ttl
     >> ttl_expired: dec_ttl met a TTL of 1 or 0

Final flow: unchanged
Datapath actions: set_field:99->udp_dst,2"""
    )
    assert (data["dropped"], data["bridge"]["tables"][0]["steps"][0]) == (None, "group:1")
    text, data = asyncio.run(world.ask("br0", "in_port=4", FRAME.hex()))
    assert text.endswith(
        "Datapath actions: drop\nDropped: table_miss: no rule matched and no table-miss rule takes the packet"
    )
    assert (data["dropped"], data["datapath_actions"]) == ("table_miss", [])


def test_packets_in_hex_in_either_order(world: World) -> None:
    world.add("in_port=2,actions=output:3")
    one = world("br0", "in_port=2", FRAME.hex(), "-generate")
    assert one == world("br0", FRAME.hex().upper(), "in_port=2")
    assert one.startswith(
        "Flow: in_port=2,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_type=0x88b5\n"
    )
    assert one.endswith("Datapath actions: 3")
    assert world("br0", FRAME.hex()).startswith("Flow: dl_src=02:00:00:00:00:01,")  # by no port


def test_live_packets(world: World) -> None:
    world.add("in_port=1,priority=7,actions=output:2")
    world.flows["br0"].commit()

    async def run() -> str:
        asked = asyncio.create_task(world.ask("--live", "p1", "dl_type=0x88b5", "-n", "2", "--timeout", "60"))
        await _started(world)
        world.box.send(1, FRAME, bytes(60), FRAME, FRAME)
        return (await asked)[0]

    text = asyncio.run(run())
    first, second = text.split("\n\nPacket 2:\n")
    assert first.removeprefix("Packet 1:\n") == second
    assert second.endswith("Final flow: unchanged\nDatapath actions: 2")
    assert " 0. in_port=1, priority 7\n" in second
    assert not _busy(world)


def _busy(world: World) -> bool:
    """Whether a live trace is on."""
    try:
        world.box.dp.live_trace(world.box.ports[4], (), 1).close()
    except dp.DatapathError:
        return True
    return False


async def _started(world: World) -> None:
    while True:
        await asyncio.sleep(0)
        if _busy(world):
            return


def test_a_live_trace_ends_with_its_time_and_with_its_client(world: World) -> None:
    assert world("br0", "--live", "p1", "--timeout", "0.01") == "0 of 1 packets in 0.01 seconds."

    async def run() -> None:
        asked = asyncio.create_task(world.ask("--live", "p1"))
        await _started(world)
        with pytest.raises(VsError, match="another live trace"):
            await world.ask("--live", "p2")
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(run())
    assert not _busy(world)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("br0",), "a bridge and a flow"),
        (("br7", "tcp"), "no such bridge"),
        (("br0", "tcp", "udp"), "one flow, one packet"),
        (("br0", "tcp,bogus=1"), "unknown keyword bogus"),
        (("br0", "nw_src=1.1.1.1"), "needs ip or arp"),
        (("br0", "in_port=nobody"), "no port"),
        (("br0", "metadata=1"), "comes in with 0"),
        (("br0", "02" * 13), "unknown keyword"),
        (("br0", "dl_type=0x86dd,ipv6_exthdr=2"), "ipv6_exthdr"),
        (("--live",), "name of a port"),
        (("--live", "p9"), "no running port"),
        (("--live", "p1", "-n", "0"), "-n needs"),
        (("--live", "p1", "-n", "1.5"), "whole number"),
        (("--live", "p1", "-n", "nan"), "-n needs"),
        (("--live", "p1", "-n", "257"), "at most 256"),
        (("--live", "p1", "--timeout"), "--timeout needs"),
        (("--live", "p1", "--bogus"), "unknown option"),
        (("--live", "p1", "tp_dst=5"), "needs tcp"),
    ],
)
def test_bad_words(world: World, args: tuple[str, ...], message: str) -> None:
    with pytest.raises(VsError, match=message) as error:
        world(*args)
    assert "\n" not in str(error.value)
