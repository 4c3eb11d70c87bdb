"""Flow text: what is read, what is refused and with which words, and that what is written is read again."""

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from of_strategies import matches

from vswitchd.ofproto import actions as a
from vswitchd.ofproto import instructions as i
from vswitchd.ofproto.constants import OFPFC, OFPFF, OFPP, U64_MAX
from vswitchd.ofproto.fields import Form, field
from vswitchd.ofproto.flowactions import parse_actions
from vswitchd.ofproto.flowformat import duration_text, format_actions, format_flow, format_instructions
from vswitchd.ofproto.flowmatch import format_match
from vswitchd.ofproto.flowtext import (
    FlowTextError,
    aggregate_request,
    flow_stats_request,
    parse_flow,
    parse_flows,
)
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.multipart import FlowStatsRequest
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.stats import FlowStats

PORTS = {"eth0": 7, "vm 1": 8, "in_port": 9}
NAMES = {number: name for name, number in PORTS.items()}
DROP = ",actions=drop"


def test_a_whole_flow():
    text = (
        "table=1, priority=10 cookie=0x5,idle_timeout=3,hard_timeout=4,send_flow_rem,tcp,tp_dst=80,actions=2"
    )
    assert parse_flow(text) == FlowMod(
        cookie=5,
        table_id=1,
        idle_timeout=3,
        hard_timeout=4,
        priority=10,
        flags=OFPFF.SEND_FLOW_REM,
        match=Match.named(eth_type=0x0800, ip_proto=6, tcp_dst=80),
        instructions=(i.ApplyActions((a.Output(2, 0),)),),
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("in_port=eth0", {"in_port": 7}),
        ('in_port="vm 1"', {"in_port": 8}),
        ("in_port=LOCAL", {"in_port": OFPP.LOCAL}),
        ("in_port=3", {"in_port": 3}),
        ("in_port=0xfffffffe", {"in_port": OFPP.LOCAL}),
        ("dl_vlan=5", {"vlan_vid": 0x1005}),
        ("dl_vlan=0xffff", {"vlan_vid": 0}),
        ("vlan_tci=0", {"vlan_vid": 0}),
        ("vlan_tci=0x6005", {"vlan_vid": 5}),
        ("vlan_tci=0x7005", {"vlan_vid": 0x1005, "vlan_pcp": 3}),
        ("dl_vlan_pcp=3", {"vlan_vid": (0x1000, 0x1000), "vlan_pcp": 3}),
        ("tp_dst=80,tcp", {"eth_type": 0x0800, "ip_proto": 6, "tcp_dst": 80}),
        ("udp6,tp_src=53/0xfff0", {"eth_type": 0x86DD, "ip_proto": 17, "udp_src": (0x30, 0xFFF0)}),
        ("sctp,sctp_dst=3", {"eth_type": 0x0800, "ip_proto": 132, "sctp_dst": 3}),
        ("icmp6,icmp_type=3", {"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 3}),
        (
            "arp,nw_src=1.2.3.0/24,nw_proto=1",
            {"eth_type": 0x0806, "arp_spa": (0x01020300, 0xFFFFFF00), "arp_op": 1},
        ),
        ("ip,nw_tos=0xb8", {"eth_type": 0x0800, "ip_dscp": 46}),
        ("ip,nw_src=10.1.2.3/255.0.0.0", {"eth_type": 0x0800, "ipv4_src": (0x0A000000, 0xFF000000)}),
        ("ip,nw_src=0.0.0.0/0", {"eth_type": 0x0800}),
        ("ip,nw_src=10.1.2.3/32", {"eth_type": 0x0800, "ipv4_src": 0x0A010203}),
        ("metadata=0x5/-1", {"metadata": 5}),
        ("eth_dst=1:2:3:4:5:6/ff:ff:ff:00:00:00", {"eth_dst": (0x010203000000, 0xFFFFFF000000)}),
        ("tcp,tcp_flags=+syn-ack", {"eth_type": 0x0800, "ip_proto": 6, "tcp_flags": (2, 0x12)}),
        ("tcp,tcp_flags=syn|ack", {"eth_type": 0x0800, "ip_proto": 6, "tcp_flags": 0x12}),
    ],
)
def test_matches(text, match):
    assert parse_flow(text + DROP, PORTS).match == Match.named(**match)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("priority=70000", "priority: 70000"),
        ("priority=x", 'priority: "x"'),
        ("table=300", "table: 300"),
        ("foo=3", "unknown keyword foo"),
        ("bar", "unknown keyword bar"),
        ("priority", "field priority missing value"),
        ("in_port=eth9", 'in_port: no port "eth9"'),
        ("tp_dst=80", "tp_dst: the match needs tcp, udp or sctp"),
        ("nw_src=1.2.3.4", "nw_src: the match needs ip or arp"),
        ("icmp_type=1,tcp", "icmp_type: the match needs icmp"),
        ("ipv6_src=::1", "ipv6_src: the match needs"),
        ("ip,nw_src=1.2.3", '"1.2.3" is not an IPv4 address'),
        ("ip,nw_src=1.2.3.4/40", "a prefix of 40 bits"),
        ("dl_dst=1:2", '"1:2" is not a MAC address'),
        ("tcp,udp", "udp: ip_proto is already 6"),
        ("dl_type=0x800/0xff00", "dl_type: no mask is possible"),
        ("dl_vlan=5,dl_vlan=6", "contradicts"),
        ("vlan_tci=0x3000/0x2000", "part of the priority"),
        ("reg0=1", "reg0"),
        ("ct_state=+trk", "ct_state"),
        ("ip_frag=yes", "ip_frag"),
        ("cookie=1/2", "cookie"),
        ("out_port=1", "unknown keyword out_port"),
        ("tcp,tcp_flags=+foo", "foo"),
        ("in_port=1)", "1)"),
        ("=5", "a word is missing"),
        ("write_actions(", "parenthesis is not closed"),
        ('in_port="eth0', "quote is not closed"),
        ("x" * 70000, "too long"),
    ],
)
def test_bad_matches_name_the_word(text, words):
    with pytest.raises(FlowTextError) as caught:
        parse_flow(text + DROP, PORTS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


SET = a.SetField


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("2", (a.Output(2, 0),)),
        ("eth0,output:eth0", (a.Output(7, 0), a.Output(7, 0))),
        ('output:"vm 1"', (a.Output(8, 0),)),
        ("local,ALL", (a.Output(OFPP.LOCAL, 0), a.Output(OFPP.ALL, 0))),
        ("controller", (a.Output(OFPP.CONTROLLER, 65535),)),
        ("controller(max_len=5,reason=action,id=0)", (a.Output(OFPP.CONTROLLER, 5),)),
        ("group:3,set_queue:4", (a.Group(3), a.SetQueue(4))),
        ("mod_vlan_vid:5,mod_vlan_pcp:2", (a.PushVlan(0x8100), SET(field("vlan_vid"), 0x1005), SET(field("vlan_pcp"), 2))),
        ("set_field:1.2.3.4->nw_dst", (SET(field("ipv4_dst"), 0x01020304),)),
        ("enqueue:2:7", (a.SetQueue(7), a.Output(2, 0), a.SetQueue(0))),
        ("enqueue(LOCAL,0x7)", (a.SetQueue(7), a.Output(0xFFFFFFFE, 0), a.SetQueue(0))),
        ("set_mpls_ttl:9,dec_mpls_ttl", (a.SetMplsTtl(9), a.DecMplsTtl())),
        ("mod_nw_tos:0xb8,dec_ttl", (SET(field("ip_dscp"), 46), a.DecNwTtl())),
        ("push_mpls:0x8847,pop_mpls:2048", (a.PushMpls(0x8847), a.PopMpls(0x0800))),
        ("copy_ttl_in,copy_ttl_out,push_pbb:0x88e7,pop_pbb", (a.CopyTtlIn(), a.CopyTtlOut(), a.PushPbb(0x88E7), a.PopPbb())),
        ("drop", ()),
        ("", ()),
    ],
)  # fmt: skip
def test_actions(text, actions):
    assert parse_actions(text, PORTS | {"in_port": 9}) == actions
    assert parse_actions(format_actions(actions, NAMES), PORTS) == actions


