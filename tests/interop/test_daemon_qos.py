"""QoS end to end: vsctl configures it, packets wait, OpenFlow, vsappctl and the metrics page tell the same."""

import re

import pytest
from peers import need
from peers.netns import unique
from peers.proc import run
from peers.switch import Switch, total
from peers.wait import until
from test_daemon_ledger import A, B, Wire, frame

pytestmark = [pytest.mark.interop, pytest.mark.root]
SIZE = 1000
SENT = 60


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One daemon, a bridge of two wires; what comes in at 1 goes to queue 1 of 2."""
    need.need_root()
    need.need_program("ip")
    wires = []
    try:
        wires += [Wire(), Wire()]
        with Switch(tmp_path_factory.mktemp("q")) as switch:
            name = unique("vq")
            switch.add_bridge(name, secure=True)
            for number, wire in enumerate(wires, 1):
                switch.add_device(name, wire.port, number)
            switch.set_flows(name, "in_port=1 actions=set_queue:1,output:2\n")
            yield switch, name, *wires
    finally:
        for wire in wires:
            wire.close()


def ovs_ofctl(switch, name, version, *words):
    need.need_program("ovs-ofctl")
    verb, *more = words
    done = run(["ovs-ofctl", "-O", version, verb, f"unix:{switch.run_dir}/{name}.mgmt", *more], check=False)
    return done.stdout


def same(text):
    """A reply without what differs from request to request."""
    return re.sub(r"xid=\w+|duration=[\d.]+s", "", text)


def configure(switch, port, **queue):
    words = (f"other-config:{key.replace('_', '-')}={value}" for key, value in queue.items())
    row = ("--id=@q1", "create", "queue", *words)
    qos = ("--id=@q", "create", "qos", "type=linux-htb", "other-config:max-rate=800000", "queues:1=@q1")
    switch.vsctl("set", "port", port, "qos=@q", "--", *qos, "--", *row)


def waiting(switch, port):
    return switch.json("qos/show", port)["queues"][0]["statistics"]["waiting_packets"]


def test_packets_wait_and_everybody_tells_so(world):
    switch, name, one, two = world
    configure(switch, two.port, min_rate=100_000, max_rate=400_000)  # 50 packets a second
    for _ in range(SENT):
        one.sock.send(frame(B, A, SIZE))
    until(lambda: waiting(switch, two.port) > 0, "packets wait")
    rows = {row["port"]: row for row in switch.json("drops")}
    assert rows[one.port]["closes"]
    assert rows[two.port]["closes"]
    for _ in range(SENT):
        assert two.sock.recv(2000) == frame(B, A, SIZE)
    until(lambda: waiting(switch, two.port) == 0, "no packet waits")
    assert f"tx_packets: {SENT}" in switch.appctl("qos/show", two.port)
    metrics = switch.metrics()
    labels = {"port": two.port, "queue": "1"}
    assert total(metrics, "vs_queue_packets_total", **labels) == SENT
    assert total(metrics, "vs_queue_bytes_total", **labels) == SENT * SIZE
    assert total(metrics, "vs_port_waiting_packets", port=two.port) == 0
    for version in ("OpenFlow13", "OpenFlow10"):
        text = ovs_ofctl(switch, name, version, "queue-stats", "2", "1")
        assert f"port 2 queue 1: bytes={SENT * SIZE}, pkts={SENT}, errors=0, duration=" in text
        assert "OFPQOFC_BAD_QUEUE" in ovs_ofctl(switch, name, version, "queue-stats", "2", "5")
        assert "OFPQOFC_BAD_PORT" in ovs_ofctl(switch, name, version, "queue-stats", "77")


def test_rates_in_tenths_of_a_percent(world):
    switch, name, _, two = world  # a veth says 10 Gb/s
    configure(switch, two.port, min_rate=1_000_000_000, max_rate=2_345_000_000)
    text = ovs_ofctl(switch, name, "OpenFlow13", "queue-get-config", "2")
    assert re.search(r"queue 1: min_rate:10.0% max_rate:23.4%\n", text)
    assert same(switch.ofctl("queue-get-config", name, "2")) == same(text)
    theirs = ovs_ofctl(switch, name, "OpenFlow13", "queue-stats", "2")
    assert same(switch.ofctl("queue-stats", name, "2")) == same(theirs)
    text = ovs_ofctl(switch, name, "OpenFlow10", "queue-get-config", "2")
    assert re.search(r"queue 1: min_rate:10.0%\n", text)


def test_errors_are_one_line_and_change_nothing(world):
    switch, _, _, two = world
    configure(switch, two.port, max_rate=400_000)
    before = switch.appctl("qos/show", two.port)
    for change in (["type=linux-hfsc"], ["other-config:max-rate=1M"]):
        done = run(switch._words("vsctl", "set", "qos", two.port, *change), check=False)
        assert done.returncode == 65
        assert f"Error detected while setting up '{two.port}': QoS: " in done.stderr
        assert switch.appctl("qos/show", two.port) == before
        switch.vsctl("set", "qos", two.port, "type=linux-htb", "other-config:max-rate=800000")
    rest = ("--", "--all", "destroy", "qos", "--", "--all", "destroy", "queue")
    switch.vsctl("clear", "port", two.port, "qos", *rest)
    assert switch.appctl("qos/show", two.port).strip() == f"QoS not configured on {two.port}"
    assert switch.vsctl("list", "qos") == ""


def test_policing(world):
    switch, _, one, two = world
    switch.vsctl("set", "interface", one.port, "ingress_policing_rate=1", "ingress_policing_burst=1")
    before = {row["port"]: row["received"] for row in switch.json("drops")}[one.port]
    for _ in range(20):
        one.sock.send(frame(B, A, SIZE))

    def dropped():
        row = next(row for row in switch.json("drops") if row["port"] == one.port)
        return row["received"] == before + 20 and row["rx_drops"].get("policed", 0)

    until(dropped, "all came in, some were dropped")
    switch.vsctl("set", "interface", one.port, "ingress_policing_rate=0")
    assert two.sock.recv(2000) == frame(B, A, SIZE)
