"""Connections to controllers: targets, listeners, back-off, probes, and peers that do not read."""

import asyncio
import os
import stat

import pytest
from of_peer import FakeBridge, FakeDatapath, flow, messages
from of_world import LIMIT, Controller, world

from vswitchd.datapath import dp
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Identity
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.endpoint import ControllerConfig
from vswitchd.ofproto.server import OpenFlowBridge, datapath_id
from vswitchd.ofproto.target import Target, TargetError, parse_target


@pytest.mark.parametrize(
    ("text", "host", "number", "flags"),
    [
        ("tcp:1.2.3.4", "1.2.3.4", 6653, ""),
        ("tcp:1.2.3.4:99", "1.2.3.4", 99, ""),
        ("tcp:[::1]:99", "::1", 99, ""),
        ("ssl:[fe80::1%eth0]", "fe80::1%eth0", 6653, "t"),
        ("tcp:host.example.org", "host.example.org", 6653, ""),
        ("ptcp:", "", 6653, "p"),
        ("ptcp:0:127.0.0.1", "127.0.0.1", 0, "p"),
        ("pssl:1234:[::1]", "::1", 1234, "pt"),
        ("unix:/a b", "/a b", 0, "u"),
        ("punix:/run/x", "/run/x", 0, "pu"),
    ],
)
def test_target(text, host, number, flags):
    want = Target(text, host, number, passive="p" in flags, tls="t" in flags, unix="u" in flags)
    assert parse_target(text) == want


@pytest.mark.parametrize(
    "text",
    [
        "", "tcp", "tcp:", "udp:1.2.3.4", "tcp:::1", "tcp:::1:6653", "tcp:[::1", "tcp:[::g]",
        "tcp:1.2.3", "tcp:1.2.3.4:x", "tcp:1.2.3.4:65536", "tcp:1.2.3.4:0", "tcp:1.2.3.4:1:2", "unix:",
        "punix:" + "x" * 108, "ptcp:x", "tcp:a b", "tcp:-a",
    ],
)  # fmt: skip
def test_bad_target_is_one_line_that_names_it(text):
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_datapath_id():
    assert datapath_id("02:00:00:00:00:07") == 0x020000000007
    assert datapath_id(b"\2\0\0\0\0\7", "00000000000000ff") == 0xFF
    assert datapath_id("02:00:00:00:00:07", "0x1") == 1
    for bad in ("1", "0x", "0x0", "zz00000000000000", "0x12345678901234567", "0" * 16):
        with pytest.raises(ValueError, match="expected 16 hex digits"):
            datapath_id("02:00:00:00:00:07", bad)


async def _mgmt(w):
    assert stat.S_IMODE(os.stat(w.mgmt).st_mode) == 0o600
    c = await Controller.to_unix(w.mgmt)
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 7
    assert w.of.status().controllers == {}
    await c.close()


async def _several_with_roles(w):
    one, two = await w.listen("one"), await w.listen("two")
    w.of.set_controllers([ControllerConfig(one), ControllerConfig(two)])
    first, second = await w.next(), await w.next()
    await first.ask(m.RoleRequest(2, 1))
    await second.ask(m.EchoRequest())
    assert sorted(w.status(t).role for t in (one, two)) == ["master", "other"]
    assert all(w.status(t).is_connected and w.status(t).state == "ACTIVE" for t in (one, two))
    w.clock.now += 3
    assert w.status(one).status == {"state": "ACTIVE", "sec_since_connect": "3"}
    w.of.set_controllers([ControllerConfig(two)])
    async with asyncio.timeout(LIMIT):
        ends = [asyncio.create_task(c.eof()) for c in (first, second)]
        done, left = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for task in left:
        task.cancel()
    assert list(w.of.status().controllers) == [two]
    assert w.status(two).is_connected


