"""OpenFlow 1.3.5, 7.1 to 7.3 by Ryu's hands: features, configuration, ports, packet-out, multipart requests."""

import pytest
from conformance_world import eth, flow, goto, out, states

pytestmark = [pytest.mark.interop, pytest.mark.root]
FRAME = eth(0x88B5)
DESC = "p.OFPPortDescStatsRequest(dp, 0)"


def packet_out(actions, in_port="o.OFPP_CONTROLLER", data=FRAME, buffer="o.OFP_NO_BUFFER"):
    carried = f"bytes.fromhex('{data.hex()}')" if data else None
    return f"p.OFPPacketOut(dp, {buffer}, {in_port}, [{actions}], {carried})"


def arrived(of):
    got = {number: [] for number in of.wires}
    for number, wire in of.wires.items():
        while (frame := wire.receive(timeout=0)) is not None:
            got[number].append(frame[0])
    return {number: frames for number, frames in got.items() if frames}


@states("7.3.1", "Features name the datapath, its buffers, tables and capabilities.")
def test_7_3_1_features(of):
    features = of.one("p.OFPFeaturesRequest(dp)")
    assert (features["n_tables"], features["auxiliary_id"]) == (254, 0)
    assert features["n_buffers"] > 0
    flow_table_port_group_queue = 1 | 2 | 4 | 8 | 64
    assert features["capabilities"] & flow_table_port_group_queue == flow_table_port_group_queue


@states("7.3.2", "The configuration that was set is given back.")
@pytest.mark.parametrize("flags", ["o.OFPC_FRAG_NORMAL", "o.OFPC_FRAG_DROP"])
def test_7_3_2_config(of, flags):
    of.ok(f"p.OFPSetConfig(dp, {flags}, 77)")
    config = of.one("p.OFPGetConfigRequest(dp)")
    assert (config["flags"], config["miss_send_len"]) == (int(flags.endswith("DROP")), 77)


@states("7.3.2", "Flags that the switch cannot do are refused: OFPSCFC_BAD_FLAGS.")
def test_7_3_2_bad_flags(of):
    assert of.error("p.OFPSetConfig(dp, 3, 128)") == "OFPSCFC_BAD_FLAGS"


def fragment(first, more):
    head = bytearray.fromhex("4500002000000000401100000a0000010a000002")
    head[6:8] = ((more << 13) | first).to_bytes(2, "big")
    return eth(0x800, bytes(head) + bytes.fromhex("04d204d2000c0000") + bytes(4))


@states("7.3.2", "With OFPC_FRAG_DROP fragments are dropped, with NORMAL they go through the tables.")
def test_7_3_2_fragments(of):
    of.ok(flow(actions=out(2)))
    assert of.packet(fragment(0, 1)) == {2: [fragment(0, 1)]}
    assert of.packet(fragment(5, 0)) == {2: [fragment(5, 0)]}
    of.ok("p.OFPSetConfig(dp, o.OFPC_FRAG_DROP, 128)")
    assert of.packet(fragment(0, 1)) == {}
    assert of.packet(fragment(5, 0)) == {}
    assert of.packet(fragment(0, 0)) == {2: [fragment(0, 0)]}


@states("7.2.3.8", "Later fragments have no transport ports; the first fragment has them.")
def test_7_2_3_8_ports_of_fragments(of):
    of.ok(
        flow("eth_type=0x800, ip_proto=17, udp_dst=1234", out(2), priority=5),
        flow(actions=out(3), priority=1),
    )
    assert of.packet(fragment(0, 1)) == {2: [fragment(0, 1)]}
    assert of.packet(fragment(5, 0)) == {3: [fragment(5, 0)]}


@states("7.3.3", "A table-mod for a table that is not there is refused: OFPTMFC_BAD_TABLE.")
def test_7_3_3_bad_table(of):
    of.ok("p.OFPTableMod(dp, 5, 0)", "p.OFPTableMod(dp, 255, 0)")
    assert of.error("p.OFPTableMod(dp, 254, 0)") == "OFPTMFC_BAD_TABLE"
    assert of.error("p.OFPTableMod(dp, 1, 0x80)") == "OFPTMFC_BAD_CONFIG"


def port(of, number):
    return next(d for d in of.body(DESC) if d["port_no"] == number)


REFUSED_PORT_MODS = {
    "OFPPMFC_BAD_PORT": "p.OFPPortMod(dp, 77, '{mac}', 0, 0, 0)",
    "OFPPMFC_BAD_HW_ADDR": "p.OFPPortMod(dp, 1, '00:00:00:00:00:01', 0, 0, 0)",
    "OFPPMFC_BAD_CONFIG": "p.OFPPortMod(dp, 1, '{mac}', 0x100, 0x100, 0)",
    "OFPPMFC_BAD_ADVERTISE": "p.OFPPortMod(dp, 1, '{mac}', 0, 0, 0x8000)",
}


