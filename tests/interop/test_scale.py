"""Hundreds of ports on several bridges: made, shown, counted, idle at no cost, and gone without a trace."""

import json
import os
import resource
import time
from pathlib import Path

import pytest
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch, total
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]
BRIDGES = [f"xsb{i}" for i in range(4)]
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def alone():
    need.need_root()
    with namespace():
        run(["ip", "link", "set", "lo", "up"])
        yield


def chain(commands):
    """Join commands into one transaction."""
    return [word for command in commands for word in ("--", *command)][1:]


def adding(bridge, name, *settings):
    yield ("add-port", bridge, name)
    yield ("set", "Interface", name, *settings)


def ports(place):
    """Name -> (bridge, settings) of 300 ports: 130 + 130 vhost-user, 20 taps, 10 pairs of patches."""
    found = {}
    for i in range(130):
        found[f"vs{i}"] = BRIDGES[i % 4], ["type=dpdkvhostuser"]
        client = ["type=dpdkvhostuserclient", f"options:vhost-server-path={place}/c{i}"]
        found[f"vc{i}"] = BRIDGES[i % 4], client
    for i in range(20):
        found[f"xst{i}"] = BRIDGES[i % 4], ["type=tap"]
    for i in range(10):
        found[f"pa{i}"] = BRIDGES[0], ["type=patch", f"options:peer=pb{i}"]
        found[f"pb{i}"] = BRIDGES[1], ["type=patch", f"options:peer=pa{i}"]
    assert len(found) == 300
    return found


def fds(switch):
    return len(os.listdir(f"/proc/{switch.child.pid}/fd"))


def rss(switch):
    return int(Path(f"/proc/{switch.child.pid}/statm").read_text().split()[1]) * PAGE


def ticks(switch):
    fields = Path(f"/proc/{switch.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def rows(switch, *columns):
    text = switch.vsctl("-f", "json", f"--columns=name,{','.join(columns)}", "list", "Interface")
    return {row[0]: row[1:] for row in json.loads(text)["data"]}


def idle(switch):
    """Let a counted number of the cores' sleeps go by with nothing to do; give the share that cores slept."""

    def cores():
        return switch.json("dpif-netdev/pmd-perf-show")

    def later(goal):
        now = cores()
        return now if sum(core["sleeps"] for core in now) >= goal else None

    before, used, began = cores(), ticks(switch), time.monotonic()
    goal = sum(core["sleeps"] for core in before) + 6
    after = until(lambda: later(goal), "the cores sleep again and again", every=0.5)
    share = (ticks(switch) - used) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)
    print(f"CPU of an idle switch with 300 ports: {share:.2%}")
    spent = {k: sum(b[k] - a[k] for a, b in zip(before, after, strict=True)) for k in before[0] if "cyc" in k}
    return spent["cycles_sleep"] / (spent["cycles_sleep"] + spent["cycles_idle"] + spent["cycles_busy"])


def test_three_hundred_ports(place):
    with Switch(place / "s") as switch:
        empty, small = fds(switch), rss(switch)
        wanted = ports(place)
        commands = [("add-br", bridge) for bridge in BRIDGES]
        for name, (bridge, settings) in wanted.items():
            commands += adding(bridge, name, *settings)
        switch.vsctl(*chain(commands))
        print(f"memory: {(rss(switch) - small) / len(wanted) / 1024:.0f} KiB a port")
        assert rss(switch) - small < len(wanted) * (256 << 10)
        names = set(wanted) | set(BRIDGES)

        def complete():
            seen = rows(switch, "ofport", "error", "statistics")
            assert seen.keys() == names
            assert {n: row[1] for n, row in seen.items() if row[1] not in ([], ["set", []])} == {}
            return all(row[0] > 0 and dict(row[2][1])["rx_dropped"] == 0 for row in seen.values())

        assert complete()
        for bridge in BRIDGES:
            own = {name: row for name, row in wanted.items() if row[0] == bridge}
            assert set(switch.vsctl("list-ports", bridge).split()) == own.keys()
        assert switch.vsctl("show").count("Interface ") == len(names)
        metrics = switch.metrics()
        assert {labels["port"] for labels, _ in metrics["vs_port_info"]} == names
        assert total(metrics, "vs_port_error") == 0
        assert {row["port"] for row in switch.json("drops")} == names
        assert all(row["closes"] for row in switch.json("drops"))
        assert idle(switch) > 0.8
        # Many small transactions, each beside all these ports.
        for i in range(6):
            switch.vsctl("set", "Port", f"vs{i}", f"tag={i + 1}")
            switch.vsctl(*chain(adding(BRIDGES[3], f"late{i}", "type=dpdkvhostuser")))
        assert switch.vsctl("get", "Port", "vs5", "tag") == "6"
        assert rows(switch, "ofport").keys() == names | {f"late{i}" for i in range(6)}
        switch.vsctl(*chain(("del-br", bridge) for bridge in BRIDGES))
        assert rows(switch, "ofport") == {}
        until(lambda: fds(switch) <= empty, "all descriptors are closed")
        assert [path.name for path in switch.run_dir.iterdir() if path.is_socket()] == ["db.sock"]
        assert switch.vsctl("show").count("Port") == 0
        assert len(run(["ip", "-o", "link"]).stdout.splitlines()) == 1


def test_too_few_descriptors(place):
    """The hard limit is low: ports beyond it fail with one clear line, and the operator still gets in."""
    limit = 160
    with Switch(place / "s", under=("prlimit", f"--nofile=40:{limit}")) as switch:
        hard = resource.prlimit(switch.child.pid, resource.RLIMIT_NOFILE)
        assert hard == (limit, limit), "the soft limit is raised to the hard one"
        bridge = BRIDGES[0]
        names = [f"v{i}" for i in range(limit)]
        commands = [("add-br", bridge)]
        for name in names:
            commands += adding(bridge, name, "type=dpdkvhostuser")
        done = run(switch._words("vsctl", "--timeout=60", *chain(commands)), check=False)
        assert done.returncode == 65
        errors = {name: row[0] for name, row in rows(switch, "error").items() if isinstance(row[0], str)}
        assert 0 < len(errors) < limit
        assert all(
            "too few file descriptors are left" in text and f"limit {limit}" in text
            for text in errors.values()
        )
        assert fds(switch) < limit - 32, "some are kept for control connections"
        assert total(switch.metrics(), "vs_port_error") == len(errors)
        # What goes makes room for what failed.
        good = [name for name in names if name not in errors]
        switch.vsctl(*chain(("del-port", name) for name in good[:20]))
        failed = min(errors)
        switch.vsctl("set", "Interface", failed, "options:n_rxq=2")
        assert switch.vsctl("get", "Interface", failed, "error") == "[]"