async def _back_off(w):
    target = f"unix:{w.dir}/nobody"
    w.of.set_controllers([ControllerConfig(target, max_backoff=4000)])
    for wait in (1, 2, 4, 4):
        await w.until(lambda: w.status(target).state == "BACKOFF")
        w.clock.now += wait - 0.01
        w.of.tick()
        assert w.status(target).state == "BACKOFF"
        w.clock.now += 0.01
        w.of.tick()
        assert w.status(target).state == "CONNECTING"
    await w.until(lambda: w.status(target).state == "BACKOFF")
    assert w.status(target).last_error == "No such file or directory"
    assert not w.status(target).is_connected


async def _reconnect_keeps_flows(w):
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    c = await w.next()
    c.writer.write(encode(flow(9), 3))
    await c.ask(m.BarrierRequest())
    await c.close()
    await w.until(lambda: not w.status(target).is_connected)
    w.clock.now += 1
    w.of.tick()
    c = await w.next()
    assert [e.priority for e in (await c.ask(mp.FlowStatsRequest())).entries] == [9]


async def _bad_target(w):
    good = await w.listen()
    w.of.set_controllers([ControllerConfig("tcp:1.2.3"), ControllerConfig(good)])
    await w.next()
    status = w.status("tcp:1.2.3")
    assert (status.state, status.is_connected) == ("VOID", False)
    assert status.last_error == "tcp:1.2.3: 1.2.3 is not an IPv4 address"


async def _socket_in_use(w):
    target = await w.listen("taken")
    w.of.set_controllers([ControllerConfig("p" + target)])
    status = w.status("p" + target)
    assert status.last_error == f"p{target}: cannot listen (Address already in use)"
    w.servers.pop().close()
    w.clock.now += 6
    w.of.tick()
    assert w.status("p" + target).last_error is None
    await Controller.to_unix(f"{w.dir}/taken")


async def _stale_socket_is_replaced(w):
    other = OpenFlowBridge(FakeBridge(), FakeDatapath(), "br1", w.dir, clock=w.clock, identity=Identity(8))
    os.rename(f"{w.dir}/br1.mgmt", f"{w.dir}/kept")
    other.close()
    os.rename(f"{w.dir}/kept", f"{w.dir}/br1.mgmt")
    again = OpenFlowBridge(FakeBridge(), FakeDatapath(), "br1", w.dir, clock=w.clock, identity=Identity(9))
    c = await Controller.to_unix(f"{w.dir}/br1.mgmt")
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 9
    again.close()


async def _ptcp(w):
    for target, host in (("ptcp:0:127.0.0.1", "127.0.0.1"), ("ptcp:0:[::1]", "::1")):
        w.of.set_controllers([ControllerConfig(target)])
        c = Controller(*await asyncio.open_connection(host, w.of.endpoint(target).port))
        await c.greet()
        await c.ask(m.BarrierRequest())
        assert w.status(target).is_connected
        assert not w.of.fail_mode.failing_open


async def _stuck_peer(w):
    """It asks for ever and never reads: it is not read any more, others are served, and the probe ends it."""
    for i in range(500):
        w.of.agent.flows.apply(flow(i, match={"in_port": i}))
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    stuck = await w.next()
    sent = 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            while sent < 1 << 26:
                stuck.writer.write(encode(mp.FlowStatsRequest(), 5) * 100)
                sent += 5600
                await stuck.writer.drain()
    other = await Controller.to_unix(w.mgmt)
    assert (await other.ask(m.FeaturesRequest())).datapath_id == 7
    w.clock.now += 5
    w.of.tick()
    w.clock.now += 5
    w.of.tick()
    await w.until(lambda: w.status(target).last_error)
    assert "inactivity probe" in w.status(target).last_error


async def _packet_in_flood(w):
    """Two controllers, one does not read: its packet-ins are dropped and counted, the other gets all."""
    deaf_target, target = await w.listen("deaf"), await w.listen("hears")
    w.of.set_controllers([ControllerConfig(deaf_target)])
    deaf = await w.next()
    await deaf.ask(m.BarrierRequest())
    deaf.reader._transport.pause_reading()
    w.of.set_controllers([ControllerConfig(deaf_target), ControllerConfig(target)])
    hears = await w.next()
    await hears.ask(m.BarrierRequest())
    for number in range(2000):
        w.of.punt(dp.Punt(0, 1, 0, number, 1, 0, 1500, 0xFFFF, bytes(1500)))
        _, told = await hears.next()
        assert told.cookie == number
    assert w.status(deaf_target).dropped > 100
    assert w.status(deaf_target).is_connected
    assert w.status(target).dropped == 0


