"""The recorder: what it tells of a packet, and that a packet that does not exist leaves nothing behind."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp
from vswitchd.datapath.trace import Kind, Trace

NORMAL, FLOOD, CONTROLLER = 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFD
ETH = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
FRAME = bytes(ETH / IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / UDP(dport=80) / b"payload")
TAGGED = bytes(ETH / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / IP(ttl=1) / UDP())


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(4)
    yield b
    b.assert_ledgers()
    b.close()


def kinds(trace: Trace, level: int | None = None) -> list[tuple[object, ...]]:
    """The events in short."""
    out: list[tuple[object, ...]] = []
    for e in trace.events:
        if level is not None and e.level != level:
            continue
        match e.kind:
            case Kind.RULE:
                out.append(("rule", e.table, e.rule))
            case Kind.ACTION:
                assert e.action is not None
                out.append(("action", e.action.type, e.depth))
            case Kind.END:
                out.append(("end", dp.RX_DROPS[e.arg] if e.table == 0 else "forwarded"))
            case _:
                out.append((e.kind.name.lower(), e.arg))
    return out


def test_a_packet_that_does_not_exist_leaves_nothing(box: SwitchBox) -> None:
    box.bridge.set_group(1, 0, [dp.BucketSpec((dp.output(CONTROLLER), dp.output(3)))])
    rules = [
        box.rule(1, (), dp.output(NORMAL), dp.group(1), goto=1),
        box.rule(1, (), dp.dec_ttl(), dp.output(2), table=1),
    ]
    trace = box.bridge.trace(FRAME, 1)
    out, group, ttl = dp.output(1).type, dp.group(1).type, dp.dec_ttl().type
    assert kinds(trace) == [
        ("bridge", box.bridge.index),
        ("rule", 0, rules[0]),
        ("rule", 1, rules[1]),
        ("action", out, 0), ("output", 2), ("output", 3), ("output", 4),
        ("action", group, 0), ("bucket", 0),
        ("action", out, 1), ("punt", dp.PUNT_ACTION),
        ("action", out, 1), ("output", 3),
        ("action", ttl, 0),
        ("action", out, 0), ("output", 2),
        ("end", "forwarded"),
    ]  # fmt: skip
    assert box.take() == {}
    assert (box.bridge.fdb(), box.dp.take_punts()) == ([], [])
    box.dp.harvest()
    assert [box.bridge.rule_stats(rule) for rule in rules] == [(0, 0, 0)] * 2
    assert box.bridge.group_stats(1, 1) == [(0, 0)] * 2
    assert box.bridge.table_stats() == {0: (0, 0), 1: (0, 0)}
    assert [port.counters().rx_packets for port in box.ports.values()] == [0] * 4


@pytest.mark.parametrize(
    ("frame", "actions", "reason"),
    [
        (FRAME, (), "action_drop"),
        (FRAME, (dp.output(9),), "no_output_port"),
        (FRAME, (dp.group(7),), "no_group"),
        (TAGGED, (dp.dec_ttl(), dp.output(2)), "ttl_expired"),
        (FRAME, (dp.pop_vlan(), dp.output(2)), "bad_action"),
        (FRAME, None, "table_miss"),
    ],
)
def test_reasons(box: SwitchBox, frame: bytes, actions: tuple[dp.Action, ...] | None, reason: str) -> None:
    if actions is not None:
        box.rule(1, (), *actions)
    events = box.bridge.trace(frame, 1).events
    assert (events[-1].table, dp.RX_DROPS[events[-1].arg]) == (0, reason)
    told = {
        "ttl_expired": Kind.STOP,
        "bad_action": Kind.STOP,
        "no_output_port": Kind.NOTHING,
        "no_group": Kind.NOTHING,
    }
    whys = [(e.kind, dp.RX_DROPS[e.arg]) for e in events if e.kind in (Kind.STOP, Kind.NOTHING)]
    assert whys == ([(told[reason], reason)] if reason in told else [])


def test_second_looks_places_and_keys(box: SwitchBox) -> None:
    rules = [
        box.rule(1, (), dp.pop_vlan(), goto=1, metadata=(5, 0xFF)),
        box.rule(1, (), dp.set_field("ETH_SRC", 9), dp.set_field("TUNNEL_ID", 3), dp.output(2), table=1),
    ]
    trace = box.bridge.trace(TAGGED, 1)
    hits = [(e.rule, e.arg) for e in trace.events if e.kind is Kind.RULE]
    assert hits == [(rules[0], 0), (rules[1], 2)]  # a marker lies between
    assert [e.place for e in trace.events if e.kind is Kind.ACTION] == [0, 0, 2, 2, 2]
    key = dp.ffi.new("struct vs_key *")
    before, after = (dp.ffi.from_buffer("struct vs_key *", k) for k in (trace.first, trace.last))
    assert [bytes(k.vlan_tci).hex() for k in (before, after)] == ["1001", "1002"]
    assert (bytes(after.eth_src)[-1], trace.metadata, trace.tunnel_id, trace.frame_len) == (
        9,
        5,
        3,
        len(TAGGED),
    )
    assert key is not None


def test_patch_ports_are_crossed(box: SwitchBox) -> None:
    other = box.dp.create_bridge("br1")
    box.patch(9, box.bridge, 7, other)
    far = other.add_rule(dp.RuleSpec(0, 1, apply=(dp.set_field("ETH_DST", 1), dp.output(0xFFFFFFF8))))
    other.commit()
    near = box.rule(1, (("IN_PORT", 1, 0xFFFFFFFF),), dp.output(9), dp.output(2))
    trace = box.bridge.trace(FRAME, 1)
    assert [(e.kind, e.level) for e in trace.events if e.kind in (Kind.BRIDGE, Kind.RULE, Kind.OUTPUT, Kind.END)][:8] == [
        (Kind.BRIDGE, 1), (Kind.RULE, 1), (Kind.OUTPUT, 1),
        (Kind.BRIDGE, 2), (Kind.RULE, 2), (Kind.OUTPUT, 2),
        (Kind.BRIDGE, 3), (Kind.RULE, 3),
    ]  # fmt: skip
    assert [e.rule for e in trace.events if e.kind is Kind.RULE] == [near, far, 0]
    assert trace.first == trace.last
    assert box.take() == {}


def test_patch_loops_end(box: SwitchBox) -> None:
    other = box.dp.create_bridge("br1")
    for n in range(10, 18):
        box.patch(n, box.bridge, n, other)
    box.rule(1, (), dp.output(FLOOD))
    other.add_rule(dp.RuleSpec(0, 1, apply=(dp.output(FLOOD), dp.output(0xFFFFFFF8))))
    other.commit()
    trace = box.bridge.trace(FRAME, 1)
    assert max(e.level for e in trace.events) == 9
    assert {dp.RX_DROPS[e.arg] for e in trace.events if e.kind is Kind.STOP} == {"patch_loop"}
    assert len(trace.events) + trace.lost > len(trace.events) == 4096
    assert box.take() == {}


def test_ports_that_take_nothing(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(2))
    box.ports[2].set_config(1)
    trace = box.bridge.trace(FRAME, 1)
    assert [(e.arg, e.table) for e in trace.events if e.kind is Kind.OUTPUT] == [(2, 1)]
    assert kinds(trace)[-1] == ("end", "egress_blocked")
    box.ports[1].set_config(4)
    assert kinds(box.bridge.trace(FRAME, 1)) == [("bridge", 0), ("end", "no_recv")]
    with pytest.raises(dp.DatapathError, match="14 to"):
        box.bridge.trace(FRAME[:13], 1)
    assert kinds(box.bridge.trace(FRAME, 77))[0] == ("bridge", 0)  # a port that is not there


# ---- live


def test_live(box: SwitchBox) -> None:
    rule = box.rule(1, (), dp.set_field("ETH_SRC", 9), dp.output(2), dp.output(3))
    box.rule(2, (("VLAN_VID", 0x1001, 0x1FFF),), dp.output(CONTROLLER), table=0)
    live = box.dp.live_trace(box.ports[1], (("TP_DST", 80, 0xFFFF), ("IP_TTL", 9, 0xFF)), 3)
    changed = FRAME[:6] + bytes(5) + b"\x09" + FRAME[12:]
    for _ in range(2):
        assert box.send(1, FRAME, TAGGED, FRAME) == {2: [changed] * 2, 3: [changed] * 2}
    assert box.send(2, FRAME) == {3: [changed]}
    traces = [live.take() for _ in range(4)]
    assert traces[3] is None
    act, out = dp.set_field("ETH_SRC", 9).type, dp.output(1).type
    for trace in traces[:3]:
        assert trace is not None
        assert kinds(trace) == [
            ("bridge", 0), ("rule", 0, rule),
            ("action", act, 0), ("action", out, 0), ("output", 2), ("action", out, 0), ("output", 3),
            ("end", "forwarded"),
        ]  # fmt: skip
        assert {e.level for e in trace.events} == {1}
    live.close()
    live.close()
    box.dp.harvest()
    assert box.bridge.rule_stats(rule)[:2] == (5, 5 * len(FRAME))
    assert len(box.dp.take_punts()) == 2


def test_live_drops_and_second_looks(box: SwitchBox) -> None:
    box.rule(1, (("VLAN_VID", 0x1001, 0x1FFF),), dp.pop_vlan(), goto=1)
    box.rule(1, (("VLAN2_TCI", 0x1003, 0xFFFF),), dp.dec_ttl(), dp.output(2), table=1)
    live = box.dp.live_trace(box.ports[1], (), 1)
    assert box.send(1, TAGGED, TAGGED) == {}
    trace = live.take()
    assert trace is not None
    assert [e.table for e in trace.events if e.kind is Kind.RULE] == [0, 1]
    assert kinds(trace)[-1] == ("end", "ttl_expired")
    live.close()
    assert box.ports[1].counters().rx_drops == {"ttl_expired": 2}


def test_one_live_trace_at_a_time_and_bounds(box: SwitchBox) -> None:
    live = box.dp.live_trace(box.ports[1], (), 1)
    with pytest.raises(dp.DatapathError, match="another live trace") as busy:
        box.dp.live_trace(box.ports[2], (), 1)
    assert busy.value.errno == errno.EBUSY
    live.close()
    for n in (0, 257):
        with pytest.raises(dp.DatapathError, match="1 to 256"):
            box.dp.live_trace(box.ports[2], (), n)
    box.dp.live_trace(box.ports[2], (), 256)  # the datapath ends it
