"""Options of vhost-user ports in the running switch: over kill -9, a full disk and an operator's mistakes."""

import contextlib
import os
import socket
import stat
import struct

import pytest
from fakes import front_end as fe
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch
from peers.wait import until

from vswitchd.ports.vhostuser.features import Virtio
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.status import HELP

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "xvo0"
TAKEN = fe.MODERN | 1 << Virtio.IN_ORDER


@pytest.fixture(autouse=True)
def alone():
    """The bridge's tap is in a network namespace of its own."""
    need.need_root()
    with namespace():
        run(["ip", "link", "set", "lo", "up"])
        yield


def connect(stack, path):
    sock = socket.socket(socket.AF_UNIX)
    front = fe.FrontEnd(sock, features=TAKEN, pairs=2)
    stack.callback(front.close)
    sock.connect(str(path))
    front.start()
    return front


def offered(front):
    words = (Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_QUEUE_NUM)
    return [struct.unpack("=Q", front.ask(word))[0] for word in words]


def status(switch, port="v1"):
    return switch.vsctl("get", "Interface", port, "status")


def test_a_restarted_switch_offers_what_the_guest_has(place, stack):
    """The options were changed in the meantime; another process gets what they say."""
    with Switch(place / "s") as switch:
        switch.add_bridge(BR)
        path = switch.add_vhost(BR, "v1", 1)
        front = connect(stack, path)
        before = offered(front)
        few = ['options:features-off="in_order"', "options:protocol-features-off=status"]
        switch.vsctl("set", "Interface", "v1", *few, "options:vhost-max-queue-pairs=1")
        assert offered(front) == before
        switch.crash_and_restart()
        until(path.is_socket, "the port is back")
        front.sock.close()
        front = connect(stack, path)
        virtio, protocol, pairs = offered(front)
        assert virtio & TAKEN == TAKEN
        assert protocol & fe.ALL_PROTOCOL == fe.ALL_PROTOCOL
        assert pairs == 2
        until(lambda: "in_order" in status(switch), "the status tells what was negotiated")
        front.sock.close()
        code = (
            "import socket, struct, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(struct.pack('=III', 1, 1, 0)); print(struct.unpack('=IIIQ', s.recv(20))[3])"
        )
        until(lambda: "status=disconnected" in status(switch), "the guest left")
        word = int(run(["python3", "-c", code, path]).stdout)
        assert not word >> Virtio.IN_ORDER & 1
        assert word >> Virtio.VERSION_1 & 1


def test_modes_and_mistakes(place, stack):
    with Switch(place / "s") as switch:
        switch.add_bridge(BR)
        path = switch.add_vhost(BR, "v1", 1)
        switch.vsctl("set", "Interface", "v1", "options:socket-mode=0660", "options:socket-group=12345")
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o660, 12345)
        front, other = connect(stack, path), connect(stack, switch.add_vhost(BR, "v2", 2))
        rows = {"features-off": "no-such", "socket-group": "no-such", "socket-mode": "9"}
        for option, value in rows.items():
            words = ["--", "set", "Interface", "v1", f"options:{option}={value}"]
            done = run(switch._words("vsctl", "--timeout=30", *words), check=False)
            assert "Traceback" not in done.stderr
            error = switch.vsctl("get", "Interface", "v1", "error")
            assert f"options:{option}" in error
            assert offered(front)
            switch.vsctl("remove", "Interface", "v1", "options", option)
            if option == "socket-group":
                switch.vsctl("set", "Interface", "v1", "options:socket-group=0")
            assert switch.vsctl("get", "Interface", "v1", "error") == "[]"
        seen = switch.metrics()
        assert seen["vs_vhost_reconnects_total"] == [({"port": "v1"}, 0.0), ({"port": "v2"}, 0.0)]
        assert {name for name in HELP if "iotlb" not in name and name not in seen} <= {
            "vs_vhost_refused_total"
        }
        offered(other)


def test_a_full_disk_costs_a_line(place, stack):
    state = place / "s"
    state.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "xdisk", state])
    try:
        with Switch(state) as switch:
            switch.add_bridge(BR)
            path = switch.add_vhost(BR, "v1", 1)
            with open(state / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            front = connect(stack, path)
            until(lambda: "status=connected" in status(switch), "the guest is there")
            before = offered(front)
            front.sock.close()
            until(lambda: "status=disconnected" in status(switch), "the guest left")
            switch.vsctl("get", "Interface", "v1", "status")
            (state / "filler").unlink()
            switch.vsctl("set", "Interface", "v1", "options:features-off=in_order")
            front = connect(stack, path)
            assert offered(front) == before, "it is remembered in memory"
            until(lambda: "status=connected" in status(switch), "the guest is back")
            said = (state / "daemon0.out").read_text()
            assert said.count("v1: cannot write") == 1
            assert "No space left on device" in said
            assert "Traceback" not in said
            until(lambda: os.listdir(state / ".vhost-peers") == ["v1.json"], "it is written after all")
    finally:
        run(["umount", "--lazy", state])
