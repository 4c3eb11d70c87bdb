"""vsctl against Debian's ovs-vsctl: the same commands, the same output, messages and exit codes.

A private ovsdb-server answers ovs-vsctl; vsctl works on a database file of its own. UUIDs are masked and
lines that a hash table orders are sorted. Where we differ on purpose, the command is in DIFFERENT, with the
reason.
"""

import os
import re
import shutil
import subprocess
import time

import pytest
from vsctl_bridge_commands import BRIDGE_SCRIPTS
from vsctl_row_commands import ROW_SCRIPTS

from ctl import vsctl

pytestmark = pytest.mark.interop

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_TOOLS = ("ovs-vsctl", "ovsdb-server", "ovsdb-tool")

SCRIPTS = {**BRIDGE_SCRIPTS, **ROW_SCRIPTS}

DIFFERENT = {
    "add Interface p0 options k": "their message ends at the NUL that it complains about",
}


def _start_peer(directory) -> tuple[str, int]:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None] + [
        p for p in [_SCHEMA] if not os.path.exists(p)
    ]
    if missing:
        if os.environ.get("VS_REQUIRE_PEERS") == "1":
            pytest.fail(f"missing peers: {missing}")
        pytest.skip(f"not installed: {', '.join(missing)}")
    environment = {**os.environ, "OVS_RUNDIR": str(directory), "OVS_LOGDIR": str(directory)}
    subprocess.run(["ovsdb-tool", "create", directory / "conf.db", _SCHEMA], check=True, env=environment)
    pid_file = directory / "pid"
    command = ["ovsdb-server", f"--remote=punix:{directory}/db.sock", "--detach", f"--pidfile={pid_file}"]
    subprocess.run(
        [*command, "--no-chdir", f"--log-file={directory}/log", directory / "conf.db"],
        check=True,
        env=environment,
    )
    return f"unix:{directory}/db.sock", int(pid_file.read_text())


@pytest.fixture
def peer(tmp_path):
    db, pid = _start_peer(tmp_path)
    yield db
    os.kill(pid, 15)
    for _ in range(500):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.01)


def _mask(text: str, words: list[str]) -> list[str]:
    """Return comparable lines."""
    text = re.sub(r"^.*\|WARN\|.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^vsctl: warning: .*\n", "", text, flags=re.MULTILINE)
    text = _UUID.sub("U", text.replace("ovs-vsctl: ", "vsctl: ").replace("\0", ""))
    text = re.sub(r" +$", "", text, flags=re.MULTILINE)
    lines = text.splitlines()
    return sorted(lines) if {"list", "find", "show", "create"} & set(words) else lines


def _theirs(db: str, words: list[str]) -> tuple[int, list[str], list[str]]:
    command = ["ovs-vsctl", f"--db={db}", "--no-syslog", "--no-wait", "-vconsole:off", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, _mask(done.stdout, words), _mask(done.stderr, words)


def _ours(state: str, words: list[str], capfd) -> tuple[int, list[str], list[str]]:
    capfd.readouterr()
    code = vsctl.main([f"--state={state}", "--no-wait", *words])
    out, err = capfd.readouterr()
    return code, _mask(out, words), _mask(err, words)


@pytest.mark.parametrize("script", SCRIPTS)
def test_same_as_ovs_vsctl(script, peer, tmp_path, capfd):
    differences = []
    lines = [line.strip() for line in SCRIPTS[script].strip().splitlines()]
    for line in lines:
        words = [word.replace("|", " ") for word in line.split()]
        theirs = _theirs(peer, words)
        ours = _ours(str(tmp_path / "ours"), words, capfd)
        if theirs != ours and line not in DIFFERENT:
            differences.append(f"{line}\n    theirs: {theirs}\n    ours:   {ours}")
    assert not differences, "\n".join(differences)
    assert len(lines) > 10