@states("7.3.4.3", "Port-mods that cannot be carried out are refused with the code of their fault.")
@pytest.mark.parametrize("code", REFUSED_PORT_MODS)
def test_7_3_4_3_refused(of, code):
    assert of.error(REFUSED_PORT_MODS[code].format(mac=port(of, 1)["hw_addr"])) == code


def set_config(of, number, bits):
    of.ok(f"p.OFPPortMod(dp, {number}, '{port(of, number)['hw_addr']}', {bits}, 0x65, 0)")


@states(
    "7.2.1",
    "Nothing is sent to a port with NO_FWD, and nothing of what comes in by one with NO_RECV goes through the tables.",
)
def test_7_2_1_no_fwd_no_recv(of):
    of.ok(flow(actions=out(2)))
    set_config(of, 2, "o.OFPPC_NO_FWD")
    assert of.packet(FRAME) == {}
    set_config(of, 2, "0")
    assert of.packet(FRAME) == {2: [FRAME]}
    set_config(of, 1, "o.OFPPC_NO_RECV")
    assert of.packet(FRAME) == {}
    set_config(of, 1, "0")
    assert of.packet(FRAME) == {2: [FRAME]}
    of.early.clear()


@states("7.2.1", "A port with NO_PACKET_IN sends nothing to the controllers.")
def test_7_2_1_no_packet_in(of):
    of.ok(flow(actions=out("o.OFPP_CONTROLLER")))
    set_config(of, 1, "o.OFPPC_NO_PACKET_IN")
    of.packet(FRAME)
    set_config(of, 1, "0")
    of.packet(FRAME[:59] + b"!")
    assert of.packet_in()["data"] == FRAME[:59] + b"!"
    of.early.clear()


@states("7.3.4.1", "Outputs to port numbers that no port can have are refused: OFPBAC_BAD_OUT_PORT.")
@pytest.mark.parametrize("bad", ["0", "o.OFPP_ANY", "0xffffff00"])
def test_7_3_4_1_bad_out_port(of, bad):
    assert of.error(flow(actions=out(bad))) == "OFPBAC_BAD_OUT_PORT"


@states("7.3.7", "A packet-out does its actions in order on the packet that it carries.")
def test_7_3_7_actions(of):
    of.ok(packet_out(f"{out(2)}, p.OFPActionPushVlan(), {out(3)}"))
    tagged = FRAME[:12] + bytes.fromhex("81000000") + FRAME[12:]
    assert arrived(of) == {2: [FRAME], 3: [tagged]}


@states("7.3.7", "OFPP_TABLE sends the packet through the tables as if it came in by in_port.")
def test_7_3_7_table(of):
    of.ok(flow("in_port=3", out(2)), flow("in_port=1", out(3)))
    assert of.packet(FRAME, in_port=3) == {2: [FRAME]}


@states("7.3.7", "OFPP_ALL and OFPP_FLOOD leave the input port out; OFPP_IN_PORT is the input port.")
def test_7_3_7_reserved_ports(of):
    of.ok(packet_out(out("o.OFPP_ALL"), in_port=2))
    assert arrived(of) == {1: [FRAME], 3: [FRAME]}
    of.ok(packet_out(out("o.OFPP_IN_PORT"), in_port=2))
    assert arrived(of) == {2: [FRAME]}
    of.ok(packet_out(out("o.OFPP_FLOOD"), in_port=3))
    assert arrived(of) == {1: [FRAME], 2: [FRAME]}


@states("7.3.7", "A packet-out with an empty action list drops the packet.")
def test_7_3_7_no_actions(of):
    of.ok(packet_out(""))
    assert arrived(of) == {}


@states(
    "7.3.7", "An unknown input port is refused: OFPBRC_BAD_PORT; an unknown buffer: OFPBRC_BUFFER_UNKNOWN."
)
def test_7_3_7_refused(of):
    assert of.error(packet_out(out(2), in_port=99)) == "OFPBRC_BAD_PORT"
    assert of.error(packet_out(out(2), data=b"", buffer=0x12345678)) == "OFPBRC_BUFFER_UNKNOWN"


def buffered(of):
    of.ok(flow("in_port=1", out("o.OFPP_CONTROLLER", "64")))
    of.packet(FRAME + bytes(200))
    packet = of.packet_in()
    assert (packet["data"], packet["total_len"]) == ((FRAME + bytes(200))[:64], len(FRAME) + 200)
    return packet["buffer_id"]


@states(
    "7.4.1", "A packet-in carries at most max_len bytes and the whole length; the rest waits in a buffer."
)
def test_7_4_1_buffered(of):
    number = buffered(of)
    of.ok(packet_out(out(3), in_port=1, data=b"", buffer=number))
    assert arrived(of) == {3: [FRAME + bytes(200)]}