async def _dump_takes_turns(w):
    """A dump of many flows and another connection's echo: the echo does not wait for the end of the dump."""
    for i in range(20_000):
        w.of.agent.flows.apply(flow(1, match={"eth_dst": i}))
    dumping, other = await Controller.to_unix(w.mgmt), await Controller.to_unix(w.mgmt)
    dumping.writer.write(encode(mp.FlowStatsRequest(), 5))
    await other.ask(m.EchoRequest())
    parts = 0
    entries = 0
    while True:
        _, reply = await dumping.next()
        parts += 1
        entries += len(reply.entries)
        if parts == 1:
            assert w.of.agent.flows.tables.counts[0] == 20_001
        if not reply.flags:
            break
    assert entries == 20_001
    assert parts > 50


async def _probe_interval(w):
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target, inactivity_probe=1000)])
    c = await w.next()
    await c.ask(m.BarrierRequest())
    w.clock.now += 1
    w.of.tick()
    assert isinstance((await c.next())[1], m.EchoRequest)
    assert w.status(target).state == "IDLE"
    w.clock.now += 1
    w.of.tick()
    assert await c.eof() == b""


async def _new_times_keep_the_connection(w):
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    c = await w.next()
    await c.ask(m.BarrierRequest())
    w.of.set_controllers([ControllerConfig(target, inactivity_probe=1000, max_backoff=2000)])
    await c.ask(m.BarrierRequest())
    w.clock.now += 1
    w.of.tick()
    assert isinstance((await c.next())[1], m.EchoRequest)
    w.servers[0].close()
    w.of.set_controllers([ControllerConfig(target, primary=False)])
    assert await c.eof() == b""


async def _new_datapath_id(w):
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    c = await w.next()
    await c.ask(m.BarrierRequest())
    w.of.set_identity(Identity(99))
    assert await c.eof() == b""
    await w.until(lambda: not w.status(target).is_connected)
    w.clock.now += 1
    w.of.tick()
    c = await w.next()
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 99


async def _protocols(w):
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    c = await w.next()
    w.of.set_protocols(["OpenFlow13", "OpenFlow15"])
    await c.ask(m.BarrierRequest())
    w.of.set_protocols(["OpenFlow10"])
    assert await c.eof() == b""
    reader, writer = await asyncio.open_unix_connection(w.mgmt)
    writer.write(encode(m.Hello(frozenset({4})), 1))
    (hello, error) = messages(await reader.read(), 1)
    assert hello[1] == m.Hello(frozenset({1}), 1)
    assert (error[1].type, error[1].code) == (0, 0)
    writer.close()
    w.of.set_protocols([])
    c = await Controller.to_unix(w.mgmt)
    await c.ask(m.BarrierRequest())


test_mgmt_socket_is_private_and_serves = world(_mgmt)
test_several_controllers_and_their_roles = world(_several_with_roles)
test_back_off_doubles_up_to_its_limit = world(_back_off)
test_a_controller_that_comes_back_finds_its_flows = world(_reconnect_keeps_flows)
test_a_bad_target_is_shown_and_harms_no_other = world(_bad_target)
test_a_socket_in_use_is_told_and_tried_again = world(_socket_in_use)
test_a_stale_socket_file_is_replaced = world(_stale_socket_is_replaced)
test_passive_tcp_on_both_families = world(_ptcp)
test_a_stuck_peer_blocks_nobody_and_is_ended = world(_stuck_peer)
test_packet_ins_to_a_deaf_controller_are_dropped_and_counted = world(_packet_in_flood)
test_a_long_dump_takes_turns_with_others = world(_dump_takes_turns)
test_inactivity_probe = world(_probe_interval)
test_new_times_keep_the_connection = world(_new_times_keep_the_connection)
test_a_new_datapath_id_ends_connections = world(_new_datapath_id)
test_protocols_choose_the_versions = world(_protocols)
