"""vsctl the program: options, formats, exit codes, and its talk with a daemon."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ctl import options, vsctl
from vswitchd.config.command import Command
from vswitchd.config.store import Store
from vswitchd.errors import UsageError

_ROOT = Path(__file__).parents[3]
_DAEMON = _ROOT / "tests/unit/config/mini_daemon.py"
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(_ROOT)}


@pytest.fixture
def state(tmp_path):
    return str(tmp_path / "s")


@pytest.fixture
def daemon(state):
    command = [sys.executable, str(_DAEMON), state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT) as process:
        assert process.stdout.readline() == "READY\n"
        yield state
        process.kill()


@pytest.fixture
def stuck_daemon(state):
    """A daemon that never applies anything."""
    command = [sys.executable, str(_DAEMON), state, "--stuck"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT) as process:
        assert process.stdout.readline() == "READY\n"
        yield process
        process.kill()


def run(state, *words):
    return vsctl.main([f"--state={state}", *words])


def spawn(state, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "ctl.vsctl", f"--state={state}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_ENVIRONMENT,
    )


def test_a_change_waits_until_it_is_applied(daemon, capfd):
    assert run(daemon, "add-br", "br0", "--", "add-port", "br0", "p0") == 0
    assert run(daemon, "get", "Interface", "p0", "ofport") == 0
    assert run(daemon, "get", "Open_vSwitch", ".", "next_cfg", "cur_cfg") == 0
    assert capfd.readouterr().out == "2\n1\n1\n"


def test_an_interface_that_cannot_be_made_is_stored_and_gives_65(daemon, state, capfd):
    words = ["add-br", "br0", "--", "add-port", "br0", "p0", "--", "set", "Interface", "p0", "type=bogus"]
    assert run(daemon, *words) == 65
    said = capfd.readouterr()
    assert said.err == (
        "vsctl: Error detected while setting up 'p0': no such type.  See vswitchd log for details.\n"
        f'vsctl: The default log directory is "{state}".\n'
    )
    assert run(daemon, "add-port", "br0", "p1") == 0
    assert run(daemon, "--no-wait", "list-ports", "br0") == 0
    assert run(daemon, "show") == 0
    out = capfd.readouterr().out
    assert out.startswith("p0\np1\n")
    assert 'error: "no such type"' in out


def test_a_daemon_that_dies_before_it_applied_a_change_gives_65(stuck_daemon, state, capfd):
    client = spawn(state, "add-br", "br0")
    while run(state, "--no-wait", "br-exists", "br0") != 0:
        assert client.poll() is None
    stuck_daemon.kill()
    _, err = client.communicate(timeout=30)
    assert client.returncode == 65
    assert err.endswith("; the change is stored but may not be applied\n")
    assert err.count("\n") == 1
    stuck_daemon.wait()
    assert run(state, "--no-wait", "br-exists", "br0") == 0


def test_a_locked_database_without_a_daemon_gives_one_line(state):
    holder = Store.open(f"{state}/config.db")
    process = spawn(state, "--no-wait", "--timeout=10", "show")
    _, err = process.communicate(timeout=60)
    holder.close()
    assert process.returncode == 1
    assert err == f"vsctl: {state}/config.db: is in use by another process (is a vswitchd running already?)\n"


def test_no_wait_does_not_wait(daemon, capfd):
    words = ["add-br", "br0", "--", "add-port", "br0", "p0", "--", "set", "Interface", "p0", "type=bogus"]
    assert run(daemon, "--no-wait", *words) == 0
    assert run(daemon, "get", "Open_vSwitch", ".", "next_cfg") == 0
    assert capfd.readouterr().out == "0\n"


def test_without_a_daemon_there_is_one_line_that_says_so(state, capfd):
    assert run(state, "show") == 1
    assert capfd.readouterr().err.startswith(
        f"vsctl: unix:{state}/db.sock: database connection failed (No such file or directory); is vswitchd"
    )
    assert run(state, "--db=unix:/nonexistent/sock", "--no-wait", "show") == 1
    assert "unix:/nonexistent/sock: database connection failed" in capfd.readouterr().err
    assert run(state, "--db=tcp:1.2.3.4:6640", "show") == 1
    assert "--db=unix:PATH" in capfd.readouterr().err
    assert run(state, "--db=unix:/" + "x" * 200, "show") == 1
    assert "socket path is too long" in capfd.readouterr().err


def test_a_broken_database_gives_one_line(tmp_path, capfd):
    (tmp_path / "config.db").write_text("nonsense " * 1000)
    assert run(tmp_path, "--no-wait", "show") == 1
    error = capfd.readouterr().err
    assert "is damaged" in error
    assert error.count("\n") == 1


def test_a_state_directory_that_is_a_file_gives_one_line(tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file", "--no-wait", "show") == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_wait_until_waits_for_a_change(daemon):
    waiter = spawn(daemon, "--timeout=30", "wait-until", "Bridge", "br1", "other_config:a=b", "--", "list-br")
    assert run(daemon, "add-br", "br0") == 0
    assert waiter.poll() is None
    assert run(daemon, "add-br", "br1") == 0
    assert run(daemon, "set", "Bridge", "br1", "other_config:a=b") == 0
    out, err = waiter.communicate(timeout=30)
    assert (waiter.returncode, out, err) == (0, "br0\nbr1\n", "")


def test_wait_until_without_a_daemon_lets_others_at_the_database(state):
    waiter = spawn(state, "--no-wait", "--timeout=30", "wait-until", "Bridge", "br1")
    assert run(state, "--no-wait", "add-br", "br1") == 0
    assert waiter.communicate(timeout=30) == ("", "")
    assert waiter.returncode == 0


@pytest.mark.parametrize("extra", [[], ["--no-wait"]])
def test_a_timeout_kills_with_sigalrm(state, extra):
    process = spawn(state, "--timeout=1", "--retry", *extra, "wait-until", "Bridge", "nosuch")
    _, err = process.communicate(timeout=30)
    assert process.returncode == -14  # a shell shows 142
    assert err == "vsctl: no answer within 1 seconds (--timeout)\n"


def test_many_at_once_are_all_done(daemon, capfd):
    assert run(daemon, "add-br", "br0") == 0
    codes = []

    def add(number):
        process = spawn(daemon, "add-port", "br0", f"p{number}")
        process.communicate(timeout=60)
        codes.append(process.returncode)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert codes == [0] * 8
    assert run(daemon, "list-ports", "br0") == 0
    assert capfd.readouterr().out.split() == sorted(f"p{n}" for n in range(8))


READS = {
    "list-br": ["br0"],
    "list-ports br0": ["p0"],
    "list-ifaces br0": ["p0"],
    "port-to-br p0": "br0",
    "iface-to-br p0": "br0",
    "br-to-vlan br0": 0,
    "br-to-parent br0": "br0",
    "br-get-external-id br0": {"k": "v"},
    "br-get-external-id br0 k": "v",
    "get-controller br0": ["tcp:1.1.1.1"],
    "get-fail-mode br0": "secure",
    "get-manager": [],
    "get-ssl": None,
    "get Port p0 tag trunks name external_ids": [7, [], "p0", {}],
    "--columns=name,tag,trunks list Port p0": {
        "headings": ["name", "tag", "trunks"],
        "data": [["p0", 7, ["set", []]]],
    },
    "--columns=name find Port tag=7": {"headings": ["name"], "data": [["p0"]]},
}


@pytest.mark.parametrize("where", ["before", "after"])
def test_every_read_verb_speaks_json(state, capfd, where):
    setup = "add-br br0 -- add-port br0 p0 tag=7 -- br-set-external-id br0 k v -- set-fail-mode br0 secure"
    assert run(state, "--no-wait", *setup.split(), *["--", "set-controller", "br0", "tcp:1.1.1.1"]) == 0
    for command, expected in READS.items():
        words = ["-f", "json", *command.split()] if where == "before" else [*command.split(), "-f", "json"]
        assert run(state, "--no-wait", *words) == 0
        assert json.loads(capfd.readouterr().out) == expected, command
    assert run(state, "--no-wait", "show", "--format=json") == 0
    (bridge,) = json.loads(capfd.readouterr().out)["bridges"]
    assert bridge["controller"] == [{"target": "tcp:1.1.1.1", "is_connected": False}]
    assert [port["name"] for port in bridge["ports"]] == ["br0", "p0"]
    assert run(state, "--no-wait", "--oneline", "-f", "json", "list-br") == 0
    assert capfd.readouterr().out == "br0\n"


def test_options_stand_where_getopt_lets_them():
    read = options.parse(
        ["--may-exist", "-t", "5", "--form=csv", "-dbare", "add-br", "a", "--", "--if-exists", "del-br", "b"]
    )
    assert read.commands == [
        Command("add-br", ("a",), {"--may-exist": None}),
        Command("del-br", ("b",), {"--if-exists": None}),
    ]
    assert (read.timeout, read.style.format, read.style.data) == (5, "csv", "bare")
    assert options.parse(["-vfile:off", "--no-syslog", "--verbose", "init"]).commands == [
        Command("init", (), {})
    ]
    assert options.parse(["--help", "nosuch"]).info == "--help"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "missing command name (use --help for help)"),
        ("-x list-br", "invalid option -- 'x'"),
        ("--no list-br", "option '--no' is ambiguous"),
        ("--db", "option '--db' requires an argument"),
        ("-t", "option requires an argument -- 't'"),
        ("-t 99999999999999999999 list-br", "is invalid"),
        ("--dry-run=1 list-br", "option '--dry-run' doesn't allow an argument"),
        ("--may-exist list-br", "'list-br' command has no '--may-exist' option"),
        ("--may-exist --may-exist add-br a", "'--may-exist' option specified multiple times"),
        ("--format=toml list-br", 'unknown output format "toml"'),
        ("list-br -- --may-exist", "missing command name"),
        ("list-br -- --columns list Bridge", "missing argument to '--columns' option on 'list' command"),
    ],
)
def test_bad_options_are_named(line, message):
    with pytest.raises(UsageError) as caught:
        options.parse(line.split())
    assert message in str(caught.value)


def test_help_names_every_verb_and_version_is_printed(capfd):
    assert vsctl.main(["--help"]) == 0
    text = capfd.readouterr().out
    missing = [verb for verb in options.VERBS if verb not in text and "bond" not in verb]
    assert missing == []
    assert vsctl.main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("vsctl (vswitchd) ")
    assert vsctl.main(["--commands"]) == 0
    assert "--may-exist,add-br" in capfd.readouterr().out


def test_plain_calls_import_neither_sqlite_nor_asyncio(daemon):
    code = (
        "import sys; from ctl import vsctl; assert vsctl.main(sys.argv[1:]) == 0;"
        "print(sorted({'sqlite3', 'asyncio', 'dataclasses', 'json'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, f"--state={daemon}", "list-br"]
    done = subprocess.run(command, capture_output=True, text=True, env=_ENVIRONMENT, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_reader_that_goes_away_is_no_traceback(state):
    assert run(state, "--no-wait", "add-br", "br0") == 0
    process = spawn(state, "--no-wait", "list", "Interface")
    process.stdout.close()
    _, err = process.stderr.read(), process.stderr.close()
    process.wait(30)
    assert "Traceback" not in str(err)
