"""vsofctl beside Debian's ovs-ofctl: both print the same about the same switch, and do the same to it."""

import contextlib
import io
import json
import re
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from peers import need
from peers.netns import unique
from peers.proc import Child, run
from peers.switch import Switch, free_tcp_port
from peers.wait import DeadlineError, until

from ctl import vsofctl

pytestmark = pytest.mark.interop

BRIDGE = unique("vo")  # its LOCAL port is a tap of this name
ARP = "ffffffffffff0200000000010806000108000604000102000000000a0a0000010000000000000a000002" + "00" * 18
_CHANGING = [(r"xid=0x[0-9a-f]+", "xid"), (r"duration[=:]?[0-9.]+s", "duration")]


class Pair:
    """The same command line for both programs; ours runs in this process, which is quicker."""

    def __init__(self, switch):
        self.theirs = ["ovs-ofctl", "-O", "OpenFlow13"]
        self.ours = [sys.executable, "-m", "ctl.vsofctl"]
        self.target = f"unix:{switch.run_dir}/{BRIDGE}.mgmt"

    def words(self, line, *arguments):
        """Put the target behind the verb, the last word of the line that begins no option."""
        return [*line.split(), self.target, *arguments]

    def both(self, line, *arguments):
        words = self.words(line, *arguments)
        theirs = run([*self.theirs, *words], check=False)
        code, out, _ = ours(words)
        return [(theirs.returncode, plain(theirs.stdout)), (code, plain(out))]

    def __call__(self, line, *arguments, stdin=""):
        code, out, err = ours(self.words(line, *arguments), stdin)
        assert (code, err) == (0, "")
        return out

    def json(self, line, *arguments):
        return json.loads(self(f"-f json {line}", *arguments))


def ours(words, stdin=""):
    """Exit code, output and errors of vsofctl."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("sys.stdin", io.StringIO(stdin)),
    ):
        code = vsofctl.main(words)
    return code, out.getvalue(), err.getvalue()


def plain(text):
    for pattern, word in _CHANGING:
        text = re.sub(pattern, word, text)
    return text


@pytest.fixture(scope="module")
def switch():
    need.need_program("ovs-ofctl")
    with tempfile.TemporaryDirectory(prefix="vsi") as place, Switch(Path(place) / "state") as switch:
        switch.vsctl("add-br", BRIDGE, "--", "set-fail-mode", BRIDGE, "secure")
        switch.add_vhost(BRIDGE, "vm1", 1)
        switch.add_vhost(BRIDGE, "vm-2.x", 2)
        yield switch


@pytest.fixture(scope="module")
def pair(switch):
    return Pair(switch)


FLOWS = """
# a comment, and an empty line