def test_instructions_in_their_order():
    text = (
        "meter:1,output:1,clear_actions,write_actions(group:2,output:3),write_metadata:0x5/0xf,goto_table:4"
    )
    made = parse_flow(f"actions={text}").instructions
    assert made == (
        i.Meter(1),
        i.ApplyActions((a.Output(1, 0),)),
        i.ClearActions(),
        i.WriteActions((a.Group(2), a.Output(3, 0))),
        i.WriteMetadata(5, 15),
        i.GotoTable(4),
    )
    assert format_instructions(reversed(made)) == text
    assert parse_flow("actions=write_metadata:5").instructions == (i.WriteMetadata(5, U64_MAX),)
    assert format_instructions([i.ApplyActions()]) == "drop"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bogus", "unknown action bogus"),
        ("output:eth9", 'no port "eth9"'),
        ("output:4294967040", "no port to send to"),
        ("output(port=1,max_len=5)", "not supported yet"),
        ("resubmit(,2)", "resubmit"),
        ("learn(table=1,priority=2)", "learn"),
        ("ct(commit)", "ct"),
        ("controller(userdata=1)", "userdata"),
        ("1,drop", "drop"),
        ("set_field:1", "VALUE->FIELD"),
        ("set_field:1->foo", 'no field "foo"'),
        ("set_field:1->in_port", "cannot be set"),
        ("set_field:1/1->tun_id", "OpenFlow 1.5"),
        ("goto_table:1,2", "before goto_table"),
        ("goto_table:1,goto_table:2", "must come once"),
        ("goto_table:255", "goto_table"),
        ("apply_actions(1)", "apply_actions"),
        ("write_actions(goto_table:1)", "GotoTable"),
        ("mod_tp_dst:5", "tcp, udp or sctp"),
        ("set_vlan_vid:5", "VLAN tag"),
        ("mod_vlan_vid:4096", "mod_vlan_vid"),
        ("push_vlan:0x800", "push_vlan"),
        ("dec_ttl(3)", "more than it takes"),
        ("group:0xffffffff", "group"),
        ("meter:x", "meter"),
    ],
)
def test_bad_actions_name_the_word(text, words):
    with pytest.raises(FlowTextError) as caught:
        parse_flow("actions=" + text, PORTS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_commands_have_their_own_rules():
    assert parse_flow("", command=OFPFC.DELETE).table_id == 0xFF
    assert parse_flow("table=2,out_port=3,out_group=4,cookie=5/-1", command=OFPFC.DELETE) == FlowMod(
        cookie=5, cookie_mask=U64_MAX, table_id=2, command=OFPFC.DELETE, out_port=3, out_group=4
    )
    assert parse_flow("priority=3", command=OFPFC.DELETE_STRICT).priority == 3
    assert parse_flow("cookie=5/7,actions=1", command=OFPFC.MODIFY).cookie_mask == 7
    assert parse_flow("cookie=5,actions=1", command=OFPFC.MODIFY).cookie_mask == 0
    for text, command, words in (
        ("actions=1", OFPFC.DELETE, "a deletion has none"),
        ("priority=3", OFPFC.DELETE, "--strict"),
        ("cookie=5", OFPFC.DELETE, "a mask is needed"),
        ("", OFPFC.MODIFY, "must specify an action"),
        ("", OFPFC.ADD, "must specify an action"),
    ):
        with pytest.raises(FlowTextError, match=words):
            parse_flow(text, command=command)


def test_requests():
    assert flow_stats_request() == FlowStatsRequest()
    request = flow_stats_request("table=3,cookie=1/-1,out_port=eth0,tcp", PORTS)
    assert (request.table_id, request.cookie, request.cookie_mask, request.out_port) == (3, 1, U64_MAX, 7)
    assert len(request.match) == 2
    assert aggregate_request("ip").match == Match.named(eth_type=0x0800)
    for text in ("actions=1", "priority=5", "idle_timeout=3", "send_flow_rem"):
        with pytest.raises(FlowTextError):
            flow_stats_request(text)


def test_a_file_of_flows():
    lines = [
        "# comment\n",
        "\n",
        "in_port=1,actions=2 # behind\n",
        "delete in_port=3\n",
        "add actions=drop\n",
    ]
    flows = list(parse_flows(lines))
    assert [flow.command for flow in flows] == [OFPFC.ADD, OFPFC.DELETE, OFPFC.ADD]
    with pytest.raises(FlowTextError, match="line 2: unknown action bogus"):
        list(parse_flows(["actions=1", "actions=bogus"]))


def test_entries_are_written_with_names_and_without_statistics():
    flow = FlowStats(
        0, 5, 250_000_000, 10, 7, 0, OFPFF.SEND_FLOW_REM, 0, 1, U64_MAX, Match.named(in_port=7),
        (i.ApplyActions((a.Output(8, 0), a.Output(OFPP.CONTROLLER, 9))),),
    )  # fmt: skip
    assert format_flow(flow, NAMES) == (
        "cookie=0x0, duration=5.250s, table=0, n_packets=1, n_bytes=?, idle_timeout=7, "
        'send_flow_rem priority=10,in_port=eth0 actions=output:"vm 1",CONTROLLER:9'
    )
    bare = "idle_timeout=7, send_flow_rem priority=10,in_port=7 actions=output:8,CONTROLLER:9"
    assert format_flow(flow, stats=False) == bare
    assert [duration_text(1, n) for n in (0, 1, 2_000_000, 500_000_000)] == [
        "1s",
        "1.000000001s",
        "1.002s",
        "1.500s",
    ]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(matches())
def test_any_match_is_read_from_what_is_written(match):
    assume(not any(row.form is Form.PORT and 0xFF00 <= value <= 0xFFFF for row, value, _mask in match))
    text = format_match(match)
    assert parse_flow(text + DROP).match == match, text


# 65280 to 65535 are read as OpenFlow 1.0's reserved ports, as ovs-ofctl does.
PORT = st.integers(0, 0xFEFF) | st.integers(0x10000, OFPP.MAX - 1)
ACTION = st.one_of(
    st.builds(a.Output, PORT, st.just(0)),
    st.sampled_from(list(map(field, ("eth_dst", "ipv4_src", "tcp_dst", "ipv6_dst", "arp_op", "vlan_vid"))))
    .flatmap(lambda row: st.builds(SET, st.just(row), st.integers(0, row.all_ones))),
    st.builds(a.SetNwTtl, st.integers(0, 255)),
    st.builds(a.Group, st.integers(0, 0xFFFFFF00)),
    st.sampled_from([a.PopVlan(), a.DecNwTtl(), a.PushVlan(0x88A8), a.PushMpls(0x8847), a.SetMplsTtl(3)]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(ACTION, min_size=1, max_size=6).map(tuple))
def test_any_actions_are_read_from_what_is_written(actions):
    assert parse_actions(format_actions(actions), {}) == actions


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["in_port=", "tcp", "actions=", ",", "(", ")", ":", "->", "set_field", "1", '"', "/", "[", "drop"]
        )
    ).map("".join)
)
def test_any_text_is_a_flow_or_one_error(text):
    for whole in (text, "actions=" + text):
        try:
            flow = parse_flow(whole, PORTS)
        except FlowTextError as error:
            message = str(error)
        else:
            message = ""
            assert isinstance(flow, FlowMod)
        assert len(message) < 400


def test_words():
    assert list(split_words('a=1, b:2 c(3,4) d "e f":5')) == [
        ("a", "1"), ("b", "2"), ("c", "3,4"), ("d", None), ('"e f"', "5"),
    ]  # fmt: skip
