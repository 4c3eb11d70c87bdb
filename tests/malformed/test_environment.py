"""A bad environment or command line: one clear line and an exit code, never a traceback, nothing left behind."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from vswitchd.config.schema import FORMAT_VERSION
from vswitchd.config.store import Store

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60


@pytest.fixture
def place():
    """A private directory with a name short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="vse"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run(module, *words, env=None):
    clean = {k: v for k, v in os.environ.items() if k not in {"VS_STATE", "VS_RUNDIR"}}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=ROOT,
        env={**clean, **(env or {})},
    )


def refused(done, text, *, program="vswitchd", code=1):
    """Assert that a program ended with `code` and one line on standard error that holds `text`."""
    # Log lines go to standard error too; they begin with a time stamp.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("20")]
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"{program}: "), done.stderr
    assert text in lines[0], done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nosuch"], "unrecognized arguments: --nosuch"),
        (["stray"], "unrecognized arguments: stray"),
        (["--state"], "expected one argument"),
        (["--log-level", "loud"], '--log-level "loud" is none of off, emer, err, warn, info, dbg'),
        (["--metrics", "nonsense"], 'metrics address "nonsense" is not HOST:PORT'),
        (["--metrics", "127.0.0.1:99999"], "is not HOST:PORT"),
        (["--metrics", "no.such.host.invalid:1"], "cannot listen on no.such.host.invalid:1"),
        (["--cache-entries", "many"], "invalid int value: 'many'"),
        (["--cache-entries", "-1"], "--cache-entries -1 is not between 0"),
        (["--log-file", "/nonexistent/dir/log"], "cannot open the log file"),
        (["--pidfile", "/nonexistent/dir/pid"], "cannot write the pid file"),
    ],
)
def test_bad_options(place, words, text):
    options = [] if "--state" in words else ["--state", place]
    refused(run("vswitchd", *options, *words), text)


def test_a_metrics_port_in_use(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("vswitchd", "--state", place, "--metrics", f"127.0.0.1:{port}")
    refused(done, f"cannot listen on 127.0.0.1:{port}")
    assert not (place / "db.sock").exists()
    assert not (place / "vswitchd.pid").exists()


def test_a_state_directory_that_is_a_file(place):
    (place / "file").write_text("")
    refused(run("vswitchd", "--state", place / "file"), "is not a directory")
    refused(run("vswitchd", env={"VS_STATE": str(place / "file" / "deeper")}), "name another")


def test_a_state_directory_that_cannot_be_made():
    refused(run("vswitchd", "--state", "/proc/nosuch"), "cannot make this directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_state_directory_of_somebody_else(place):
    (place / "theirs").mkdir()
    os.chown(place / "theirs", 12345, 12345)
    refused(run("vswitchd", "--state", place / "theirs"), "belongs to another user")


def test_a_socket_path_that_is_too_long(place):
    long = place / ("x" * 120)
    done = run("vswitchd", "--state", long)
    refused(done, "too long")
    refused(done, "at most 107")


def test_a_database_of_garbage(place):
    (place / "config.db").write_bytes(os.urandom(8192))
    before = (place / "config.db").read_bytes()
    refused(run("vswitchd", "--state", place), "config.db")
    assert (place / "config.db").read_bytes() == before


def test_a_database_that_was_cut_off(place):
    Store.open(str(place / "config.db")).close()
    whole = (place / "config.db").read_bytes()
    (place / "config.db").write_bytes(whole[: len(whole) // 2])
    refused(run("vswitchd", "--state", place), "config.db")


def test_a_database_from_a_newer_version(place):
    Store.open(str(place / "config.db")).close()
    with sqlite3.connect(place / "config.db") as db:
        db.execute(f"PRAGMA user_version={FORMAT_VERSION + 1}")
    db.close()
    refused(run("vswitchd", "--state", place), f"format version {FORMAT_VERSION + 1}")


def test_a_database_of_another_program(place):
    with sqlite3.connect(place / "config.db") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    refused(run("vswitchd", "--state", place), "database of another program")


def test_a_control_socket_path_that_is_something_else(place):
    (place / "db.sock").write_text("not a socket")
    refused(run("vswitchd", "--state", place), "exists and is not a socket")
    assert (place / "db.sock").read_text() == "not a socket"


def test_version_and_help_need_no_state():
    assert run("vswitchd", "--version").stdout.startswith("vswitchd ")
    assert "--state" in run("vswitchd", "--help").stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no command given"),
        (["--nosuch", "version"], "unknown option --nosuch"),
        (["-f", "xml", "version"], '--format "xml" is neither text nor json'),
        (["-T", "soon", "version"], '--timeout "soon"'),
        (["-T"], "needs a value"),
        (["-t", "nosuchdaemon", "version"], "is neither a socket path nor vswitchd"),
        (["-t", "/nonexistent/db.sock", "version"], "connection failed (No such file or directory)"),
        (["-t", "/tmp/" + "x" * 200, "version"], "too long"),
    ],
)
def test_vsappctl_that_reaches_nobody(words, text):
    refused(run("ctl.vsappctl", *words), text, program="vsappctl")


@pytest.fixture
def fake_daemon(place):
    """A control socket whose peer answers every connection with the given bytes and then reads on."""
    sock = socket.socket(socket.AF_UNIX)
    path = place / "db.sock"
    sock.bind(str(path))
    sock.listen()
    stop = threading.Event()

    def serve(answer):
        def work():
            connection, _ = sock.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                stop.wait(SECONDS)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return path

    yield serve
    stop.set()
    sock.close()


def test_vsappctl_with_a_daemon_that_does_not_answer(fake_daemon):
    done = run("ctl.vsappctl", "-T", "1", "-t", fake_daemon(b""), "version")
    refused(done, "no answer in time", program="vsappctl", code=142)


def test_vsappctl_with_a_peer_that_talks_nonsense(fake_daemon):
    done = run("ctl.vsappctl", "-T", "20", "-t", fake_daemon(b"\x93\x01\x02\x03"), "version")
    refused(done, "the answer makes no sense", program="vsappctl")
