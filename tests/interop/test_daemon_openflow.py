"""The whole daemon under controllers: TLS, roles, ports, timeouts, groups and packet-ins with real frames."""

import datetime as dt
import socket
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.front_end import FrontEnd
from fakes.talker import meet
from fakes.wire import Wire, frame, ip, namespace
from peers import need
from peers.controller import Controller, Door
from peers.switch import Switch, free_tcp_port
from peers.wait import until

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.constants import OFPCML_NO_BUFFER, OFPCR, OFPFF, OFPGT, OFPP, OFPPC, OFPPS, OFPR, OFPRR
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.structures import Bucket

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "vsof0"
FRAME = frame(200)
NEVER = OFPCML_NO_BUFFER


class World:
    """A secure bridge with three veth ports; `wires` are their other ends, by number."""

    def __init__(self, place, stack):
        ip("link", "set", "lo", "up")
        self.switch = stack.enter_context(Switch(place / "s"))
        self.switch.add_bridge(BR, secure=True)
        self.wires = {}
        for number in (1, 2, 3):
            ip("link", "add", f"w{number}", "type", "veth", "peer", "name", f"x{number}")
            for end in "wx":
                ip("link", "set", f"{end}{number}", "up")
            self.switch.add_device(BR, f"w{number}", number)
            self.wires[number] = Wire(f"x{number}")
            stack.callback(self.wires[number].close)
        self.stack = stack
        self.sent = 0

    def controller(self, **more):
        """A service connection over BRIDGE.mgmt; it hears of ports and flows when it sets miss_send_len."""
        return self.stack.enter_context(Controller.to(self.switch.run_dir / f"{BR}.mgmt", **more))

    def door(self, *args, **kwargs):
        door = Door(*args, **kwargs)
        self.stack.callback(door.close)
        return door

    def rows(self):
        return {row["port"]: row for row in self.switch.json("drops")}

    def send(self, data=FRAME, number=1):
        """Send a frame into a port and wait until the switch has dealt with it."""
        before = self.rows()[f"w{number}"]["received"]
        self.wires[number].send(data)
        until(lambda: self.rows()[f"w{number}"]["received"] > before, "the frame is counted")

    def arrivals(self, data=FRAME, number=1):
        """Send a frame; the ports that it left by, each having delivered exactly it."""
        before = self.rows()
        self.send(data, number)
        after = self.rows()
        left = [n for n in self.wires if after[f"w{n}"]["sent"] > before[f"w{n}"]["sent"]]
        assert all(self.wires[n].frames(1) == [data] for n in left)
        return left


@pytest.fixture
def world(place):
    need.need_root()
    need.need_program("ip")
    with namespace(), ExitStack() as stack:
        yield World(place, stack)


def flow(*actions, match=None, priority=10, **more):
    match = Match.named(**(match or {}))
    return m.FlowMod(match=match, priority=priority, instructions=(ApplyActions(actions),), **more)


def flows(controller):
    return controller.ask(mp.FlowStatsRequest()).entries


