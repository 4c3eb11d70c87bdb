"""Packets through real ports: vsappctl, vsctl and Prometheus tell the same, and the ledger closes."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from peers import need
from peers.netns import unique
from peers.proc import run
from peers.switch import Switch, total
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
N = 100


def frame(dst, src, size=100):
    head = bytes.fromhex(dst.replace(":", "") + src.replace(":", "") + "88b5")
    return head + bytes(size - len(head))


class Wire:
    """A veth pair: `port` for the switch, the other end as a raw socket in our hands."""

    def __init__(self):
        self.port, self.far = unique("vl"), unique("vl")
        run(["ip", "link", "add", self.port, "type", "veth", "peer", "name", self.far])
        for name in (self.port, self.far):
            run(["sysctl", "-q", f"net.ipv6.conf.{name}.disable_ipv6=1"], check=False)
            run(["ip", "link", "set", name, "up"])
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        self.sock.bind((self.far, 0x88B5))
        self.sock.settimeout(60)

    def close(self):
        self.sock.close()
        run(["ip", "link", "del", self.port], check=False)


@pytest.fixture
def wires():
    need.need_root()
    need.need_program("ip")
    made = []
    try:
        made += [Wire(), Wire()]
        yield made
    finally:
        for wire in made:
            wire.close()


@pytest.fixture
def switch(place):
    with Switch(place / "s") as running:
        yield running


def bridge(switch, wires, *, secure=False):
    """Add a bridge with the wires on ports 1 and 2; its LOCAL interface then keeps quiet."""
    name = unique("vb")
    switch.add_bridge(name, secure=secure)
    run(["sysctl", "-q", f"net.ipv6.conf.{name}.disable_ipv6=1"], check=False)
    for number, wire in enumerate(wires, 1):
        switch.add_device(name, wire.port, number)
    return name


def ledgers(switch):
    return {row["port"]: row for row in switch.json("drops")}


def check(switch):
    """Assert that the ledger closes and that all three views of it agree; return it."""
    rows = ledgers(switch)
    assert all(row["closes"] for row in rows.values()), rows
    metrics = switch.metrics()
    for name, row in rows.items():
        assert total(metrics, "vs_port_receive_packets_total", port=name) == row["received"]
        assert total(metrics, "vs_port_transmit_packets_total", port=name) == row["sent"]
        drops = sum(row["rx_drops"].values()) + sum(row["tx_drops"].values())
        assert total(metrics, "vs_port_drops_total", port=name) == drops
        want = {"rx_packets": row["received"], "tx_packets": row["sent"]}
        until(
            lambda n=name, w=want: w.items() <= switch.statistics(n).items(), f"statistics of {name}: {want}"
        )
    return rows


def test_normal_forwards_learns_and_accounts(switch, wires):
    one, two = wires
    br = bridge(switch, wires)
    for _ in range(N):
        one.sock.send(frame(B, A))
    for _ in range(N):
        assert two.sock.recv(2000) == frame(B, A)
    two.sock.send(frame(A, B))
    assert one.sock.recv(2000) == frame(A, B)
    rows = check(switch)
    assert (rows[one.port]["received"], rows[one.port]["forwarded"]) == (N, N)
    assert rows[two.port]["sent"] == N
    learned = {(row["port"], row["mac"]) for row in switch.json("fdb/show", br)}
    assert {(1, A), (2, B)} <= learned
    assert f"    1     0  {A}" in switch.appctl("fdb/show", br)
    assert switch.appctl("fdb/flush", br).strip() == "table successfully flushed"
    assert switch.json("fdb/show", br) == []
    cores = switch.json("dpif-netdev/pmd-perf-show")
    assert sum(core["packets"] for core in cores) >= N + 1
    assert "core_id" in switch.appctl("dpif-netdev/pmd-rxq-show")


def test_every_drop_has_its_name(switch, wires):
    one, _ = wires
    bridge(switch, wires, secure=True)
    for _ in range(N):
        one.sock.send(frame(B, A))
    until(lambda: ledgers(switch)[one.port]["received"] == N, "all packets are counted")
    assert check(switch)[one.port]["rx_drops"] == {"table_miss": N}
    assert "drop table_miss" in switch.appctl("drops", one.port)


def test_traces_of_packets_made_up_and_of_real_ones(switch, wires):
    one, two = wires
    br = bridge(switch, wires)
    made_up = switch.json("ofproto/trace", br, f"in_port={one.port}", frame(B, A).hex())
    assert sorted(made_up["datapath_actions"]) == ["2", "LOCAL"]
    assert A not in {row["mac"] for row in switch.json("fdb/show", br)}  # nothing was learned
    assert check(switch)[one.port]["received"] == 0
    words = ("ofproto/trace", "--live", one.port, f"dl_src={A},dl_type=0x88b5", "-n", "3", "--timeout", "60")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(switch.appctl, *words)
        until(lambda: one.sock.send(frame(B, A)) and asked.done(), "three packets are traced")
    text = asked.result()
    assert text.count("Datapath actions: ") == 3
    assert f'bridge("{br}")' in text
    assert two.sock.recv(2000) == frame(B, A)
    check(switch)


def test_vlans_keep_access_ports_apart(switch, wires):
    one, two = wires
    br = bridge(switch, wires)
    switch.vsctl("set", "Port", one.port, "tag=10", "--", "set", "Port", two.port, "tag=20")
    one.sock.send(frame("ff:ff:ff:ff:ff:ff", A))
    until(lambda: ledgers(switch)[one.port]["received"] == 1, "the packet is counted")
    assert check(switch)[two.port]["offered"] == 0
    switch.vsctl("set", "Port", two.port, "tag=10")
    one.sock.send(frame("ff:ff:ff:ff:ff:ff", A))
    assert two.sock.recv(2000) == frame("ff:ff:ff:ff:ff:ff", A)
    assert {row["vlan"] for row in switch.json("fdb/show", br) if row["mac"] == A} == {10}
