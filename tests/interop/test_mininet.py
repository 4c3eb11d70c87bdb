"""Mininet, unmodified, over bridges of our switch (deploy/mininet): pingall and iperf, with two controllers."""

import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers import need
from peers.mininet import Mininet
from peers.ryu_controller import Ryu, need_ryu
from peers.site import need_site
from peers.switch import free_tcp_port
from peers.testcontroller import need_tools, start

pytestmark = [pytest.mark.interop, pytest.mark.root]

PINGALL_4 = "*** Results: 0% dropped (12/12 received)"
PINGALL_3 = "*** Results: 0% dropped (6/6 received)"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def mininet():
    need_site()
    need_ryu()
    need_tools()
    need.need_program("unshare")
    with tempfile.TemporaryDirectory(prefix="vsi") as place, ExitStack() as stack:
        yield Mininet(Path(place), stack)


def received(text):
    """Bytes received by a port, as often as dump-ports told them."""
    return [int(each) for each in re.findall(r"rx pkts=\d+, bytes=(\d+)", text)]


def test_pingall_and_iperf_over_a_tree_with_ryu(mininet):
    ryu = Ryu(mininet.place, "ryu.app.simple_switch_13", under=mininet.under)
    ryu.start()
    try:
        text = mininet.mn(
            ["--controller", f"remote,ip=127.0.0.1,port={ryu.port}", "--topo", "tree,2", "--wait"],
            "pingall\npingall\niperf h1 h4\n"
            "h4 iperf -p 5009 -s &\n"
            "sh vsofctl dump-ports s1 1\n"
            "h1 until iperf -p 5009 -n 4M -c h4 | grep /sec; do sleep 0.1; done\n"
            "sh vsofctl dump-ports s1 1\n",
        )
    finally:
        ryu.kill()
    assert text.count(PINGALL_4) == 2, text
    assert re.search(r"\*\*\* Results: \['[\d.]+ \w?bits/sec', '[\d.]+ \w?bits/sec'\]", text), text
    before, after = received(text)
    assert before > MEGABYTE // 10, "iperf went another way"
    assert after - before >= 4 * MEGABYTE
    assert mininet.switch.vsctl("list-br") == "", "a bridge is left over"


@pytest.mark.parametrize("version", ["OpenFlow10", "OpenFlow13"])
def test_a_link_fails_and_comes_back_with_ovs_testcontroller(mininet, version):
    port = free_tcp_port()
    with start(mininet.place, port, "-O", version, under=mininet.under):
        text = mininet.mn(
            ["--controller", f"remote,ip=127.0.0.1,port={port}", "--topo", "linear,3", "--wait"],
            "pingall\nlink s1 s2 down\nh1 ping -c1 -W1 h3\nlink s1 s2 up\nh1 ping -c1 -W20 h3\npingall\ndpctl dump-flows\n",
        )
    assert text.count(PINGALL_3) == 2, text
    assert re.findall(r"1 packets transmitted, (\d) received", text) == ["0", "1"], text
    assert "idle_timeout=60" in text
