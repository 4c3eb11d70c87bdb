"""OpenFlow 1.3.5, 6.1 to 6.3 and 7.4 by Ryu's hands: connections, hello, echo, barriers, roles, asynchronous messages."""

import socket
import struct

import pytest
from conformance_world import BR, eth, flow, out, states

pytestmark = [pytest.mark.interop, pytest.mark.root]
FRAME = eth(0x88B5)
HELLO = bytes.fromhex("0400000800000001")


class Raw:
    """A connection to the bridge's own socket without a library, for what a library cannot say."""

    def __init__(self, of):
        self.sock = of.stack.enter_context(socket.socket(socket.AF_UNIX))
        self.sock.settimeout(30)
        self.sock.connect(str(of.switch.run_dir / f"{BR}.mgmt"))

    def send(self, data):
        self.sock.sendall(data)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise EOFError(data)
            data += part
        return data

    def next(self):
        """(version, type, xid, body) of the next message."""
        version, kind, length, xid = struct.unpack("!BBHI", self.exactly(8))
        return version, kind, xid, self.exactly(length - 8)

    def error(self):
        """(type, code) of the next message, which is an error."""
        _version, kind, _xid, body = self.next()
        assert kind == 1
        return struct.unpack_from("!HH", body)

    def is_closed(self):
        """Nothing more comes."""
        try:
            while True:
                self.next()
        except (EOFError, ConnectionResetError):
            return True


@pytest.fixture
def raw(of):
    return Raw(of)


@states("6.3.1", "Each side sends a hello with its highest version at once.")
def test_6_3_1_hello_comes_first(raw):
    version, kind, _xid, _body = raw.next()
    assert (version, kind) == (4, 0)


@states("6.3.1", "Without version bitmaps the lower of the two versions is used.")
def test_6_3_1_lower_version(raw):
    raw.next()
    raw.send(bytes.fromhex("0500000800000001"))
    raw.send(bytes.fromhex("0402000800000002"))
    assert raw.next()[:3] == (4, 3, 2)


@states("6.3.1", "With version bitmaps on both sides the highest common version is used.")
def test_6_3_1_version_bitmap(raw):
    raw.next()
    raw.send(bytes.fromhex("06000010000000010001000800000050"))
    raw.send(bytes.fromhex("0402000800000002"))
    assert raw.next()[:3] == (4, 3, 2)


@states("6.3.1", "Without a common version: OFPHFC_INCOMPATIBLE, then the connection ends.")
@pytest.mark.parametrize("hello", ["0300000800000001", "06000010000000010001000800000040"])
def test_6_3_1_no_common_version(raw, hello):
    raw.next()
    raw.send(bytes.fromhex(hello))
    assert raw.error() == (0, 0)
    assert raw.is_closed()


@states("6.3.1", "Hello elements that are not known are skipped.")
def test_6_3_1_unknown_elements(raw):
    raw.next()
    raw.send(bytes.fromhex("040000180000000100770008ffffffff0001000800000010"))
    raw.send(bytes.fromhex("0402000800000002"))
    assert raw.next()[:3] == (4, 3, 2)


@states("6.3.2", "An echo request is answered with its data and transaction id.")
def test_6_3_2_echo(raw):
    raw.next()
    raw.send(HELLO + bytes.fromhex("0402000c00000007") + b"data")
    assert raw.next() == (4, 3, 7, b"data")


@states("6.3.3", "While one connection is stuck the others are served.")
def test_6_3_3_connections_are_independent(of, raw):
    raw.next()
    raw.send(HELLO + bytes.fromhex("040e"))
    of.ok(flow(actions=out(2)))
    assert of.packet(FRAME) == {2: [FRAME]}


@states("6.2", "A barrier is answered when all messages before it are carried out.")
def test_6_2_barrier(of):
    many = [flow(f"in_port={n}", out(2)) for n in range(10, 60)]
    assert of.do(*many) == []
    assert len(of.body("p.OFPFlowStatsRequest(dp)")) == 50


@states("6.2", "Each message is answered, and answers carry the transaction id of their request.")
def test_6_2_transaction_ids(raw):
    raw.next()
    raw.send(HELLO)
    for xid in (11, 12, 13):
        raw.send(struct.pack("!BBHI", 4, 5, 8, xid))
    assert [raw.next()[1:3] for _ in range(3)] == [(6, 11), (6, 12), (6, 13)]


