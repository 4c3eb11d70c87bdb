"""vsofctl's diff-flows, replace-flows and --bundle beside Debian's ovs-ofctl, on one switch of ours."""

import subprocess
import sys

import pytest
from fakes.wire import ip, namespace
from peers import need
from peers.switch import Switch

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "vsrep"
OLD = "priority=1,in_port=1,actions=output:2\npriority=2,ip,actions=drop\ntable=3,priority=7,tcp,tp_dst=80,actions=output:1\n"
NEW = "priority=1,in_port=1,actions=output:3\npriority=2,ip,actions=drop\npriority=9,arp,cookie=0x5,actions=NORMAL\n"


@pytest.fixture(scope="module")
def switch(tmp_path_factory):
    need.need_root()
    need.need_program("ip", "ovs-ofctl")
    with namespace():
        ip("link", "set", "lo", "up")
        with Switch(tmp_path_factory.mktemp("s")) as switch:
            switch.add_bridge(BR, secure=True)
            yield switch


@pytest.fixture
def files(switch, tmp_path):
    """(old, new); the switch has the old one."""
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(NEW)
    switch.set_flows(BR, OLD)
    return tmp_path / "old", tmp_path / "new"


def ours(switch, *words):
    argv = [sys.executable, "-m", "ctl.vsofctl", f"--db=unix:{switch.run_dir}/db.sock", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def theirs(switch, *words):
    target = f"unix:{switch.run_dir}/{BR}.mgmt"
    argv = ["ovs-ofctl", "-O", "OpenFlow13", *(target if word == BR else str(word) for word in words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def lines(done):
    return done[0], sorted(
        line.replace(" ,", ",").replace(", ", ",").strip() for line in done[1].splitlines()
    )


def test_diff_flows_of_a_switch_and_a_file(switch, files):
    code, text, _ = ours(switch, "diff-flows", BR, files[1])
    assert code == theirs(switch, "diff-flows", BR, files[1])[0] == 2
    assert [line[0] for line in text.splitlines()].count("-") == 2
    assert [line[0] for line in text.splitlines()].count("+") == 2
    assert "cookie=0x5" in text
    assert ours(switch, "diff-flows", BR, files[0]) == (0, "", "")
    assert theirs(switch, "diff-flows", BR, files[0])[0] == 0


@pytest.mark.parametrize("bundle", [[], ["--bundle"]])
@pytest.mark.parametrize("who", [ours, theirs])
def test_replace_flows(switch, files, who, bundle):
    assert who(switch, *bundle, "replace-flows", BR, files[1])[0] == 0
    assert ours(switch, "diff-flows", BR, files[1]) == (0, "", "")
    assert theirs(switch, "diff-flows", BR, files[1])[0] == 0


def test_flows_that_stay_keep_their_counters(switch, files):
    before = switch.ofctl("dump-flows", BR, "ip")
    assert ours(switch, "replace-flows", BR, files[1])[0] == 0
    cut = slice(before.index("duration"), before.index("s, table"))
    assert float(switch.ofctl("dump-flows", BR, "ip")[cut].partition("=")[2]) >= float(
        before[cut].partition("=")[2]
    )


def test_a_bundle_with_a_bad_flow_changes_nothing(switch, files, tmp_path):
    (tmp_path / "bad").write_text("priority=50,actions=output:1\npriority=51,actions=group:99\n")
    code, _, text = ours(switch, "--bundle", "add-flows", BR, tmp_path / "bad")
    assert code == 1
    assert "OFPBAC_BAD_OUT_GROUP" in text
    assert len(text.splitlines()) == 1
    assert ours(switch, "diff-flows", BR, files[0]) == (0, "", "")
    assert ours(switch, "add-flows", BR, tmp_path / "bad")[0] == 1
    assert ours(switch, "diff-flows", BR, files[0])[0] == 2


def test_two_files_are_refused_with_one_line(switch, files):
    code, out, text = ours(switch, "diff-flows", *files)
    assert (code, out, len(text.splitlines())) == (1, "", 1)