@states("7.3.7", "A buffer is used once; then it is OFPBRC_BUFFER_EMPTY or OFPBRC_BUFFER_UNKNOWN.")
def test_7_3_7_buffer_once(of):
    number = buffered(of)
    of.ok(packet_out(out(3), in_port=1, data=b"", buffer=number))
    arrived(of)
    again = of.error(packet_out(out(3), in_port=1, data=b"", buffer=number))
    assert again in ("OFPBRC_BUFFER_EMPTY", "OFPBRC_BUFFER_UNKNOWN")


@states("7.3.4.1", "A flow-mod with a buffer sends that packet through the tables once the entry is there.")
def test_7_3_4_1_flow_mod_with_buffer(of):
    number = buffered(of)
    of.ok(flow("in_port=1", out(2), priority=40000, buffer_id=number))
    assert arrived(of) == {2: [FRAME + bytes(200)]}


@states("7.4.1", "OFPCML_NO_BUFFER sends the whole packet and no buffer.")
def test_7_4_1_no_buffer(of):
    of.ok(flow("in_port=1", out("o.OFPP_CONTROLLER")))
    of.packet(FRAME + bytes(200))
    packet = of.packet_in()
    assert (packet["buffer_id"], packet["data"]) == (0xFFFFFFFF, FRAME + bytes(200))


@states("7.4.1", "A packet-in names reason, table, cookie of the entry, input port and metadata.")
def test_7_4_1_context(of):
    of.ok(flow(instructions=f"[p.OFPInstructionWriteMetadata(0x77, 0xff), {goto(4)}]"))
    of.ok(flow(actions=out("o.OFPP_CONTROLLER"), table_id=4, priority=3, cookie=0xABC))
    of.packet(FRAME, in_port=2)
    packet = of.packet_in()
    assert (packet["reason"], packet["table_id"], packet["cookie"]) == (1, 4, 0xABC)
    fields = {f["OXMTlv"]["field"]: f["OXMTlv"]["value"] for f in packet["match"]["OFPMatch"]["oxm_fields"]}
    assert fields == {"in_port": 2, "metadata": 0x77}


IP_TTL_1 = eth(
    0x800, bytes.fromhex("4500001c00000000011165d20a0000010a000002") + bytes.fromhex("0001000200080000")
)


@states(
    "7.4.1",
    "A packet whose TTL is used up is dropped, and sent to the controllers that want invalid-TTL packet-ins.",
)
def test_7_4_1_invalid_ttl(of):
    of.ok("p.OFPSetAsync(dp, [7, 0], [7, 7], [15, 0])")
    of.ok(flow("eth_type=0x800", f"p.OFPActionDecNwTtl(), {out(2)}"))
    assert of.packet(IP_TTL_1) == {}
    assert of.packet_in()["reason"] == 2
    of.ok("p.OFPSetAsync(dp, [3, 0], [7, 7], [15, 0])")


@states("7.3.5", "An unknown type of multipart request is refused: OFPBRC_BAD_MULTIPART.")
def test_7_3_5_unknown(of):
    (error,) = of.ryu.raw(bytes.fromhex("04120010000000070055000000000000"))
    assert error.fields["name"] == "OFPBRC_BAD_MULTIPART"


@states(
    "7.3.5",
    "A reply that is too long for one message comes in several parts, all but the last with REPLY_MORE.",
)
def test_7_3_5_parts(of):
    of.ok(
        *(
            flow(f"in_port={n}, eth_type=0x800, ipv4_dst='10.0.0.1', ip_proto=6, tcp_dst={n}", out(2))
            for n in range(1, 700)
        )
    )
    parts = of.do("p.OFPFlowStatsRequest(dp)")
    assert [part.fields["flags"] for part in parts] == [1] * (len(parts) - 1) + [0]
    assert len(parts) > 1
    assert sum(len(part.fields["body"]) for part in parts) == 699


@states("7.3.5.1", "The description names manufacturer, hardware, software, serial number and datapath.")
def test_7_3_5_1_desc(of):
    desc = of.one("p.OFPDescStatsRequest(dp, 0)")["body"]["OFPDescStats"]
    assert all(desc[name] for name in ("mfr_desc", "hw_desc", "sw_desc", "serial_num"))