def make_certificate(place, name, signer=None):
    """NAME.key and NAME.pem, signed by `signer` (key, certificate) or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    issuer_key, issuer = (key, subject) if signer is None else (signer[0], signer[1].subject)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(then)
    builder = builder.not_valid_after(then.replace(year=2120))
    builder = builder.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (place / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (place / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    return key, certificate


def test_tls_both_ways_with_the_files_of_set_ssl(world, place):
    ca = make_certificate(place, "ca")
    for name in ("sw", "ctl"):
        make_certificate(place, name, ca)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    for context in (server, client):
        context.load_cert_chain(place / "ctl.pem", place / "ctl.key")
        context.load_verify_locations(place / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    door, number = world.door(tls=server), free_tcp_port()
    switch = world.switch
    switch.vsctl("set-ssl", *(str(place / name) for name in ("sw.key", "sw.pem", "ca.pem")))
    assert str(place / "sw.pem") in switch.vsctl("get-ssl")
    switch.vsctl("set-controller", BR, door.target, f"pssl:{number}:127.0.0.1")
    dpid = int(switch.vsctl("get", "Bridge", BR, "datapath_id").strip('"'), 16)
    active = world.stack.enter_context(door.accept())
    assert active.ask(m.FeaturesRequest()).datapath_id == dpid

    def connected():
        return "true" in switch.vsctl(
            "--bare", "--columns=is_connected", "find", "Controller", f'target="{door.target}"'
        )

    until(connected, "the active connection is shown")

    def connect(context):
        bare = socket.create_connection(("127.0.0.1", number), 20)
        return Controller(context.wrap_socket(bare))

    def reach():
        return connect(client)

    with until(reach, "the switch listens") as passive:
        assert passive.ask(m.FeaturesRequest()).datapath_id == dpid
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.load_verify_locations(place / "ca.pem")
    with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
        connect(stranger)
    assert active.do(flow(act.Output(2))) == []


def test_controllers_on_unix_sockets_share_by_their_roles(world, place):
    doors = [world.door(place / f"c{i}") for i in (1, 2)]
    world.switch.vsctl("set-controller", BR, *(door.target for door in doors))
    one, two = (world.stack.enter_context(door.accept()) for door in doors)
    assert one.do(flow(act.Output(OFPP.CONTROLLER, NEVER))) == []
    world.send()
    assert one.wait(m.PacketIn).data == two.wait(m.PacketIn).data == FRAME
    assert one.ask(m.RoleRequest(OFPCR.MASTER, 1)).role == OFPCR.MASTER
    assert two.ask(m.RoleRequest(OFPCR.SLAVE, 1)).role == OFPCR.SLAVE
    assert (
        two.do(flow(act.Output(2)), m.PacketOut(actions=(act.Output(2),), data=FRAME))
        == ["OFPBRC_IS_SLAVE"] * 2
    )
    assert len(flows(two)) == 1
    other = frame(300, seed=1)
    world.send(other)
    assert one.wait(m.PacketIn).data == other
    assert not [told for told in two.told if isinstance(told, m.PacketIn)]
    ip("link", "set", "x2", "down")
    for controller in (one, two):  # a slave is told of ports
        controller.wait(
            m.PortStatus, lambda told: told.desc.state & OFPPS.LINK_DOWN and told.desc.port_no == 2
        )
    assert not two.told
    assert two.ask(m.RoleRequest(OFPCR.MASTER, 2)).role == OFPCR.MASTER
    assert one.ask(m.RoleRequest()).role == OFPCR.SLAVE
    assert two.do(flow(act.Output(3), priority=11)) == []
    assert world.arrivals() == [3]

    def roles():
        text = world.switch.vsctl("--bare", "--columns=role", "list", "Controller")
        return sorted(text.split()) == ["master", "slave"]

    until(roles, "the roles are shown")
    metrics = world.switch.metrics()
    role = {labels["target"]: labels["role"] for labels, _ in metrics["vs_controller_role"]}
    assert role == {doors[0].target: "slave", doors[1].target: "master"}
    assert {value for _, value in metrics["vs_controller_connected"]} == {1.0}


def test_auxiliary_connections_and_the_rate_of_a_controller_as_its_row_says(world):
    door, switch = world.door(), world.switch
    switch.vsctl("set-controller", BR, door.target)
    main = world.stack.enter_context(door.accept())
    switch.vsctl("set", "Controller", BR, "other_config:aux-connections=2", "controller_rate_limit=100")
    others = [world.stack.enter_context(door.accept()) for _ in range(2)]
    features = [c.ask(m.FeaturesRequest()) for c in (main, *others)]
    assert sorted(reply.auxiliary_id for reply in features) == [0, 1, 2]
    assert len({reply.datapath_id for reply in features}) == 1
    assert others[0].do(flow(act.Output(OFPP.CONTROLLER))) == []
    by_number = {reply.auxiliary_id: c for reply, c in zip(features, (main, *others), strict=True)}
    for number, c in ((1, by_number[1]), (2, by_number[2]), (3, main)):
        world.send(number=number)
        assert c.wait(m.PacketIn).match.get("in_port").value == number
    switch.vsctl("set", "Controller", BR, "other_config:aux-connections=no")
    for c in others:
        with pytest.raises(EOFError):
            c.wait(m.FlowMod)  # which a switch never sends
    assert main.ask(m.FeaturesRequest()).auxiliary_id == 0


def test_a_deaf_controller_is_left_after_two_probes_and_normal_takes_over(world):
    door = world.door()
    world.switch.vsctl(
        "set-fail-mode", BR, "standalone", "--", "set-controller", BR, door.target,
    )  # fmt: skip
    world.switch.vsctl("set", "Controller", BR, "inactivity_probe=1000", "max_backoff=1000")
    deaf = world.stack.enter_context(door.accept(deaf=True))
    assert deaf.ask(mp.FlowStatsRequest()).entries == ()
    with pytest.raises(EOFError):
        deaf.wait(m.FlowMod)  # which a switch never sends
    door.close()
    until(lambda: world.switch.metrics()["vs_fail_open"] == [({"bridge": BR}, 1.0)], "the switch fails open")
    assert world.switch.vsctl("get", "Controller", BR, "is_connected") == "false"
    assert world.arrivals() == [2, 3]


def test_port_mod_stops_packets_and_links_are_told(world):
    c = world.controller()
    c.do(m.SetConfig(0, 128))
    assert (
        c.do(flow(act.Output(2)), flow(act.Output(OFPP.CONTROLLER), match={"in_port": 3}, priority=11)) == []
    )
    assert world.arrivals() == [2]
    hw = {port.port_no: port.hw_addr for port in c.ask(mp.PortDescRequest()).entries}

    def mod(number, config):
        every = OFPPC.PORT_DOWN | OFPPC.NO_RECV | OFPPC.NO_FWD | OFPPC.NO_PACKET_IN
        assert c.do(m.PortMod(number, hw[number], config, every)) == []
        c.wait(m.PortStatus, lambda told: told.desc.port_no == number and told.desc.config == config)

    for number, config, reason in (
        (1, OFPPC.PORT_DOWN, "port_down"),
        (1, OFPPC.NO_RECV, "no_recv"),
        (2, OFPPC.PORT_DOWN, "egress_blocked"),
        (2, OFPPC.NO_FWD, "egress_blocked"),
    ):
        before = world.rows()["w1"]["rx_drops"].get(reason, 0)
        mod(number, config)
        assert world.arrivals() == []
        assert world.rows()["w1"]["rx_drops"][reason] == before + 1
        assert world.rows()["w1"]["closes"]
        mod(number, 0)
        assert world.arrivals() == [2]
    mod(3, OFPPC.NO_PACKET_IN)
    world.send(number=3)
    mod(3, 0)
    other = frame(99, seed=5)
    world.send(other, 3)
    assert c.wait(m.PacketIn).data == other
    for state, bit in (("down", OFPPS.LINK_DOWN), ("up", OFPPS.LIVE)):
        ip("link", "set", "x2", state)
        c.wait(m.PortStatus, lambda told, b=bit: told.desc.port_no == 2 and told.desc.state == b)
    ports = {p.port_no: p for p in c.ask(mp.PortStatsRequest()).entries}
    assert ports[1].rx_packets == world.rows()["w1"]["received"]


def test_an_idle_flow_leaves_with_its_final_counters(world):
    c = world.controller()
    c.do(m.SetConfig(0, 128))
    assert c.do(flow(act.Output(2), cookie=7, idle_timeout=2, flags=OFPFF.SEND_FLOW_REM)) == []
    for _ in range(5):
        world.send()
    assert world.wires[2].frames(5) == [FRAME] * 5
    told = c.wait(m.FlowRemoved)
    assert (told.cookie, told.reason, told.priority) == (7, OFPRR.IDLE_TIMEOUT, 10)
    assert (told.packet_count, told.byte_count) == (5, 5 * len(FRAME))
    assert told.duration_sec >= 2
    assert flows(c) == ()
    assert world.arrivals() == []


def test_packet_in_is_cut_as_asked_and_packet_out_goes_where_it_says(world):
    c = world.controller()
    c.do(m.SetConfig(0, 60))
    assert c.ask(m.GetConfigRequest()).miss_send_len == 60
    for flow_mod, length, reason in (
        (flow(act.Output(OFPP.CONTROLLER, 64), cookie=5), 64, OFPR.ACTION),
        (flow(act.Output(OFPP.CONTROLLER, NEVER), cookie=5), 200, OFPR.ACTION),
        (flow(act.Output(OFPP.CONTROLLER, NEVER), cookie=6, priority=0), 200, OFPR.NO_MATCH),
    ):
        c.do(m.FlowMod(command=3))
        assert c.do(flow_mod) == []
        world.send()
        told = c.wait(m.PacketIn)
        assert (told.data, told.total_len) == (FRAME[:length], 200)
        assert (told.reason, told.cookie, told.table_id) == (reason, flow_mod.cookie, 0)
        assert told.match == Match.named(in_port=1)
    c.do(m.FlowMod(command=3))
    # From the controller's own port, straight out; from there and from port 1, through the tables.
    assert c.do(m.PacketOut(in_port=OFPP.CONTROLLER, actions=(act.Output(2),), data=FRAME)) == []
    assert world.wires[2].frames(1) == [FRAME]
    c.do(flow(act.Output(3), match={"in_port": 1}), flow(act.Output(2), match={"in_port": OFPP.CONTROLLER}))
    for port, way in ((1, 3), (OFPP.CONTROLLER, 2)):
        assert c.do(m.PacketOut(in_port=port, actions=(act.Output(OFPP.TABLE),), data=FRAME)) == []
        assert world.wires[way].frames(1) == [FRAME]
    assert sorted(entry.packet_count for entry in flows(c)) == [1, 1]


def test_groups_all_and_indirect_carry_frames(world):
    c = world.controller()
    tag = act.PushVlan(0x8100)
    everyone = (Bucket(actions=(tag, act.Output(2))), Bucket(actions=(act.Output(3),)))
    assert (
        c.do(
            m.GroupMod(type=OFPGT.ALL, group_id=1, buckets=everyone),
            m.GroupMod(type=OFPGT.INDIRECT, group_id=2, buckets=(Bucket(actions=(act.Group(1),)),)),
            flow(act.Group(1)),
            flow(act.Group(2), match={"in_port": 2}, priority=11),
        )
        == []
    )
    world.send()
    tagged = FRAME[:12] + bytes.fromhex("81000000") + FRAME[12:]
    assert world.wires[2].frames(1) == [tagged]
    assert world.wires[3].frames(1) == [FRAME]
    world.send(number=2)  # and not back to where it came from
    assert world.wires[3].frames(1) == [FRAME]
    stats = {g.group_id: (g.packet_count, g.byte_count) for g in c.ask(mp.GroupStatsRequest()).entries}
    assert stats == {1: (2, 400), 2: (1, 200)}
    assert world.rows()["w2"]["sent"] == 1


def test_the_local_port_is_an_interface_of_the_host(world):
    c = world.controller()
    host = Wire(BR)
    world.stack.callback(host.close)
    ip("link", "set", BR, "up")
    assert c.do(
        flow(act.Output(OFPP.LOCAL), match={"in_port": 1}),
        flow(act.Output(2), match={"in_port": OFPP.LOCAL}),
    ) == []  # fmt: skip
    world.send()
    assert host.frames(1) == [FRAME]
    other = frame(300, seed=3)
    host.send(other)
    assert world.wires[2].frames(1) == [other]


def test_nonsense_costs_its_own_connection(world):
    """Each of these ends or is answered; another controller and the packets go on."""
    c = world.controller()
    assert c.do(flow(act.Output(2))) == []
    for nonsense in (
        b"\4\0\0\3\0\0\0\1",  # shorter than its header
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(64),
        b"\4\x0e\xff\xff" + bytes(70_000),  # a flow-mod of zeros, and more
        b"\4\x0e\0\x40\0\0\0\1" + b"\xff" * 56 + b"\4\x02\0\x08\0\0\0\2",  # of ones, then an echo
    ):
        with world.controller() as bad:
            bad.sock.sendall(nonsense)
            bad.sock.shutdown(socket.SHUT_WR)
            while bad.sock.recv(65536):
                pass
        assert [entry.priority for entry in flows(c)] == [10]
        assert world.arrivals() == [2]


def test_a_guest_that_comes_and_goes_is_a_link(world):
    c = world.controller()
    c.do(m.SetConfig(0, 128))
    path = world.switch.add_vhost(BR, "v9", 9)
    c.wait(m.PortStatus, lambda told: told.desc.port_no == 9 and told.desc.state == OFPPS.LINK_DOWN)
    with ExitStack() as leave:
        guest = FrontEnd(meet(path))
        leave.callback(guest.close)
        guest.start()
        c.wait(m.PortStatus, lambda told: told.desc.port_no == 9 and told.desc.state == OFPPS.LIVE)
    c.wait(m.PortStatus, lambda told: told.desc.port_no == 9 and told.desc.state == OFPPS.LINK_DOWN)