@states(
    "6.2",
    "A refused message is answered by one error with its first 64 bytes at least, and its transaction id.",
)
def test_6_2_error_has_the_request(raw):
    raw.next()
    request = struct.pack("!BBHI", 4, 99, 100, 77) + bytes(range(92))
    raw.send(HELLO + request)
    _, kind, xid, body = raw.next()
    assert (kind, xid, body[:4]) == (1, 77, bytes.fromhex("00010001"))
    assert body[4:68] == request[:64]


@states("6.3.4", "A new connection has the role equal.")
def test_6_3_4_first_role(of):
    assert of.one("p.OFPRoleRequest(dp, o.OFPCR_ROLE_NOCHANGE, 0)")["role"] == 1


@states("6.3.5", "Any number of connections may change the switch as equals.")
def test_6_3_5_equals(of, second):
    of.ok(flow("in_port=1", out(2)))
    assert second.do(flow("in_port=2", out(3))) == []
    assert len(of.body("p.OFPFlowStatsRequest(dp)")) == 2


CHANGES = {
    "flow-mod": flow(actions=out(2)),
    "group-mod": "p.OFPGroupMod(dp, 0, 0, 1, [])",
    "meter-mod": "p.OFPMeterMod(dp, 0, 1, 1, [])",
    "port-mod": "p.OFPPortMod(dp, 1, '00:00:00:00:00:00', 0, 0, 0)",
    "table-mod": "p.OFPTableMod(dp, 0, 0)",
    "packet-out": f"p.OFPPacketOut(dp, o.OFP_NO_BUFFER, 1, [{out(2)}], bytes(60))",
}


@pytest.fixture(scope="module")
def other(conformance):
    ryu = conformance.controller()
    conformance.switch.vsctl("set-controller", BR, conformance.ryu.target, ryu.target)
    yield ryu
    conformance.switch.vsctl("set-controller", BR, conformance.ryu.target)


@pytest.fixture
def second(other):
    """A second controller of the bridge, as an equal."""
    other.do("p.OFPRoleRequest(dp, o.OFPCR_ROLE_EQUAL, 0)")
    return other


def role(ryu, name, generation):
    told = ryu.do(f"p.OFPRoleRequest(dp, o.OFPCR_ROLE_{name}, {generation})")
    return next(m for m in told if m.kind in ("OFPRoleReply", "OFPErrorMsg"))


@pytest.fixture(scope="module")
def generation():
    """Generation ids that grow over the module: the switch remembers the last one."""
    return iter(range(1, 1000)).__next__


@states("6.3.5", "A slave may not change the switch: OFPBRC_IS_SLAVE.")
@pytest.mark.parametrize("change", CHANGES)
def test_6_3_5_slave_cannot(second, generation, change):
    role(second, "SLAVE", generation())
    (error,) = (m for m in second.do(CHANGES[change]) if m.kind == "OFPErrorMsg")
    assert error.fields["name"] == "OFPBRC_IS_SLAVE"


@states("6.3.5", "A slave may ask.")
def test_6_3_5_slave_may_ask(of, second, generation):
    of.ok(flow(actions=out(2)))
    role(second, "SLAVE", generation())
    (reply,) = (m for m in second.do("p.OFPFlowStatsRequest(dp)") if m.kind == "OFPFlowStatsReply")
    assert len(reply.fields["body"]) == 1


@states("6.3.5", "A new master makes the old one a slave; equals stay.")
def test_6_3_5_one_master(of, second, generation):
    assert role(second, "MASTER", generation()).fields["role"] == 2
    assert of.error(flow(actions=out(2))) is None
    assert of.one(f"p.OFPRoleRequest(dp, o.OFPCR_ROLE_MASTER, {generation()})")["role"] == 2
    assert role(second, "NOCHANGE", 0).fields["role"] == 3


@states("6.3.5", "A generation id that is older than the last is refused: OFPRRFC_STALE, and the role stays.")
@pytest.mark.parametrize("name", ["MASTER", "SLAVE"])
def test_6_3_5_stale_generation(second, generation, name):
    newest = generation()
    role(second, "MASTER", newest)
    assert role(second, name, newest - 1).fields["name"] == "OFPRRFC_STALE"
    assert role(second, "NOCHANGE", 0).fields["role"] == 2
    assert role(second, "MASTER", newest).fields["role"] == 2


@states("6.3.5", "The generation id does not matter for equal and no-change.")
def test_6_3_5_generation_of_equal(second, generation):
    role(second, "MASTER", generation())
    generation()
    assert role(second, "EQUAL", 0).fields["role"] == 1