priority=100,ip,in_port=1,nw_dst=10.0.0.0/8,actions=set_field:02:00:00:00:00:07->eth_dst,dec_ttl,output:2
add priority=101,tcp6,ipv6_src=fd00::/16,tp_dst=80,actions=CONTROLLER:128
cookie=0x5,table=1,idle_timeout=60,send_flow_rem,priority=7,dl_vlan=5,actions=pop_vlan,output:1  # another
table=1,priority=8,arp,arp_tpa=10.0.0.1,arp_op=1,actions=push_vlan:0x8100,set_field:4106->vlan_vid,NORMAL
table=2,priority=9,metadata=0x5/0xf,actions=clear_actions,write_actions(output:2),goto_table:3
hard_timeout=99,priority=3,udp,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=write_metadata:0x1,goto_table:1
priority=2,icmp,nw_tos=32,icmp_type=8,actions=IN_PORT
priority=6,in_port=LOCAL,actions=LOCAL,group:2
priority=0,actions=drop
"""


@pytest.fixture
def filled(pair):
    """Flows, groups and counters to print, put there by vsofctl."""
    return fill(pair)


@pytest.fixture(scope="module")
def unchanged(pair):
    """The same, filled once for tests that follow each other and change nothing."""
    return fill(pair)


def fill(pair):
    pair("del-flows")
    pair("del-groups")
    pair(
        "add-group",
        "group_id=1,type=all,bucket=output:vm1,bucket=actions=mod_dl_dst:02:00:00:00:00:09,output:2",
    )
    pair("add-group", "group_id=2,type=indirect,bucket=group:1")
    pair("add-group", "group_id=3,type=all")
    pair("add-group", "group_id=4,type=select,bucket=weight:3,output:1,bucket=actions=output:2")
    pair(
        "add-group", "group_id=5,type=ff,bucket=watch_port:vm1,output:1,bucket=watch_group:1,actions=group:1"
    )
    pair("del-meters")
    pair("add-meter", "meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100")
    pair("add-meter", "meter=2 pktps band=type=dscp_remark rate=5 prec_level=1 type=drop rate=7")
    pair("add-flows", "-", stdin=FLOWS)
    pair("packet-out", f"in_port=1,packet={ARP},actions=TABLE")
    pair("packet-out", "2", "group:1", ARP, ARP)
    return pair


READS = [
    ("show",), ("dump-desc",), ("dump-tables",), ("--names dump-tables",),
    ("dump-ports",), ("dump-ports", "1"), ("dump-ports", "vm-2.x"), ("dump-ports", "LOCAL"),
    ("--names dump-ports",), ("dump-ports-desc",), ("dump-ports-desc", "vm1"),
    ("dump-flows",), ("dump-flows", "table=1"), ("dump-flows", "out_port=2"), ("dump-flows", "cookie=5/-1"),
    ("dump-flows", "ip,in_port=vm1"), ("--no-stats dump-flows",), ("--names dump-flows",),
    ("--names --no-stats dump-flows", "ip"), ("--sort dump-flows",),
    ("--rsort dump-flows",), ("--rsort=metadata --sort dump-flows",), ("-m dump-flows",),
    ("dump-aggregate",), ("dump-aggregate", "table=1,arp"), ("dump-groups",), ("--names dump-groups",),
    ("dump-groups", "1"), ("dump-group-stats",), ("dump-group-stats", "group_id=1"), ("dump-group-features",),
    ("dump-group-stats", "group_id=5"), ("dump-meters",), ("dump-meters", "meter=2"), ("meter-stats",),
    ("meter-stats", "meter=1"), ("meter-features",), ("queue-stats",), ("queue-stats", "1"),
    ("queue-get-config", "1"), ("queue-get-config",), ("--names queue-stats", "vm1", "all"),
    ("get-frags",), ("probe",),
]  # fmt: skip


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_every_read_verb_prints_what_ovs_ofctl_prints(unchanged, words):
    seen = []

    def same():
        # The bridge's own port may count a packet of the kernel's between the two calls.
        seen[:] = unchanged.both(*words)
        return seen[0] == seen[1]

    with contextlib.suppress(DeadlineError):
        until(same, "equal output", seconds=30)
    assert seen[1] == seen[0]
    assert seen[0][0] == 0


REFUSED = [
    ("add-flow", "priority=70000,actions=drop"), ("add-flow", "foo=1,actions=drop"), ("add-flow", "ip"),
    ("add-flow", "actions=group:99"), ("mod-port", "nosuch", "up"), ("mod-port", "1", "fly"),
    ("add-group", "group_id=1,type=foo"), ("add-group", "type=all"), ("mod-group", "group_id=77,type=all"),
    ("packet-out", "in_port=1,packet=xyz,actions=2"), ("packet-out", "in_port=1,actions=2"), ("foo",), ("add-flow",),
    ("probe", "1", "2"), ("set-frags", "foo"), ("set-frags", "reassemble"), ("--read-only add-flow", "actions=drop"),
    ("add-meter", "meter=1,kbps,bands=type=drop,rate=5"), ("add-meter", "meter=9,kbps"), ("add-meter", "meter=9"),
    ("add-meter", "meter=9,bands=type=drop,rate=5"), ("add-meter", "meter=9,kbps,bands=rate=5"),
    ("add-meter", "meter=9,kbps,bands=type=drop"), ("add-meter", "meter=9,kbps,bands=type=foo,rate=5"),
    ("add-meter", "meter=9,kbps,burst,bands=type=drop,rate=5"),
    ("add-meter", "meter=9,kbps,bands=type=drop,rate=5,burst_size=5"),
    ("add-meter", "meter=9,kbps,bands=type=drop,rate=5,prec_level=1"), ("mod-meter", "meter=77,kbps,bands=type=drop,rate=5"),
    ("dump-meters", "foo"), ("queue-stats", "nosuch"),
    ("del-groups", "77"), ("--sort=nosuch dump-flows",), ("dump-flows", "ip,nw_src=1.2.3.4/33"),
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_ovs_ofctl_refuses_is_refused(unchanged, words):
    theirs, ours = unchanged.both(*words)
    assert theirs[0] != 0
    assert ours == (1, "")


def test_long_replies_keep_their_parts(pair):
    pair("del-flows")
    pair(
        "add-flows",
        "-",
        stdin="".join(f"priority=5,udp,tp_dst={i},actions=output:{1 + i % 2}\n" for i in range(900)),
    )
    theirs, ours = pair.both("dump-flows")
    assert ours == theirs
    assert ours[1].count("flags=[more]") >= 2
    assert len(pair.json("dump-flows")) == 900


def test_no_flows_and_no_groups(pair):
    pair("del-flows")
    pair("del-groups")
    for verb in ("dump-flows", "dump-groups", "dump-group-stats"):
        theirs, ours = pair.both(verb)
        assert ours == theirs


def test_changes_are_those_of_ovs_ofctl(filled):
    """One program changes, the other one looks, for every verb that changes flows and ports."""

    def look(*words):
        theirs, ours = filled.both("--no-stats dump-flows", *words)
        assert ours == theirs
        return ours[1].splitlines()

    filled("mod-flows", "table=0,ip,actions=output:vm1")
    assert " priority=100,ip,in_port=1,nw_dst=10.0.0.0/8 actions=output:1" in look("ip")
    filled("--strict mod-flows", "priority=3,udp,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop")
    assert look("udp")[0].endswith("actions=drop")
    filled("--strict del-flows", "priority=0")
    assert len(look()) == 8
    filled("del-flows", "cookie=5/-1")
    filled("del-flows", "out_port=vm1")
    assert len(look()) == 5
    filled("del-flows", "-", stdin="tcp6\nicmp\n")
    assert len(look()) == 4
    filled("mod-port", "vm1", "no-forward")
    theirs, ours = filled.both("dump-ports-desc")
    assert ours == theirs
    assert "NO_FWD" in ours[1]
    filled("mod-port", "1", "forward")
    filled("--may-create mod-group", "group_id=7,type=all,bucket=output:1")
    filled("del-groups", "group_id=3")
    assert [group["group_id"] for group in filled.json("dump-groups")] == [1, 2, 4, 5, 7]
    filled("mod-meter", "meter=1,pktps,bands=type=drop,rate=9")
    filled("del-meters", "meter=2")
    theirs, ours = filled.both("dump-meters")
    assert ours == theirs
    assert filled.json("dump-meters") == [{"meter": 1, "flags": ["pktps"], "bands": ["type=drop rate=9"]}]
    filled("del-meters")
    assert filled.json("meter-stats") == []
    assert filled.json("meter-features")["band_types"] == ["drop", "dscp_remark"]
    filled("set-frags", "drop")
    assert filled("get-frags") == "drop\n"
    filled("set-frags", "normal")


def test_a_bad_line_of_a_file_is_named_and_nothing_is_sent(pair, place):
    pair("del-flows")
    path = place / "flows"
    path.write_text("priority=1,actions=drop\n\npriority=2,tcp,tp_dst=x,actions=drop\n")
    assert ours(pair.words("add-flows", str(path))) == (
        1,
        "",
        f'vsofctl: {path}:3: tp_dst: "x" is not a number\n',
    )
    assert pair.json("dump-aggregate")["n_flows"] == 0


def test_refused_flows_of_a_file_are_named_and_the_others_stay(pair):
    pair("del-flows")
    lines = [f"priority={i},actions={'group:9' if i % 400 == 3 else 'drop'}" for i in range(1, 1001)]
    code, out, err = ours(pair.words("add-flows", "-"), "\n".join(lines))
    assert (code, out) == (1, "")
    assert [line.partition(" (xid")[0] for line in err.splitlines()] == [
        f"vsofctl: -:{n}: OFPT_ERROR (OF1.3)" for n in (3, 403, 803)
    ]
    assert "OFPBAC_BAD_OUT_GROUP (priority=403,actions=group:9)" in err
    assert pair.json("dump-aggregate")["n_flows"] == 997


def test_json_says_the_same_facts(filled, switch):
    show = filled.json("show")
    assert show["dpid"] == switch.vsctl("get", "Bridge", BRIDGE, "datapath_id").strip('"')
    assert [(port["port"], port["name"]) for port in show["ports"]] == [
        (1, "vm1"),
        (2, "vm-2.x"),
        ("LOCAL", BRIDGE),
    ]
    assert filled.json("dump-desc")["dp_description"] == BRIDGE
    assert [table["active"] for table in filled.json("dump-tables")][:4] == [6, 2, 1, 0]
    assert [port["port"] for port in filled.json("dump-ports")] == [1, 2, "LOCAL"]
    flow = filled.json("dump-flows", "table=1,arp")[0]
    assert flow["fields"] == {"eth_type": "0x806", "arp_op": "1", "arp_tpa": "10.0.0.1"}
    assert flow["actions"] == "push_vlan:0x8100,set_field:4106->vlan_vid,NORMAL"
    stats = filled.json("dump-group-stats", "group_id=1")[0]
    assert (stats["n_packets"], len(stats["buckets"])) == (2, 2)
    assert filled.json("dump-group-features")["types"]["indirect"]["max_groups"] > 0
    assert filled.json("get-frags") == {"frags": "normal"}


def test_a_bridge_is_found_by_its_name(switch):
    by_state = run(
        [sys.executable, "-m", "ctl.vsofctl", "dump-desc", BRIDGE], env={"VS_STATE": str(switch.state)}
    )
    assert f"DP Description: {BRIDGE}\n" in by_state.stdout
    assert switch.ofctl("dump-desc", BRIDGE) == by_state.stdout
    done = run(
        [sys.executable, "-m", "ctl.vsofctl", f"--state={switch.state}", "show", "nosuch"], check=False
    )
    assert (done.returncode, done.stderr) == (1, "vsofctl: nosuch is not a bridge or a socket\n")


def test_tcp_target(pair, switch):
    port = free_tcp_port()
    switch.vsctl("set-controller", BRIDGE, f"ptcp:{port}:127.0.0.1")
    words = [*pair.ours, "probe", f"tcp:127.0.0.1:{port}"]
    until(lambda: run(words, check=False).returncode == 0, "the listener answers")
    assert "dpid:" in run([*pair.ours, "show", f"tcp:localhost:{port}"]).stdout
    switch.vsctl("del-controller", BRIDGE)


PACKETS = [
    "020000000002020000000001080600010800060400010200000000010a0000010000000000000a000002",
    ("020000000002020000000001080045b90024000100003f11670d0a0000010a00000200050050001059e16162636465666768"),
    (
        "0200000000020200000000018100600508004500002800010000400666cd0a0000010a000002000500500000000000000000"
        "501220007b7b0000"
    ),
    (
        "02000000000202000000000186dd6000000000203afffd000000000000000000000000000001fd0000000000000000000000"
        "0000000287007e9b00000000fd0000000000000000000000000000020101020000000001"
    ),
    ("02000000000202000000000108004500002400012000401146c60a0000010a00000200050050001059e16162636465666768"),
    "02000000000202000000000188cc6162636465666768",
    (
        "02000000000202000000000188a800068100000508004500001d00010000401166cd0a0000010a0000020005005000090001"
        "71"
    ),
    "0200000000020200000000018847000111406162636465666768",
    "0200000000020200000000010800450000140001",
]


def test_monitor_prints_what_ovs_ofctl_monitor_prints(pair, place):
    pair("del-flows")
    pair(
        "add-flow", "cookie=0xabc,priority=4,in_port=2,send_flow_rem,hard_timeout=900,actions=CONTROLLER:200"
    )
    pair("add-flow", "table=3,send_flow_rem,actions=drop")
    theirs = [*pair.theirs, "-m", "monitor", pair.target, "65535"]
    ours = [*pair.ours, "-m", "monitor", pair.target, "65535"]
    with (
        Child(theirs, place / "theirs", env={"OVS_RUNDIR": str(place)}) as one,
        Child(ours, place / "ours") as other,
        Child(
            [*pair.ours, "-f", "json", "--timestamp", "monitor", pair.target, "100"], place / "json"
        ) as third,
    ):

        def all_listen():
            pair("packet-out", f"in_port=2,packet={ARP},actions=CONTROLLER:20")
            return (
                all("data_len=20" in child.output() for child in (one, other))
                and "packet_in" in third.output()
            )

        until(all_listen, "all monitors listen")
        for packet in PACKETS:
            pair("packet-out", "2", "TABLE", packet)
        pair("mod-port", "1", "no-packet-in")
        pair("mod-port", "1", "packet-in")
        pair("del-flows")
        for child in (one, other):
            child.wait_output("reason=delete table_id=3")
            child.wait_output("pkts0 bytes0\n")
        third.wait_output('"table":3')
        texts = [child.output()[child.output().index("cookie=0xabc") :] for child in (one, other)]
        assert texts[1] == texts[0]
        events = [json.loads(line) for line in third.output().splitlines()]
    assert {event["event"] for event in events} == {"packet_in", "port_status", "flow_removed"}
    assert all(event["time"] > 0 for event in events)
    assert [event["fields"] for event in events if event["event"] == "packet_in"][-1] == {"in_port": "2"}


def test_a_switch_that_goes_away_ends_the_monitor(place):
    with Switch(place / "state") as switch:
        name = unique("vo")
        switch.vsctl("add-br", name)
        target = f"unix:{switch.run_dir}/{name}.mgmt"
        with Child(
            [sys.executable, "-m", "ctl.vsofctl", "monitor", target, "9"], place / "monitor"
        ) as monitor:
            until(
                lambda: (
                    run([sys.executable, "-m", "ctl.vsofctl", "probe", target], check=False).returncode == 0
                ),
                "up",
            )
            switch.child.kill()
            assert monitor.wait_exit() == 1
            assert monitor.output().startswith(f"vsofctl: {target}: ") or "connecting to" in monitor.output()