@states("7.3.5.2", "Flow statistics are limited by table, out_port, out_group, cookie and match.")
def test_7_3_5_2_filters(of):
    of.ok(
        flow("in_port=1", out(2), cookie=1),
        flow("in_port=2", out(3), cookie=2),
        flow("in_port=3", out(3), table_id=7),
    )
    ask = "p.OFPFlowStatsRequest(dp, 0, {}, {}, o.OFPG_ANY, {}, {}, p.OFPMatch({}))"
    count = lambda *words: len(of.body(ask.format(*words)))  # noqa: E731
    assert count("o.OFPTT_ALL", "o.OFPP_ANY", 0, 0, "") == 3
    assert count(7, "o.OFPP_ANY", 0, 0, "") == 1
    assert count("o.OFPTT_ALL", 3, 0, 0, "") == 2
    assert count("o.OFPTT_ALL", "o.OFPP_ANY", 2, 3, "") == 1
    assert count("o.OFPTT_ALL", "o.OFPP_ANY", 0, 0, "in_port=2") == 1


@states("7.3.5.2", "A table that is not there is refused: OFPBRC_BAD_TABLE_ID.")
@pytest.mark.parametrize("kind", ["Flow", "Aggregate"])
def test_7_3_5_2_bad_table(of, kind):
    ask = f"p.OFP{kind}StatsRequest(dp, 0, 254, o.OFPP_ANY, o.OFPG_ANY, 0, 0, p.OFPMatch())"
    assert of.error(ask) == "OFPBRC_BAD_TABLE_ID"


@states("7.3.5.3", "Aggregate statistics are the sums over the entries that flow statistics would list.")
def test_7_3_5_3_aggregate(of):
    of.ok(flow("in_port=1", out(2)), flow("in_port=2", out(2)))
    of.packet(FRAME)
    of.packet(FRAME, in_port=2)
    ask = "p.OFPAggregateStatsRequest(dp, 0, o.OFPTT_ALL, o.OFPP_ANY, o.OFPG_ANY, 0, 0, p.OFPMatch())"
    body = of.one(ask)["body"]["OFPAggregateStats"]
    assert (body["flow_count"], body["packet_count"], body["byte_count"]) == (2, 2, 2 * len(FRAME))


@states("7.3.5.4", "Table statistics list every table.")
def test_7_3_5_4_tables(of):
    assert [t["table_id"] for t in of.body("p.OFPTableStatsRequest(dp)")] == list(range(254))


@states("7.3.5.5", "Table features list every table with what it can match, write and do.")
def test_7_3_5_5_table_features(of):
    tables = of.body("p.OFPTableFeaturesStatsRequest(dp, 0)")
    assert [t["table_id"] for t in tables] == list(range(254))
    assert (tables[0]["metadata_match"], tables[0]["metadata_write"]) == (2**64 - 1, 2**64 - 1)
    kinds = {name for t in tables[:1] for p in t["properties"] for name in p}
    assert {
        "OFPTableFeaturePropInstructions",
        "OFPTableFeaturePropActions",
        "OFPTableFeaturePropOxm",
    } <= kinds


@states("7.3.5.6", "Port statistics of a port that is not there are refused: OFPBRC_BAD_PORT.")
def test_7_3_5_6_bad_port(of):
    assert of.error("p.OFPPortStatsRequest(dp, 0, 77)") == "OFPBRC_BAD_PORT"


@states("7.3.5.6", "OFPP_ANY asks for all ports.")
def test_7_3_5_6_all_ports(of):
    ports = {p["port_no"] for p in of.body("p.OFPPortStatsRequest(dp, 0, o.OFPP_ANY)")}
    assert ports >= {1, 2, 3}


@states("7.3.5.7", "Port descriptions list all ports with number, address, name, configuration, state.")
def test_7_3_5_7_port_desc(of):
    names = {d["port_no"]: d["name"] for d in of.body(DESC)}
    assert {n: names[n] for n in (1, 2, 3)} == {1: "w1", 2: "w2", 3: "w3"}


@states(
    "7.3.5.10",
    "Queue statistics of a port that is not there are refused: OFPQOFC_BAD_PORT; of a queue: BAD_QUEUE.",
)
def test_7_3_5_10_queues(of):
    assert of.error("p.OFPQueueStatsRequest(dp, 0, 77, o.OFPQ_ALL)") == "OFPQOFC_BAD_PORT"
    assert of.error("p.OFPQueueStatsRequest(dp, 0, 1, 55)") == "OFPQOFC_BAD_QUEUE"
    assert of.error("p.OFPQueueGetConfigRequest(dp, 77)") == "OFPQOFC_BAD_PORT"


@states("7.5.4", "An unknown experimenter is refused: OFPBRC_BAD_EXPERIMENTER.")
def test_7_5_4_experimenter(of):
    assert of.error("p.OFPExperimenter(dp, 0x12345678, 1, b'')") == "OFPBRC_BAD_EXPERIMENTER"
    assert of.error("p.OFPExperimenterStatsRequest(dp, 0, 0x12345678, 1, b'')") == "OFPBRC_BAD_EXPERIMENTER"
