"""Targets, listeners, controllers over real sockets, back-off, TLS and fail mode; the clock is the test's."""

import asyncio
import datetime as dt
import os
import ssl
import stat
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from of_peer import Clock, FakeBridge, FakeDatapath, FakePortHandle, flow, messages, port

from vswitchd.datapath import dp
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Identity
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPP
from vswitchd.ofproto.endpoint import ControllerConfig
from vswitchd.ofproto.server import OpenFlowBridge, datapath_id
from vswitchd.ofproto.target import Target, TargetError, parse_target
from vswitchd.ofproto.tls import SslConfig

LIMIT = 20


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


class Controller:
    """One end of a connection, over asyncio streams."""

    made: ClassVar[list["Controller"]] = []

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.made.append(self)

    @classmethod
    async def to_unix(cls, path):
        self = cls(*await asyncio.open_unix_connection(path))
        await self.greet()
        return self

    async def greet(self):
        self.writer.write(encode(m.Hello(frozenset({4})), 1))
        _, hello = await self.next()
        assert isinstance(hello, m.Hello)

    async def next(self):
        async with asyncio.timeout(LIMIT):
            head = await self.reader.readexactly(8)
            return messages(head + await self.reader.readexactly(int.from_bytes(head[2:4], "big") - 8))[0]

    async def ask(self, message, xid=5):
        self.writer.write(encode(message, xid))
        found = await self.next()
        assert found[0] == xid
        return found[1]

    async def eof(self):
        async with asyncio.timeout(LIMIT):
            return await self.reader.read()

    async def close(self):
        self.writer.close()


class World:
    """An OpenFlowBridge in a running loop, a clock, and listening controllers."""

    def __init__(self, tmp_path):
        self.clock = Clock()
        self.dp = FakeBridge()
        self.dir = str(tmp_path)
        self.of = OpenFlowBridge(
            self.dp, FakeDatapath(), "br0", self.dir, clock=self.clock, identity=Identity(7, "br0")
        )
        self.of.port_added(port(1), FakePortHandle(1))
        self.mgmt = f"{self.dir}/br0.mgmt"
        self.arrived = asyncio.Queue()
        self.servers = []

    async def listen(self, name="c"):
        """A controller's socket; each connection to it arrives in `arrived`."""
        path = f"{self.dir}/{name}"

        async def take(reader, writer):
            await self.arrived.put(Controller(reader, writer))

        self.servers.append(await asyncio.start_unix_server(take, path))
        return f"unix:{path}"

    async def next(self):
        async with asyncio.timeout(LIMIT):
            found = await self.arrived.get()
        await found.greet()
        return found

    async def until(self, condition):
        async with asyncio.timeout(LIMIT):
            while not condition():
                self.of.tick()
                await asyncio.sleep(0.01)

    def status(self, target):
        return self.of.status().controllers[target]

    def normal(self):
        return [
            spec for spec in self.dp.visible().values() if spec.apply and spec.apply[0].arg == OFPP.NORMAL
        ]


def world(test):
    """Run a coroutine `test(world)` with a new loop; everything is closed after it."""

    def wrapped(tmp_path):
        async def main():
            w = World(tmp_path)
            try:
                await test(w)
            finally:
                w.of.close()
                for server in w.servers:
                    server.close()
                for controller in Controller.made:
                    controller.writer.transport.abort()
                Controller.made.clear()
                for _ in range(5):
                    await asyncio.sleep(0)
            return w.mgmt

        assert not os.path.exists(asyncio.run(main()))

    return wrapped


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


async def _standalone(w):
    assert len(w.normal()) == 1
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target, inactivity_probe=2000)])
    assert w.dp.visible() == {}
    c = await w.next()
    c.writer.write(encode(flow(9), 3))
    await c.ask(m.BarrierRequest())
    w.servers[0].close()
    await c.close()
    await w.until(lambda: not w.status(target).is_connected)
    w.clock.now += 5.9
    w.of.tick()
    assert [spec.priority for spec in w.dp.visible().values()] == [9]
    w.clock.now += 0.2
    w.of.tick()
    assert len(w.normal()) == len(w.dp.visible()) == 1
    assert w.of.status().fail_open
    os.unlink(f"{w.dir}/c")
    await w.listen()
    w.clock.now += 20
    await w.until(lambda: not w.arrived.empty())
    await w.next()
    await w.until(lambda: w.status(target).is_connected)
    w.of.tick()
    assert w.dp.visible() == {}
    assert not w.of.status().fail_open
    w.of.set_controllers([])
    assert len(w.normal()) == 1