@states("6.3.5", "An unknown role is refused: OFPRRFC_BAD_ROLE.")
def test_6_3_5_bad_role(of):
    assert of.error("p.OFPRoleRequest(dp, 9, 0)") == "OFPRRFC_BAD_ROLE"


@states("6.3.5", "A slave gets port-status but no packet-in and no flow-removed.")
def test_6_3_5_what_slaves_hear(of, second, generation):
    role(second, "SLAVE", generation())
    of.ok(flow(actions=out("o.OFPP_CONTROLLER"), flags="o.OFPFF_SEND_FLOW_REM"))
    of.packet(FRAME)
    of.packet_in()
    of.ok(flow(instructions="[]", command="o.OFPFC_DELETE", out_port="o.OFPP_ANY", out_group="o.OFPG_ANY"))
    of.told("OFPFlowRemoved")
    of.port_down(3, down=True)
    of.port_down(3, down=False)
    second.wait("OFPPortStatus")
    second.wait("OFPPortStatus")
    assert second.do("p.OFPEchoRequest(dp, b'')")[0].kind == "OFPEchoReply"
    of.told("OFPPortStatus")
    of.told("OFPPortStatus")


ASYNC_FIELDS = (
    "packet_in_mask",
    "port_status_mask",
    "flow_removed_mask",
)


@states(
    "6.3.6",
    "Asynchronous messages are sent as the masks of the connection say, for its role and their reason.",
)
def test_6_3_6_async_masks(of, second):
    second.do("p.OFPSetAsync(dp, [0, 0], [0b100, 0], [0, 0])")
    (config,) = (m for m in second.do("p.OFPGetAsyncRequest(dp)") if m.kind == "OFPGetAsyncReply")
    assert [config.fields[name] for name in ASYNC_FIELDS] == [[0, 0], [4, 0], [0, 0]]
    of.ok(flow(actions=out("o.OFPP_CONTROLLER")))
    of.packet(FRAME)
    of.packet_in()
    of.port_down(3, down=True)
    of.port_down(3, down=False)
    assert second.wait("OFPPortStatus").fields["reason"] == 2
    seen = {m.kind for m in second.do("p.OFPEchoRequest(dp, b'')")}
    assert "OFPPacketIn" not in seen
    second.do("p.OFPSetAsync(dp, [3, 0], [7, 7], [15, 0])")
    of.told("OFPPortStatus")
    of.told("OFPPortStatus")


@states("6.3.6", "At first a master or equal hears all but invalid-TTL packet-ins, a slave port-status only.")
def test_6_3_6_default_masks(raw):
    raw.next()
    raw.send(HELLO + bytes.fromhex("041a000800000009"))
    _, kind, _, body = raw.next()
    assert (kind, struct.unpack("!6I", body)) == (27, (0b011, 0, 0b111, 0b111, 0b1111, 0))


@states("6.1.2", "A port-mod that changes something is told to all connections by port-status MODIFY.")
def test_6_1_2_port_status(of):
    of.port_down(2, down=True)
    told = of.told("OFPPortStatus")
    assert (told["reason"], told["desc"]["OFPPort"]["port_no"], told["desc"]["OFPPort"]["config"]) == (
        2,
        2,
        1,
    )
    of.port_down(2, down=False)
    assert of.told("OFPPortStatus")["desc"]["OFPPort"]["config"] == 0


@states("7.4.3", "A port that is added or deleted is told with reason ADD or DELETE.")
def test_7_4_3_add_delete(of):
    of.switch.vsctl(
        "add-port", BR, "extra", "--", "set", "Interface", "extra", "type=tap", "ofport_request=9"
    )
    told = of.told("OFPPortStatus")
    assert (told["reason"], told["desc"]["OFPPort"]["port_no"]) == (0, 9)
    of.switch.vsctl("del-port", BR, "extra")
    while (told := of.told("OFPPortStatus"))["reason"] == 2:
        pass
    assert (told["reason"], told["desc"]["OFPPort"]["port_no"]) == (1, 9)


@states("6.3.2", "While a controller is connected again its flow entries are still there.")
def test_6_3_2_flows_survive_a_connection(of):
    of.ok(flow("in_port=1", out(2)))
    of.switch.vsctl("set-controller", BR, "tcp:127.0.0.1:1")
    assert "in_port" in of.switch.ofctl("dump-flows", BR)
    of.switch.vsctl("set-controller", BR, of.ryu.target)
    assert of.packet(FRAME) == {2: [FRAME]}
