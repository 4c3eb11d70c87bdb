"""Kernel ports as the control plane sees them: made, changed, followed, deleted; errors that teach."""

import os
import select
import subprocess

import pytest
from fakes.wire import Wire, frame, ip

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.kernel import links, tap

pytestmark = pytest.mark.root


@pytest.fixture
def elsewhere(netns):
    """The process id of a sleeper in another namespace."""
    sleeper = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo ready; exec sleep 300"], stdout=subprocess.PIPE, text=True
    )
    assert sleeper.stdout.readline() == "ready\n"
    yield sleeper.pid
    sleeper.kill()
    sleeper.wait()
    sleeper.stdout.close()


def inside(pid, *words):
    subprocess.run(["nsenter", "-t", str(pid), "-n", *words], check=True)


def veth():
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")


def open_files():
    return sorted(
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd_is_device(fd)
    )


def fd_is_device(fd):
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return "tun" in target or "socket" in target


def test_a_tap_is_made_up_with_its_settings(ports):
    port = ports.open("t0", "tap", mtu_request=4000, mac="02:00:00:00:12:34")
    status = port.status()
    assert (status.link_up, status.admin_up, status.mtu, status.mac) == (
        True,
        True,
        4000,
        "02:00:00:00:12:34",
    )
    assert status.info["driver_name"] == "tun"
    assert "mtu 4000" in ip("link", "show", "t0")


def test_an_internal_port_has_a_stable_local_address(ports):
    first = ports.open("br0", "internal")
    mac = first.status().mac
    assert int(mac[:2], 16) & 3 == 2  # locally administered, unicast
    ports.close(first)
    assert ports.open("br0", "internal").status().mac == mac
    assert ports.open("br1", "internal").status().mac != mac
    assert tap.stable_mac("br0") == mac


def test_stop_frees_the_name_at_once_and_leaks_nothing(ports):
    before = open_files()
    for _ in range(3):
        port = ports.open("t0", "tap")
        assert links.find("t0") is not None
        ports.close(port)
        assert links.find("t0") is None
    veth()
    ports.close(ports.open("v0", ""))
    assert open_files() == before


def test_stop_leaves_promiscuous_mode(ports):
    veth()
    port = ports.open("v0", "system")
    assert "promiscuity 1" in ip("-d", "link", "show", "v0")
    ports.close(port)
    assert "promiscuity 0" in ip("-d", "link", "show", "v0")


@pytest.mark.parametrize("kind", ["tap", "system"])
def test_the_state_of_the_interface_is_followed(ports, kind):
    if kind == "system":
        veth()
    name = "v0" if kind == "system" else "t0"
    port = ports.open(name, kind)
    ports.changes.clear()
    ip("link", "set", name, "down")
    ports.wait(lambda: not port.status().link_up)
    assert not port.status().admin_up
    assert port in ports.changes
    ip("link", "set", name, "up", "mtu", 1300)
    ports.wait(lambda: port.status().link_up)
    assert port.status().mtu == 1300


def test_a_veth_whose_peer_is_down_has_no_link(ports):
    veth()
    port = ports.open("v0", "system")
    ip("link", "set", "v1", "down")
    ports.wait(lambda: not port.status().link_up)
    assert port.status().admin_up


def test_one_port_is_not_told_of_another(ports):
    port = ports.open("t0", "tap")
    ports.open("t1", "tap")
    ports.pump()
    ports.changes.clear()
    ip("link", "set", "t1", "down")
    ports.wait(lambda: port.status().link_up)
    assert port not in ports.changes


def test_settings_change_in_place(ports):
    port = ports.open("t0", "tap")
    assert port.reconfigure(PortConfig("t0", "tap", mtu_request=2000, mac="02:00:00:00:00:77"))
    ports.pump()
    assert (port.status().mtu, port.status().mac) == (2000, "02:00:00:00:00:77")
    assert not port.reconfigure(PortConfig("t1", "tap"))
    assert not port.reconfigure(PortConfig("t0", "internal"))
    with pytest.raises(PortError, match="cannot set mtu 70000 on interface t0"):
        port.reconfigure(PortConfig("t0", "tap", mtu_request=70000))


def test_a_deleted_interface_costs_its_port_only_and_comes_back(ports, driver):
    veth()
    port, other = ports.open("v0", "system"), ports.open("t0", "tap")
    fd = lib.vs_port_test_rx_fd(port.handle, 0)
    ip("link", "del", "v0")
    ports.wait(lambda: not port.status().link_up)
    assert "v0 was deleted" in port.status().info["error"]
    assert other.status().link_up
    d = driver(port)
    d.send([frame(100)])
    assert d.drops() == {"link_down": 1}
    d.receive()
    assert not select.select([fd], [], [], 0)[0], "a sleeping core would spin"

    veth()
    ports.wait(lambda: port.status().link_up)
    assert "error" not in port.status().info
    assert lib.vs_port_test_rx_fd(port.handle, 0) == fd
    wire = Wire("v1")
    wire.send(frame(100, 1))
    assert select.select([fd], [], [], 5)[0]
    assert d.frames() == [frame(100, 1)]
    d.send([frame(100, 2)])
    assert wire.frames(1) == [frame(100, 2)]
    wire.close()


def test_a_deleted_tap_is_made_again(ports, driver):
    port = ports.open("t0", "tap", mtu_request=2000)
    d = driver(port)
    ip("link", "del", "t0")
    d.receive()
    assert lib.vs_port_test_rx_fd(port.handle, 0) == -1, "a sleeping core would spin"
    changes = lib.vs_port_test_watch_changes()
    d.receive()
    assert lib.vs_port_test_watch_changes() == changes, "cores would forget all their watches at every turn"
    d.send([frame(100)])
    assert d.drops() == {"link_down": 1}
    ports.wait(lambda: port.status().link_up)
    assert port.status().mtu == 2000
    assert lib.vs_port_test_rx_fd(port.handle, 0) >= 0
    wire = Wire("t0")
    d.send([frame(100, 2)])
    assert wire.frames(1) == [frame(100, 2)]
    wire.close()