async def _own_normal_flow(w):
    """A controller whose own flow is that of failing open, sent with its hello: it stays."""
    target = f"unix:{w.dir}/c"
    w.of.set_controllers([ControllerConfig(target)])
    w.clock.now += 16
    w.of.tick()
    assert w.of.status().fail_open
    await w.until(lambda: w.status(target).state == "BACKOFF")
    await w.listen()
    w.clock.now += 20
    w.of.tick()
    async with asyncio.timeout(LIMIT):
        c = await w.arrived.get()
    c.writer.write(encode(m.Hello(frozenset({4})), 1) + encode(flow(0, out=OFPP.NORMAL), 2))
    await c.next()
    await c.ask(m.BarrierRequest())
    w.of.tick()
    assert not w.of.status().fail_open
    assert len(w.normal()) == 1


async def _secure(w):
    w.of.set_fail_mode("secure")
    assert w.dp.visible() == {}
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    c = await w.next()
    c.writer.write(encode(flow(9), 3))
    await c.ask(m.BarrierRequest())
    await c.close()
    await w.until(lambda: not w.status(target).is_connected)
    w.clock.now += 1000
    w.of.tick()
    assert [spec.priority for spec in w.dp.visible().values()] == [9]
    with pytest.raises(ValueError, match="expected standalone or secure"):
        w.of.set_fail_mode("open")


async def _failing_open_ends_with_secure(w):
    target = f"unix:{w.dir}/nobody"
    w.of.set_controllers([ControllerConfig(target)])
    w.clock.now += 16
    w.of.tick()
    assert len(w.normal()) == 1
    w.of.set_fail_mode("secure")
    assert w.normal() == []


def _pem(tmp_path, name, signer=None):
    """A key and certificate signed by `signer` (key, certificate) or by itself; their paths and the pair."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    issuer_key, issuer = (key, subject) if signer is None else (signer[0], signer[1].subject)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(then)
    builder = builder.not_valid_after(then.replace(year=2120))
    builder = builder.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    cert = builder.sign(issuer_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (tmp_path / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / f"{name}.pem").write_bytes(cert.public_bytes(pem))
    return key, cert


async def _tls(w, tmp_path):
    target = "pssl:0:127.0.0.1"
    w.of.set_controllers([ControllerConfig(target)])
    assert "SSL is not configured" in w.status(target).last_error
    files = [str(tmp_path / name) for name in ("sw.key", "sw.pem", "ca.pem")]
    w.of.set_ssl(SslConfig(*files[:2], str(tmp_path / "missing")))
    w.clock.now += 6
    w.of.tick()
    assert "missing: cannot use the CA certificate (No such file or directory)" in w.status(target).last_error
    w.of.set_ssl(SslConfig(*files))
    w.clock.now += 6
    w.of.tick()
    assert w.status(target).last_error is None
    number = w.of.endpoint(target).port
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.check_hostname = False
    bare = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    bare.check_hostname = False
    context.load_cert_chain(tmp_path / "ctl.pem", tmp_path / "ctl.key")
    c = Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=context))
    await c.greet()
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 7
    with pytest.raises((ssl.SSLError, asyncio.IncompleteReadError, ConnectionError)):
        await Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=bare)).greet()
    await c.close()
    # and actively
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "ctl.pem", tmp_path / "ctl.key")
    server_side.load_verify_locations(tmp_path / "ca.pem")
    server_side.verify_mode = ssl.CERT_REQUIRED

    async def take(reader, writer):
        await w.arrived.put(Controller(reader, writer))

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=server_side)
    w.servers.append(server)
    w.of.set_controllers([ControllerConfig(f"ssl:127.0.0.1:{server.sockets[0].getsockname()[1]}")])
    c = await w.next()
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 7


def test_tls_with_certificates_on_both_sides(tmp_path):
    ca = _pem(tmp_path, "ca")
    _pem(tmp_path, "sw", ca)
    _pem(tmp_path, "ctl", ca)

    async def both(w):
        await _tls(w, tmp_path)

    world(both)(tmp_path)


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
test_standalone_stands_in_for_a_lost_controller = world(_standalone)
test_the_flow_of_failing_open_is_not_taken_for_a_controllers = world(_own_normal_flow)
test_secure_keeps_its_flows = world(_secure)
test_failing_open_ends_when_made_secure = world(_failing_open_ends_with_secure)
