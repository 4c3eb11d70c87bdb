"""Real hosts on kernel ports: their TCP and UDP cross the switch whole, with offloads on and through every pair of ports."""

import subprocess
import sys
from contextlib import ExitStack

import pytest
from fakes.wire import Host, ip, namespace
from outsides import Box

from vswitchd.datapath import dp

pytestmark = pytest.mark.root
MEGABYTES = 8

SERVER = """
import hashlib, socket
listener = socket.create_server(("10.9.0.2", 7777))
print("ready", flush=True)
sock, _ = listener.accept()
digest = hashlib.sha256()
while data := sock.recv(1 << 20):
    digest.update(data)
print(digest.hexdigest())
"""
CLIENT = f"""
import hashlib, random, socket
data = random.Random(5).randbytes(1 << 20)
digest = hashlib.sha256()
sock = socket.create_connection(("10.9.0.2", 7777), timeout=60)
for _ in range({MEGABYTES}):
    sock.sendall(data)
    digest.update(data)
sock.close()
print(digest.hexdigest())
"""
UDP_SERVER = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("10.9.0.2", 7777))
sock.settimeout(60)
print("ready", flush=True)
print([len(sock.recv(65536)) for _ in range(40)])
"""
UDP_SEGMENT_CLIENT = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(17, 103, 1000)  # UDP_SEGMENT: the kernel sends frames of up to 64 KB for the interface to cut
for _ in range(2):
    sock.sendto(b"x" * 19500, ("10.9.0.2", 7777))
"""


class Net:
    """Two hosts on two ports of a bridge that learns."""

    def __init__(self, stack, kinds):
        stack.enter_context(namespace())
        self.box = Box(stack, manual=False)
        self.hosts = []
        for i, kind in enumerate(kinds, 1):
            host = Host()
            stack.callback(host.close)
            self.hosts.append(host)
            port = f"h{i}"
            if kind == "veth":
                ip("link", "add", port, "type", "veth", "peer", "name", "eth0")
                ip("link", "set", port, "up")
                _, handle = self.box.add(port, "system", 10 + i)
                host.take("eth0", f"10.9.0.{i}/24")
            else:
                _, handle = self.box.add(port, kind, 10 + i)
                host.take(port, f"10.9.0.{i}/24")
            handle.set_link(True)
        self.box.bridge.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.output(0xFFFFFFFA),)))
        self.box.bridge.commit()
        self.box.dp.set_idle_sleep(50)
        self.box.dp.set_cores([-1])

    def talk(self, server, client):
        """Run a program on each host; what they printed at the end."""
        listening = subprocess.Popen(
            self.hosts[1].command(sys.executable, "-c", server), stdout=subprocess.PIPE, text=True
        )
        try:
            assert listening.stdout.readline() == "ready\n"
            said = self.hosts[0].run(sys.executable, "-c", client)
            return listening.communicate(timeout=30)[0], said
        finally:
            listening.kill()
            listening.wait()
            listening.stdout.close()


@pytest.mark.parametrize(
    "kinds", [("tap", "tap"), ("veth", "veth"), ("tap", "veth"), ("veth", "internal")], ids="-".join
)
def test_a_long_tcp_stream_is_whole(kinds):
    with ExitStack() as stack:
        net = Net(stack, kinds)
        got, sent = net.talk(SERVER, CLIENT)
        assert got == sent
        counters = [port.counters() for port in net.box.dp.ports.values()]
        assert max(c.rx_bytes for c in counters) > MEGABYTES << 20
        average = max(c.rx_bytes / max(c.rx_packets, 1) for c in counters)
        assert average > 1514, "segmentation offload did not cross the switch"
        assert not any(
            {"bad_offload", "offload_unsupported", "error"} & {*c.rx_drops, *c.tx_drops} for c in counters
        )


@pytest.mark.parametrize("kinds", [("veth", "veth"), ("veth", "tap")], ids="-".join)
def test_udp_segmentation_offload_crosses(kinds):
    with ExitStack() as stack:
        net = Net(stack, kinds)
        got, _ = net.talk(UDP_SERVER, UDP_SEGMENT_CLIENT)
        assert got == f"{([1000] * 19 + [500]) * 2}\n"
        for port in net.box.dp.ports.values():
            assert not port.counters().rx_drops.get("bad_offload")