def test_a_tap_in_another_namespace_goes_on(ports, driver, elsewhere):
    port = ports.open("t0", "tap")
    d = driver(port)
    ip("link", "set", "t0", "netns", elsewhere)
    ports.wait(lambda: not port.status().link_up)  # the kernel takes it down on the way
    inside(elsewhere, "ip", "link", "set", "t0", "up", "mtu", "1400")
    ports.wait(lambda: port.status().link_up)
    assert port.status().mtu == 1400
    d.send([frame(100)])
    assert d.counters.tx_packets == 1
    inside(elsewhere, "ip", "link", "set", "t0", "down")
    ports.wait(lambda: not port.status().link_up)
    assert links.find("t0") is None


def test_a_tap_in_a_namespace_out_of_sight_is_believed_up(ports, elsewhere, monkeypatch):
    port = ports.open("t0", "tap")
    monkeypatch.setattr(links, "find", lambda *_: None)
    ip("link", "set", "t0", "netns", elsewhere)
    ports.pump()
    assert port.status().link_up
    assert port.status().info["netns"] == "unknown"


def test_a_tap_whose_name_was_taken_says_so_and_recovers(ports):
    port = ports.open("t0", "tap")
    # Somebody deletes the tap and makes another interface of that name before we look.
    ip("link", "del", "t0")
    ip("link", "add", "t0", "type", "veth", "peer", "name", "t1")
    ports.pump()
    status = port.status()
    assert not status.link_up
    assert "cannot be made again: interface t0 exists already" in status.info["error"]
    ip("link", "del", "t0")
    assert port.status().link_up
    assert "error" not in port.status().info


def test_a_tap_that_comes_home_is_followed(ports, elsewhere):
    port = ports.open("t0", "tap")
    ip("link", "set", "t0", "netns", elsewhere)
    ports.pump()
    inside(elsewhere, "ip", "link", "set", "t0", "netns", str(os.getpid()))
    ports.pump()
    ip("link", "set", "t0", "up", "mtu", 1350)
    ports.wait(lambda: (port.status().link_up, port.status().mtu) == (True, 1350))


def test_a_renamed_interface_is_still_the_port(ports, driver):
    veth()
    port = ports.open("v0", "system")
    ip("link", "set", "v0", "down")
    ip("link", "set", "v0", "name", "w0")
    ip("link", "set", "w0", "up")
    ports.wait(lambda: port.status().link_up)
    wire = Wire("v1")
    driver(port).send([frame(100)])
    assert wire.frames(1) == [frame(100)]
    wire.close()


def test_a_tap_made_by_the_administrator_is_taken_and_left(ports):
    ip("tuntap", "add", "dev", "t9", "mode", "tap")
    port = ports.open("t9", "tap")
    assert port.status().link_up
    ports.close(port)
    assert links.find("t9") is not None


def test_the_kernel_tells_what_it_dropped(ports):
    veth()
    port = ports.open("v0", "system")
    assert port.status().metrics[("vs_kernel_rx_dropped_total", ())] == 0
    wire = Wire("v1")
    for _ in range(20000):
        wire.send(frame(1500))
    wire.close()
    assert port.status().metrics[("vs_kernel_rx_dropped_total", ())] > 0


def test_errors_say_what_to_do(ports):
    veth()
    ports.open("t0", "tap")
    for name, kind, text in [
        ("nonesuch", "system", "interface nonesuch does not exist: make it"),
        ("lo", "system", "lo is the loopback"),
        ("t0", "tap", "interface t0 is in use by another program"),
        ("v0", "tap", r"interface v0 exists already and is no plain tap device \(kind: veth\)"),
        ("x" * 16, "tap", "longer than 15 bytes"),
        ("x" * 16, "", "longer than 15 bytes"),
        ("tap%d", "tap", "character that the kernel does not take"),
        ("a/b", "internal", "character that the kernel does not take"),
    ]:
        with pytest.raises(PortError, match=text) as caught:
            ports.open(name, kind)
        assert "\n" not in str(caught.value)


def test_a_setting_that_the_kernel_refuses_makes_no_port(ports):
    before = open_files()
    with pytest.raises(PortError, match="cannot set mac 01:00:00:00:00:01 on interface t0: "):
        ports.open("t0", "tap", mac="01:00:00:00:00:01")
    assert links.find("t0") is None
    assert open_files() == before


def test_a_missing_tun_device_is_named(ports, monkeypatch):
    monkeypatch.setattr(tap, "TUN", "/nonexistent/tun")
    with pytest.raises(PortError, match="/nonexistent/tun is missing: modprobe tun"):
        ports.open("t0", "tap")


UNPRIVILEGED = """
import asyncio, os, pathlib, sys
import vswitchd.ports.kernel
from vswitchd.ports import base
os.setgid(65534); os.setuid(65534)
env = base.PortEnv(asyncio.new_event_loop(), pathlib.Path("/"), print)
for name, kind in (("t0", "tap"), ("v0", "")):
    try:
        base.open_port(base.PortConfig(name, kind), env)
    except base.PortError as error:
        print(error)
"""


def test_without_the_right_the_error_names_it(netns):
    import sys

    veth()
    done = subprocess.run([sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True)
    tap_line, system_line = done.stdout.splitlines()
    assert "no permission" in tap_line
    assert "ip tuntap add dev t0 mode tap user 65534" in tap_line
    assert "no permission; run the switch as root or give it CAP_NET_RAW" in system_line
