"""Hosts in network namespaces, on veth and tap ports of a bridge, ping and carry TCP through NORMAL."""

import hashlib
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers import need
from peers.backend import Backend
from peers.netns import NetNs, unique
from peers.switch import Switch
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]

FIRST, SECOND = "10.78.0.1", "10.78.0.2"
PORT = 5001
SIZE = 4 << 20
SERVER = f"""
import hashlib, socket
with socket.create_server(("{SECOND}", {PORT})) as door:
    print("listening", flush=True)
    link, _ = door.accept()
    digest, total = hashlib.sha256(), 0
    while data := link.recv(65536):
        digest.update(data)
        total += len(data)
    link.sendall(digest.hexdigest().encode())
    link.close()
"""
CLIENT = f"""
import socket
body = bytes(range(256)) * ({SIZE} // 256)
with socket.create_connection(("{SECOND}", {PORT}), 20) as link:
    link.settimeout(60)
    link.sendall(body)
    link.shutdown(socket.SHUT_WR)
    print(link.recv(64, socket.MSG_WAITALL).decode())
"""


@pytest.fixture(autouse=True)
def _needed() -> None:
    need.need_root()
    need.need_program("ip", "ping", "ethtool", "setpriv")


def add_host(backend: Backend, stack: ExitStack, bridge: str, kind: str, *, number: int) -> NetNs:
    """Make a namespace that is port `number` of `bridge` by a veth or a tap."""
    host = stack.enter_context(NetNs())
    address = (FIRST, SECOND)[number - 1]
    if kind == "veth":
        backend.add_device(bridge, host.add_veth(f"{address}/24"), number)
        return host
    if not isinstance(backend, Switch):
        pytest.skip("the stand-in has no tap ports of this kind")
    tap = unique("vt")
    backend.add_tap(bridge, tap, number)
    until((Path("/sys/class/net") / tap).exists, f"tap {tap} is there")
    host.take(tap, f"{address}/24")
    return host


@pytest.mark.parametrize("kinds", [("veth", "veth"), ("tap", "tap"), ("tap", "veth")], ids="-".join)
def test_ping_and_tcp(backend: Backend, place: Path, stack: ExitStack, kinds: tuple[str, str]) -> None:
    bridge = unique("br")
    backend.add_bridge(bridge)
    first = add_host(backend, stack, bridge, kinds[0], number=1)
    second = add_host(backend, stack, bridge, kinds[1], number=2)
    first.wait_ping(SECOND)
    assert first.ping(SECOND, count=5) == 5
    assert second.ping(FIRST, count=5) == 5
    server = stack.enter_context(second.spawn([sys.executable, "-c", SERVER], place / "server.log"))
    server.wait_output("listening")
    answer = first.run(sys.executable, "-c", CLIENT, timeout=90).strip()
    assert answer == hashlib.sha256(bytes(range(256)) * (SIZE // 256)).hexdigest()
