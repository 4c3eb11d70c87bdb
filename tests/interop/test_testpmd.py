"""Two virtio-user guests of DPDK exchange frames: every byte, every counter, and the drop ledger."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from peers import need, pcap
from peers.backend import Backend
from peers.netns import unique
from peers.pair import Pair, Played, Shape
from peers.switch import Switch, total
from peers.wait import until

pytestmark = pytest.mark.interop

# Fewer than the ring holds, so that nothing is lost however long a guest is kept from its processor. A
# frame takes up to four descriptors where the mbufs are small.
SENT, SENT_SMALL_MBUFS = 900, 240
REFUSED_PORT = 9
FLOWS = f"""\
priority=40000,in_port=1,udp,tp_dst={REFUSED_PORT},actions=drop
in_port=1,actions=output:2
in_port=2,actions=output:1
"""
SHAPES = {
    "mergeable": Shape(),
    "not-mergeable": Shape("mrg_rxbuf=0,in_order=0"),
    "two-queues": Shape(queues=2),
    "two-queues-not-mergeable": Shape("mrg_rxbuf=0,in_order=0", queues=2),
    "indirect": Shape(mbuf_size=512),
    "huge-pages": Shape(huge=True),
}


@pytest.fixture(autouse=True)
def _needed() -> None:
    need.need_program("dpdk-testpmd", "setpriv", "stdbuf")


def same_frames(received: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Every frame, byte for byte and in order; says which is the first that differs."""
    assert len(received) == len(expected)
    for number, (one, other) in enumerate(zip(received, expected, strict=True)):
        assert one == other, f"frame {number}"


def exchange(backend: Backend, place: Path, stack: ExitStack, shape: Shape, *, listen: bool) -> Played:
    """Play frames each way, a third of one way refused by a flow; check frames and testpmd's counters."""
    bridge = unique("br")
    backend.add_bridge(bridge, secure=True)
    sockets = tuple(
        backend.add_vhost(bridge, port, number, client=place / f"{port}.sock" if listen else None)
        for number, port in ((1, "vu0"), (2, "vu1"))
    )
    assert len(sockets) == 2
    backend.set_flows(bridge, FLOWS)
    count = SENT_SMALL_MBUFS if shape.mbuf_size else SENT
    there = pcap.spread(count, ports=(1001, 1002, REFUSED_PORT))
    wanted = [frame for number, frame in enumerate(there) if number % 3 != 2]
    back = pcap.spread(count, way=1)
    pair = Pair(place, sockets, (there, back), shape, listen=listen)
    stack.callback(pair.testpmd.close)
    played = pair.play((len(back), len(wanted)))
    for received, expected in zip(played.received, (back, wanted), strict=True):
        if shape.queues == 1:
            same_frames(received, expected)
        else:
            same_frames(sorted(received), sorted(expected))
    sender, receiver = played.stats
    assert (sender.tx_packets, receiver.rx_packets) == (count, len(wanted))
    assert (receiver.tx_packets, sender.rx_packets) == (count, count)
    return played


def check_counters(backend: Backend, played: Played) -> None:
    """Interface statistics agree with testpmd to the packet and the byte."""
    for port, guest in zip(("vu0", "vu1"), played.stats, strict=True):
        expected = {
            "rx_packets": guest.tx_packets,
            "tx_packets": guest.rx_packets,
            "rx_bytes": guest.tx_bytes,
            "tx_bytes": guest.rx_bytes,
        }

        def agree(port: str = port, expected: dict[str, int] = expected) -> bool:
            seen = backend.statistics(port)
            return expected == {name: seen[name] for name in expected}

        until(agree, f"statistics of {port} are {expected}", seconds=10)


def check_ledger(switch: Switch, played: Played, refused: int) -> None:
    """Prometheus agrees, and whatever came in went out or was dropped under a name that both views give."""
    metrics = switch.metrics()
    rows = {row["port"]: row for row in switch.json("drops")}
    for port, guest, drops in zip(("vu0", "vu1"), played.stats, (refused, 0), strict=True):
        assert total(metrics, "vs_port_receive_packets_total", port=port) == guest.tx_packets
        assert total(metrics, "vs_port_receive_bytes_total", port=port) == guest.tx_bytes
        assert total(metrics, "vs_port_transmit_packets_total", port=port) == guest.rx_packets
        assert total(metrics, "vs_port_transmit_bytes_total", port=port) == guest.rx_bytes
        row = rows[port]
        assert (row["received"], row["offered"], row["sent"]) == (
            guest.tx_packets,
            guest.rx_packets,
            guest.rx_packets,
        )
        assert sum(row["rx_drops"].values()) == drops
        assert row["received"] == row["forwarded"] + drops
        assert row["tx_drops"] == {}
        assert row["closes"]
        for reason, count in row["rx_drops"].items():
            labels = {"port": port, "direction": "receive", "reason": reason}
            assert total(metrics, "vs_port_drops_total", **labels) == count
        assert total(metrics, "vs_port_drops_total", port=port) == drops


@pytest.mark.parametrize("listen", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_exchange(backend: Backend, place: Path, stack: ExitStack, shape: Shape, listen: bool) -> None:
    if shape.huge:
        need.need_hugepages(192)
    played = exchange(backend, place, stack, shape, listen=listen)
    if listen or isinstance(backend, Switch):  # OVS 3.1 does not count on the ports that it listens on
        check_counters(backend, played)
    if isinstance(backend, Switch):
        check_ledger(backend, played, played.stats[0].tx_packets // 3)
