"""A full disk, and one that may not be written: one clear line, nothing changed, packets go on, and recovery."""

import contextlib
import os
import re
import socket
import sys

import pytest
from fakes.talker import Exchange
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "xdb0"


@pytest.fixture
def disk(place):
    """A small file system of its own for the state directory, and a function that fills it up."""
    need.need_root()
    need.need_program("mount", "umount")
    path = place / "s"
    path.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "xdisk", path])
    try:
        with namespace():
            run(["ip", "link", "set", "lo", "up"])
            yield path
    finally:
        run(["umount", "--lazy", path])


def fill(path):
    with open(path / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(path).f_bavail == 0


def vsctl(switch, *words):
    return run(switch._words("vsctl", "--timeout=30", *words), check=False)


def test_a_full_disk(disk):
    with Switch(disk) as switch, contextlib.ExitStack() as stack:
        switch.add_bridge(BR)
        for number, name in enumerate(("g1", "g2"), 1):
            switch.add_vhost(BR, name, number)
        exchange = Exchange(switch.run_dir / "g1", switch.run_dir / "g2")
        stack.callback(exchange.close)
        shown = switch.vsctl("show")
        fill(disk)
        for words in (
            ("add-port", BR, "v2", "--", "set", "Interface", "v2", "type=dpdkvhostuser"),
            ("del-br", BR),
            ("set", "Bridge", BR, f"other_config:big={'y' * 50000}"),
        ):
            done = vsctl(switch, *words)
            assert done.returncode == 1
            assert re.fullmatch(r"vsctl: \S+config\.db: .*disk is full; nothing was changed\n", done.stderr)
            exchange.check()
        switch.appctl("vlog/set", "any:file:dbg")
        with contextlib.ExitStack() as crowd:  # each is turned away and logged, which goes nowhere
            seconds = [crowd.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(40)]
            for second in seconds:
                second.connect(str(disk / "g1"))
            for second in seconds:
                with contextlib.suppress(ConnectionError):
                    assert second.recv(1) == b""
        assert switch.vsctl("show") == shown
        assert all(row["closes"] or row["received"] for row in switch.json("drops"))
        exchange.check()
        (disk / "filler").unlink()
        switch.add_vhost(BR, "v2", 9)
        assert (disk / "v2").is_socket()
        exchange.check()
        exchange.stop()
        # And a start on a full disk, after a kill: what is stored runs.
        switch.crash()
        fill(disk)
        switch.start()
        assert switch.vsctl("list-ports", BR).split() == ["g1", "g2", "v2"]
        assert switch.vsctl("get", "Interface", "v2", "ofport", "error").split() == ["9", "[]"]
        assert "disk is full" in vsctl(switch, "del-port", "v2").stderr
        (disk / "filler").unlink()
        switch.vsctl("del-port", "v2")
    assert "Traceback" not in "".join(file.read_text() for file in disk.glob("*.out"))


def test_a_state_directory_that_may_not_be_written(disk):
    with Switch(disk) as switch:
        switch.add_bridge(BR)
    run(["mount", "-o", "remount,ro", disk])
    argv = [sys.executable, "-m", "vswitchd", "--state", disk, "--metrics=none"]
    done = run(argv, check=False)
    assert done.returncode == 1
    line = rf"vswitchd: {disk}/lock: cannot be written \(Read-only file system\); name another .*--state\n"
    assert re.fullmatch(line, done.stderr)
    run(["mount", "-o", "remount,rw", disk])
    with Switch(disk) as switch:
        assert switch.vsctl("list-br") == BR
