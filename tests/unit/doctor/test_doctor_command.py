"""vsappctl doctor: text, JSON and exit code, by the daemon or, where none runs, by the program itself."""

import asyncio
import errno
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from doctor_world import PATHS

from ctl import doctor, vsappctl
from vswitchd import appctl_doctor, appctl_main, paths
from vswitchd.config.store import Store
from vswitchd.doctor import cases, examine, finding
from vswitchd.doctor.finding import note, ok, problem
from vswitchd.doctor.host import Host
from vswitchd.errors import ConfigError, RpcError
from vswitchd.ports.base import PortConfig, PortStatus

FOUND = [
    ok("disk", "much room"),
    note("cores", "slow", "be quick"),
    problem("port", "dead", "revive it", port="p0"),
]


def test_text_and_data():
    assert finding.text(FOUND, "head:").splitlines() == [
        "head:",
        "ok       disk     much room",
        "note     cores    slow",
        "                    -> be quick",
        "problem  port p0  dead",
        "                    -> revive it",
        "problems: 1, notes: 1, ok: 1",
    ]
    data = finding.data(FOUND)
    assert (data["problems"], data["notes"]) == (1, 1)
    assert data["findings"][2] == {
        "subject": "port",
        "severity": "problem",
        "port": "p0",
        "text": "dead",
        "mend": ["revive it"],
    }


def live(name, kind, status=None, error="", **options):
    config = PortConfig(name, kind, options)
    driver = SimpleNamespace(status=lambda: status) if status else None
    return SimpleNamespace(name=name, spec=SimpleNamespace(config=config), driver=driver, error=error)


@pytest.fixture
def daemon(tmp_path):
    store = Store.open(str(tmp_path / "config.db"))
    bridge = SimpleNamespace(spec=SimpleNamespace(name="br0"))
    ports = [
        live(
            "v1",
            "dpdkvhostuser",
            PortStatus(link_up=True, info={"status": "connected", "error": "bad option"}),
        ),
        live("n1", "vfio", error="no such device", pci="99:00.0"),
    ]
    yield SimpleNamespace(
        paths=PATHS,
        version="1.2",
        store=store,
        datapath=SimpleNamespace(cores=lambda: [1]),
        cpus=[0, 1],
        reconciler=SimpleNamespace(ports=lambda: [(bridge, p) for p in ports]),
    )
    store.close()


def test_the_case_of_a_daemon(daemon):
    made = cases.of_daemon(daemon)
    assert (made.running, made.polling, made.cpus, made.paths) == (True, (1,), (0, 1), PATHS)
    first, second = made.ports
    assert (first.name, first.error, first.link_up, first.options) == (
        "n1",
        "no such device",
        None,
        {"pci": "99:00.0"},
    )
    assert (second.name, second.error, second.link_up, second.bridge) == ("v1", "bad option", True, "br0")


def test_the_daemon_answers(daemon):
    answer = asyncio.run(appctl_main.table().rpc(daemon, {"command": "doctor", "args": ["n1"]}))
    json.dumps(answer["data"])
    assert answer["text"].startswith(f"vswitchd 1.2 (pid {os.getpid()}), /var/vs:")
    assert [f["text"] for f in answer["data"]["findings"]] == [
        "there is no PCI device 0000:99:00.0",
        "does not run: no such device",
    ]


def test_a_port_that_is_unknown(daemon):
    with pytest.raises(ConfigError, match="no port named zz"):
        asyncio.run(appctl_doctor.COMMANDS[0].run(daemon, ["n1", "zz"]))


def configure(state):
    def change(txn):
        root = txn.view.root
        interface = txn.insert("Interface", {"name": ("c1",), "type": ("dpdkvhostuserclient",)})
        port = txn.insert("Port", {"name": ("c1",), "interfaces": (interface.uuid,)})
        bridge = txn.insert("Bridge", {"name": ("br0",), "ports": (port.uuid,)})
        txn.update(root, {"bridges": (bridge.uuid,), "other_config": (("pmd-cpu-mask", "0x1"),)})

    store = Store.open(str(state / "config.db"))
    store.transact(change)
    return store


def test_the_case_of_a_switch_that_does_not_run(tmp_path):
    configure(tmp_path).close()
    made, remarks = cases.of_files(paths.find(str(tmp_path)))
    assert remarks == []
    assert [(p.name, p.type, p.bridge) for p in made.ports] == [("c1", "dpdkvhostuserclient", "br0")]
    assert (made.running, made.mask) == (False, "0x1")
    with pytest.raises(ConfigError, match="no port named zz"):
        doctor.diagnose(str(tmp_path), ["zz"])


def test_a_configuration_that_is_missing_or_locked_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "STORE_TIMEOUT", 0.01)
    assert "is not there" in cases.of_files(paths.find(str(tmp_path)))[1][0].text
    store = configure(tmp_path)
    try:
        made, remarks = cases.of_files(paths.find(str(tmp_path)))
    finally:
        store.close()
    assert made.ports == ()
    assert [r.severity.value for r in remarks] == ["note"]


def test_only_a_daemon_that_is_not_there_is_stood_in_for():
    assert doctor.absent(RpcError("x", errno=errno.ENOENT))
    assert doctor.absent(RpcError("x", errno=errno.ECONNREFUSED))
    for number in (errno.EACCES, None):
        assert not doctor.absent(RpcError("x", errno=number))


def test_the_program_without_a_daemon(tmp_path, monkeypatch):
    configure(tmp_path).close()
    monkeypatch.setattr(examine, "CHECKS", ())
    text, code = vsappctl.run(["--state", str(tmp_path), "doctor"])
    assert code == 1
    assert text.startswith(f"no vswitchd runs on {tmp_path}")
    assert "problem  port c1  no options:vhost-server-path" in text
    data, code = vsappctl.run(["--state", str(tmp_path), "doctor", "-f", "json"])
    assert code == 1
    assert json.loads(data)["running"] is False
    monkeypatch.setattr(examine, "PORT_CHECKS", {})
    assert vsappctl.run(["--state", str(tmp_path), "doctor"])[1] == 0


@pytest.mark.parametrize("words", [["version"], ["-t", "/no/such/socket", "doctor"]])
def test_the_daemon_is_needed_by_other_commands_and_where_its_socket_is_named(tmp_path, words):
    with pytest.raises(RpcError, match="connection failed"):
        vsappctl.run(["--state", str(tmp_path), *words])


def test_the_program_ends_with_the_code_of_what_it_found(tmp_path):
    configure(tmp_path).close()
    words = [sys.executable, "-m", "ctl.vsappctl", "--state", str(tmp_path), "doctor", "c1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problems: 1," in done.stdout


def test_a_real_machine_is_examined_without_an_exception(tmp_path):
    made, _ = cases.of_files(paths.find(str(tmp_path)))
    found = examine.examine(Host(), made)
    assert {"process", "memory", "iommu", "vfio", "disk"} <= {f.subject for f in found}


def test_a_real_host(tmp_path):
    host = Host()
    assert host.interface("lo")[1] & 0x8
    assert host.interface("no-such-thing") is None
    with (tmp_path / "held").open("w") as file:
        assert (os.getpid(), host.read("/proc/self/comm")) in host.holders(file.name)
    assert host.try_open(str(tmp_path / "none")) == errno.ENOENT
    assert host.try_open("/dev/null") == 0
    assert host.space(str(tmp_path)).total > 0
    assert host.stat(str(tmp_path)).uid == os.getuid()
    assert host.link("/proc/self/exe") == os.path.basename(os.path.realpath(sys.executable))
    assert host.names(str(tmp_path)) == ["held"]
