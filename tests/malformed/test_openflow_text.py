"""Any text of flows, groups, meters and packet-outs is a message that encodes, or one line of error."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctl.ofctl_grouptext import parse_group
from ctl.ofctl_metertext import parse_meter, parse_selection
from ctl.ofctl_packets import parse_packet_out
from vswitchd.ofproto.codec import decode, encode
from vswitchd.ofproto.errors import EncodeError
from vswitchd.ofproto.flowactions import ACTION_WORDS
from vswitchd.ofproto.flowformat import format_flow
from vswitchd.ofproto.flowmatch import KEYWORDS, SHORTHAND
from vswitchd.ofproto.flowtext import FlowTextError, flow_stats_request, parse_flow
from vswitchd.ofproto.stats import FlowStats

PORTS = {"eth0": 7, "vm 1": 8, "": 9}
READERS = (
    lambda text: parse_flow(text, PORTS, 0),
    lambda text: parse_flow(text, PORTS, 2),
    lambda text: parse_flow(text, PORTS, 3),
    lambda text: parse_flow(text, PORTS, 4),
    lambda text: flow_stats_request(text, PORTS),
    lambda text: parse_group(text, PORTS, 0),
    lambda text: parse_group(text, PORTS, 2),
    lambda text: parse_meter(text, 0),
    lambda text: parse_packet_out(text, PORTS),
)


def harmless(text):
    """Read the text as everything; return what it was."""
    found = []
    for reader in READERS:
        try:
            message = reader(text)
        except FlowTextError as error:
            said = str(error)
            assert said
            assert "\n" not in said.replace(text, "") or "\n" in text
            continue
        try:
            wire = encode(message, 1)
        except EncodeError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert decode(wire)[1] == message, text
        found.append(message)
    return found


WORDS = sorted({*KEYWORDS, *SHORTHAND, "nw_src", "tp_dst", "nw_proto", "dl_vlan", "vlan_tci", "nw_tos", "table", "cookie",
                "priority", "idle_timeout", "out_port", "out_group", "send_flow_rem", "group_id", "type", "bucket", "weight",
                "watch_port", "meter", "kbps", "burst", "bands", "rate", "burst_size", "packet", "in_port", "actions"})  # fmt: skip
VALUES = ("0", "1", "7", "0x800", "0x86dd", "6", "17", "58", "-1", "1/1", "0/0", "10.0.0.1", "10.0.0.0/8", "1.2.3.4/33", "::1",
          "fe80::/10", "02:00:00:00:00:01", "02:00:00:00:00:01/ff:ff:ff:ff:ff:ff", "LOCAL", "eth0", '"vm 1"', "all", "any",
          "0xffffffffffffffff", "99999999999999999999", "+syn-ack", "drop", "ff", "select", "ab" * 14, "", "(", ")", '"', "[",
          "5->eth_dst", "5->tcp_dst", "1->vlan_vid", "output:1", "port=1", "x" * 300, "\u00e9", "\0", "1e3", " 7 ")  # fmt: skip
pieces = st.one_of(
    st.sampled_from(WORDS),
    st.builds(lambda word, mark, value: f"{word}{mark}{value}", st.sampled_from(WORDS), st.sampled_from("=:("),
              st.sampled_from(VALUES)),
    st.builds(lambda word, mark, value: f"{word}{mark}{value}", st.sampled_from(sorted(ACTION_WORDS)),
              st.sampled_from([":", "(", "=", ""]), st.sampled_from(VALUES)),
)  # fmt: skip
lines = st.builds(
    lambda head, mark, tail: ",".join(head) + mark + ",".join(tail),
    st.lists(pieces, max_size=5), st.sampled_from([",actions=", " actions=", ",bucket=", " bands=type=drop,", ""]),
    st.lists(pieces, max_size=4),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(lines)
def test_text_of_words_in_any_order(text):
    harmless(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80) | st.text('=:,()[]"/ ->0x17actions', max_size=60))
def test_any_text(text):
    harmless(text)


GOOD = tuple(
    """
table=1,priority=7,cookie=5,tcp,dl_vlan=5,in_port=eth0,nw_dst=10.0.0.0/8,tp_dst=80,actions=set_field:5->vlan_pcp,group:3
idle_timeout=5,ip6,ipv6_src=fe80::/10,actions=meter:5,dec_ttl,enqueue:1:2,write_actions(output:2,group:1),goto_table:9
group_id=5,type=select,bucket=weight:3,watch_port:1,output:1,bucket=actions=push_mpls:0x8847,output:2
meter=5,kbps,burst,stats,bands=type=drop,rate=5,burst_size=6,type=dscp_remark,rate=3,burst_size=1,prec_level=1
in_port=1,packet=00000000000000000000000000000000,actions=output:1,controller(max_len=5)
""".strip().split("\n")
)


@pytest.mark.parametrize("text", GOOD)
def test_good_text_is_good(text):
    assert harmless(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(GOOD), st.integers(0, 1 << 32))
def test_mutated_text(text, seed):
    rng = random.Random(seed)
    for _ in range(5):
        bad = list(text)
        for _ in range(rng.choice((1, 2, 5))):
            at = rng.randrange(len(bad))
            kind = rng.randrange(4)
            if kind == 0:
                bad[at] = rng.choice(',=:()[]"/-> 09axX\n')
            elif kind == 1:
                del bad[at : at + rng.randrange(9)]
            elif kind == 2:
                bad[at:at] = bad[at : at + rng.randrange(12)]
            else:
                bad[at:at] = rng.choice(VALUES)
            bad = bad or ["x"]
        harmless("".join(bad))


@settings(max_examples=200, deadline=None)
@given(lines)
def test_what_is_read_is_printed_and_read_again(text):
    try:
        flow = parse_flow(text, PORTS)
        encode(flow, 1)
    except (FlowTextError, EncodeError):
        return
    names = (
        "table_id",
        "priority",
        "idle_timeout",
        "hard_timeout",
        "flags",
        "cookie",
        "match",
        "instructions",
    )
    printed = format_flow(FlowStats(**{name: getattr(flow, name) for name in names}), stats=False)
    assert parse_flow(printed) == flow, printed


def test_long_text_ends_soon():
    for text in (
        "(" * 60000,
        "ip," * 20000,
        "actions=" + "output:1," * 7000,
        "a=" * 30000,
        '"' * 60001,
        "x" * 70000,
    ):
        harmless(text)


@pytest.mark.parametrize(
    "text", ['in_port="a\nb"', "actions=set_field:1->a\rb", 'meter="\x1b[31m"', "dl_dst=\u2028"]
)
def test_errors_are_one_plain_line(text):
    assert not harmless(text)


def test_selections_of_meters():
    assert parse_selection("meter=7") == 7
    for bad in ("meter=0", "meter", "7", "meter=x", "meter=1,foo"):
        with pytest.raises(FlowTextError):
            parse_selection(bad)
