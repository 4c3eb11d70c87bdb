"""The whole daemon as operators meet it: start, stop, kill -9, restart, no rights, interfaces made later."""

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from peers import need
from peers.netns import unique
from peers.proc import Child, run
from peers.switch import Switch
from peers.wait import until

pytestmark = pytest.mark.interop
NO_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@pytest.fixture
def switch(place):
    with Switch(place / "s") as running:
        yield running


def daemon(state, *words):
    return [sys.executable, "-m", "vswitchd", "--state", str(state), *words]


@pytest.fixture
def br():
    """A bridge name, and so an interface name, that nobody else on this machine uses."""
    return unique("vb")


def ofports(switch, br):
    names = switch.vsctl("list-ports", br).split()
    return {name: switch.vsctl("get", "Interface", name, "ofport") for name in names}


def test_term_and_interrupt_end_it_cleanly_and_everything_is_there_again(place, br):
    state = place / "s"
    with Switch(state) as switch:
        switch.add_bridge(br)
        for name, number in (("v1", 5), ("v2", 3)):
            switch.add_vhost(br, name, number)
        switch.vsctl("add-port", br, "v3", "--", "set", "Interface", "v3", "type=dpdkvhostuser")
        before, shown = ofports(switch, br), switch.vsctl("show")
        assert (before["v1"], before["v2"]) == ("5", "3")
        for number in (signal.SIGTERM, signal.SIGINT):
            child = switch.child
            child.signal(number)
            assert child.wait_exit() == 0
            assert not [path for path in state.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
            assert not (state / "vswitchd.pid").exists()
            switch.start()
            assert ofports(switch, br) == before
            assert switch.vsctl("show") == shown
            assert (state / "v1").is_socket()


def test_kill_9_loses_no_acknowledged_transaction_and_leaves_no_half_one(switch, br):
    switch.add_bridge(br)
    acknowledged = []
    for life in range(3):
        for i in range(4):
            pair = (f"a{life}x{i}", f"b{life}x{i}")
            words = [
                w for p in pair for w in ("--", "add-port", br, p, "--", "set", "Interface", p, "type=patch")
            ]
            switch.vsctl("--no-wait", *words[1:])
            acknowledged += pair
        # One more is under way at the moment of the kill: all of it may be there, or nothing.
        late = [f"late{life}a", f"late{life}b"]
        words = [
            w for p in late for w in ("--", "add-port", br, p, "--", "set", "Interface", p, "type=patch")
        ]
        client = subprocess.Popen(
            [sys.executable, "-m", "ctl.vsctl", f"--db=unix:{switch.run_dir}/db.sock", *words[1:]],
            stderr=subprocess.DEVNULL,
        )
        switch.crash_and_restart()
        client.wait(30)
        ports = switch.vsctl("list-ports", br).split()
        assert set(acknowledged) <= set(ports)
        found = [p for p in late if p in ports]
        assert found in ([], late)
        acknowledged += found


def test_a_second_daemon_on_the_same_state_is_refused(switch):
    done = run(daemon(switch.state), check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"vswitchd: \S+: another vswitchd \(pid {switch.child.pid}\) runs on this state directory\n",
        done.stderr,
    )
    assert switch.vsctl("list-br") == ""


def test_exit_by_vsappctl(switch):
    assert switch.appctl("version").startswith("vswitchd ")
    switch.appctl("exit")
    assert switch.child.wait_exit() == 0


def test_the_metrics_address_can_be_changed_while_it_runs(place):
    state = place / "s"
    child = Child(daemon(state, "--metrics=none"), place / "log")
    with child:
        switch = Switch(state)
        until(lambda: run(switch._words("vsctl", "show"), check=False).returncode == 0, "the daemon answers")
        assert switch.metrics_address() == "none"
    with Child(daemon(state), place / "log"):
        until(lambda: run(switch._words("vsctl", "show"), check=False).returncode == 0, "the daemon answers")
        switch.vsctl("set", "Open_vSwitch", ".", "other_config:metrics-listen=127.0.0.1:0")
        until(lambda: switch.metrics_address() not in {"none", "127.0.0.1:9476"}, "the page has moved")
        assert switch.metrics()["vs_up"] == [({}, 1.0)]


def test_the_demo_starts_with_nothing_and_says_where_everything_is(place):
    state = place / "s"
    with Child(daemon(state, "--demo", "--metrics=127.0.0.1:0"), place / "log") as child:
        child.wait_output("cores ")
        text = child.output()
        for port in ("vhost0", "vhost1"):
            assert f"{state}/{port}" in text
            assert (state / port).is_socket()
        assert "http://127.0.0.1:" in text
        assert f"unix:{state}/br0.mgmt" in text
        assert "ptcp:6653:127.0.0.1" in text
        child.signal(signal.SIGINT)
        assert child.wait_exit() == 0


def test_without_rights_it_runs_with_vhost_user_alone_and_says_so(place):
    need.need_program("setpriv")
    state = place / "s"
    with Child([*NO_CAPABILITIES, *daemon(state, "--demo", "--metrics=none")], place / "log") as child:
        child.wait_output("left out   tap0")
        assert re.search(
            r"left out +br0 on br0: .*(root|permission|CAP_NET_ADMIN)", child.output(), re.IGNORECASE
        )
        assert (state / "vhost0").is_socket()
        switch = Switch(state)
        assert switch.vsctl("get", "Interface", "vhost0", "error") == "[]"
        assert "CAP_NET_ADMIN" in switch.vsctl("get", "Interface", "tap0", "error")
        assert switch.vsctl("get", "Interface", "tap0", "ofport") == "-1"
        child.signal(signal.SIGTERM)
        assert child.wait_exit() == 0


@pytest.mark.root
def test_a_port_waits_for_its_interface(switch, br):
    need.need_root()
    need.need_program("ip")
    name, peer = unique("vw"), unique("vw")
    switch.add_bridge(br)
    done = run(switch._words("vsctl", "add-port", br, name), check=False)
    assert done.returncode == 65
    assert name in done.stderr
    assert "does not exist" in switch.vsctl("get", "Interface", name, "error")
    run(["ip", "link", "add", name, "type", "veth", "peer", "name", peer])
    try:
        until(lambda: switch.vsctl("get", "Interface", name, "error") == "[]", "the port is made")
        assert int(switch.vsctl("get", "Interface", name, "ofport")) > 0
    finally:
        run(["ip", "link", "del", name])
    until(lambda: switch.vsctl("get", "Interface", name, "link_state") == "down", "the link is down")


@pytest.mark.root
def test_hundreds_of_ports_come_and_go(switch, br):
    need.need_root()
    names = [f"p{i}" for i in range(200)]
    adds = [
        w for n in names for w in ("--", "add-port", br, n, "--", "set", "Interface", n, "type=dpdkvhostuser")
    ]
    switch.vsctl("add-br", br, *adds)
    assert len(switch.vsctl("list-ports", br).split()) == 200
    assert all((Path(switch.run_dir) / n).is_socket() for n in names)
    before = len(os.listdir(f"/proc/{switch.child.pid}/fd"))
    switch.vsctl("del-br", br)
    until(lambda: not (Path(switch.run_dir) / "p0").exists(), "the sockets are gone")
    assert len(os.listdir(f"/proc/{switch.child.pid}/fd")) <= before - 200
