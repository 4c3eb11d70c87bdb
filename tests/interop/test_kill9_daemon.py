"""kill -9 of the whole daemon at any moment: what was acknowledged is there and runs, nothing is there by half."""

import json
import random
import re
import socket
import subprocess
import sys
import time

import pytest
from fakes.wire import namespace
from peers.proc import Child, run
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "xkb0"
CONTROLLERS = ("tcp:127.0.0.1:1", "ptcp:0:127.0.0.1")


@pytest.fixture(autouse=True)
def alone():
    """Taps and bridges of these tests are in a network namespace of their own."""
    with namespace():
        run(["ip", "link", "set", "lo", "up"])
        yield


@pytest.fixture
def switch(place):
    with Switch(place / "s") as running:
        yield running


def client(switch, *words):
    argv = [sys.executable, "-m", "ctl.vsctl", f"--db=unix:{switch.run_dir}/db.sock", *words]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def pair(name, *settings):
    """Words that add two ports in one transaction; `settings` are of their Port rows."""
    words = []
    for port in (f"{name}a", f"{name}b"):
        words += ["--", "add-port", BR, port, *settings]
        words += ["--", "set", "Interface", port, "type=dpdkvhostuser"]
    return words[1:]


def columns(switch, table, *names):
    data = switch.vsctl("-f", "json", f"--columns=name,{','.join(names)}", "list", table)
    return {row[0]: row[1:] for row in json.loads(data)["data"]}


def test_a_series_of_transactions_under_kill(switch):
    source = random.Random(9)
    switch.add_bridge(BR)
    sure, tags = set(), {}
    for life in range(3):
        for i in range(1):
            name, tag = f"k{life}x{i}", 1 + source.randrange(4094)
            switch.vsctl("--no-wait", *pair(name, f"tag={tag}"))
            sure |= {f"{name}a", f"{name}b"}
            tags |= {f"{name}a": tag, f"{name}b": tag}
        # Some are under way at the moment of the kill, which comes a random part of one's time later.
        late = [client(switch, *pair(f"k{life}y{i}", "tag=7")) for i in range(2)]
        time.sleep(source.random() / 3)  # nothing waits for this: any moment is as good
        switch.crash()
        acknowledged = [process.wait(60) == 0 for process in late]
        switch.start()
        ports = columns(switch, "Port", "tag")
        for i, known in enumerate(acknowledged):
            both = {f"k{life}y{i}a", f"k{life}y{i}b"}
            there = both & ports.keys()
            assert there == both if known else there in (set(), both)
            sure |= there
            tags |= dict.fromkeys(there, 7)
        assert ports.keys() == sure | {BR}
        assert {name: ports[name][0] for name in sure} == tags
        until((switch.run_dir / max(sure)).is_socket, "what is stored runs")
        running = columns(switch, "Interface", "ofport", "error")
        assert all(ofport > 0 and error in ([], ["set", []]) for ofport, error in running.values())


def test_everything_runs_as_before(switch, place):
    switch.add_bridge(BR, secure=True)
    switch.vsctl("set-controller", BR, *CONTROLLERS)
    switch.vsctl(*pair("m", "tag=5"))
    switch.vsctl(
        *("add-port", BR, "trunk", "trunks=3,4,9", "--", "set", "Interface", "trunk"),
        *("type=dpdkvhostuserclient", f"options:vhost-server-path={place}/c", "ofport_request=77"),
    )
    switch.vsctl("add-port", BR, "xktap", "--", "set", "Interface", "xktap", "type=tap")
    switch.vsctl("del-port", "ma")
    switch.add_vhost(BR, "last", 3000)

    def state():
        words = ("show", "--", "get-controller", BR, "--", "get-fail-mode", BR, "--", "get", "Bridge", BR)
        return (
            re.sub(r"\n\s+is_connected.*", "", switch.vsctl(*words, "datapath_id")),
            columns(switch, "Interface", "ofport", "type", "mtu", "mac_in_use", "error"),
            columns(switch, "Port", "tag", "trunks", "vlan_mode"),
            sorted(re.findall(r"^ (\S+)\((\S+)\)", switch.ofctl("show", BR), re.MULTILINE)),
        )

    before = state()
    assert before[1]["last"][0] == 3000
    for _ in range(2):
        switch.crash_and_restart()
        until((switch.run_dir / f"{BR}.mgmt").is_socket, "the bridge's OpenFlow socket")
        assert state() == before


def test_killed_while_ports_are_made(switch):
    """The kill comes while one big transaction is applied: all of it is there after the restart, or nothing."""
    switch.add_bridge(BR)
    words = []
    for i in range(60):
        kind = "tap" if i % 6 == 0 else "dpdkvhostuser"
        words += ["--", "add-port", BR, f"xg{i}", "--", "set", "Interface", f"xg{i}", f"type={kind}"]
    for moment in ("xg1", "xg31"):
        process = client(switch, *words[1:])
        until((switch.run_dir / moment).is_socket, f"port {moment} is made", every=0.0005)
        switch.crash()
        process.wait(60)
        assert (switch.run_dir / moment).is_socket(), "no stale socket is left to be taken over"
        switch.start()
        rows = columns(switch, "Interface", "error", "ofport")
        assert len(rows) == 61
        assert {name: row for name, row in rows.items() if row[0] != ["set", []] and row[0] != []} == {}
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(switch.run_dir / moment))
        switch.vsctl(*[w for i in range(60) for w in ("--", "del-port", f"xg{i}")][1:])


def test_leftovers_of_a_dead_daemon_and_of_others(switch):
    switch.add_bridge(BR)
    switch.add_vhost(BR, "v1", 1)
    switch.crash()
    (switch.state / "lock").write_text("1\n")
    (switch.state / "vswitchd.pid").write_text("1\n")
    (switch.state / "ofports.new").write_text("half")
    (switch.state / "v1").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(switch.state / "v1"))
        other.listen(1)
        switch.start()
        error = switch.vsctl("get", "Interface", "v1", "error")
        assert "another program listens on" in error
        assert (switch.state / "vswitchd.pid").read_text() == f"{switch.child.pid}\n"
    switch.vsctl("del-port", "v1")
    switch.add_vhost(BR, "v1", 1)
    assert (switch.state / "v1").is_socket()


def test_two_daemons_on_one_state(switch, place):
    switch.add_bridge(BR)
    argv = [sys.executable, "-m", "vswitchd", "--state", str(switch.state), "--metrics=none"]
    others = [Child(argv, place / f"other{i}") for i in range(2)]
    for other in others:
        assert other.wait_exit() == 1
        assert re.fullmatch(r"vswitchd: .*another vswitchd \(pid \d+\) runs on this.*\n", other.output())
        assert f"(pid {switch.child.pid})" in other.output()
    assert switch.vsctl("list-br") == BR
    assert (switch.state / "db.sock").is_socket()
