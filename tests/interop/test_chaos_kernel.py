"""Interfaces that come, go and have the wrong owner under the whole daemon: errors are shown, and heal."""

import pytest
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "xnb0"


@pytest.fixture
def switch(place):
    need.need_root()
    with namespace():
        run(["ip", "link", "set", "lo", "up"])
        with Switch(place / "s") as running:
            running.add_bridge(BR)
            yield running


def add(switch, name, *settings):
    """Add a port; give what vsctl complains about."""
    words = ("vsctl", "--timeout=30", "add-port", BR, name, "--", "set", "Interface", name, *settings)
    return run(switch._words(*words), check=False).stderr


def error(switch, name):
    return switch.vsctl("get", "Interface", name, "error")


def add_veth(name):
    run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"])
    run(["ip", "link", "set", name, "up"])


@pytest.mark.parametrize("kind", ["tap", "internal"])
@pytest.mark.parametrize("how", ["delete", "rename"])
def test_a_name_that_is_taken_becomes_free(switch, kind, how):
    add_veth("xnt")
    assert "exists already" in add(switch, "xnt", f"type={kind}")
    assert "exists already" in error(switch, "xnt")
    run(["ip", "link", "set", "xnt", "up"])
    assert switch.vsctl("get", "Interface", "xnt", "ofport") == "-1"
    if how == "delete":
        run(["ip", "link", "del", "xnt"])
    else:
        run(["ip", "link", "set", "xnt", "down"])
        run(["ip", "link", "set", "xnt", "name", "xnother"])
    until(lambda: error(switch, "xnt") == "[]", "the port is made")
    assert int(switch.vsctl("get", "Interface", "xnt", "ofport")) > 0
    assert "tun" in run(["ip", "-d", "link", "show", "xnt"]).stdout


def test_a_running_port_loses_its_interface(switch):
    add_veth("xns")
    assert add(switch, "xns", "type=system") == ""
    number = switch.vsctl("get", "Interface", "xns", "ofport")
    run(["ip", "link", "del", "xns"])
    until(lambda: "was deleted" in error(switch, "xns"), "the loss is shown")
    assert switch.vsctl("get", "Interface", "xns", "link_state") == "down"
    add_veth("xns")
    until(lambda: error(switch, "xns") == "[]", "it is found again")
    assert switch.vsctl("get", "Interface", "xns", "ofport") == number


@pytest.mark.parametrize("kind", ["system", "tap"])
def test_settings_that_the_kernel_refuses_are_tried_once(switch, kind):
    """Each attempt causes news of the interface, which must not cause the next attempt."""
    if kind == "system":
        add_veth("xnm")
    text = add(switch, "xnm", f"type={kind}", 'mac="01:00:00:00:00:01"', "mtu_request=1400")
    assert "cannot set mtu 1400, mac 01:00:00:00:00:01 on interface xnm" in text
    assert switch.vsctl("list-ports", BR) == "xnm"
    assert (switch.state / "vswitchd.log").read_text().count("cannot set mtu") == 1
    switch.vsctl("remove", "Interface", "xnm", "mac", '"01:00:00:00:00:01"')
    assert error(switch, "xnm") == "[]"
