"""Two virtio-user guests of DPDK exchange frames: every byte, every counter, and the drop ledger."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Frames:
    """What the guests of a shape send."""

    shape: Shape
    there: list[bytes]
    back: list[bytes]


def frames_for(shape: Shape) -> Frames:
    """As many frames as the rings hold."""
    count = SENT_SMALL_MBUFS if shape.mbuf_size else SENT
    there = pcap.spread(count, ports=(1001, 1002, REFUSED_PORT))
    return Frames(shape, there, pcap.spread(count, way=1))


def start_pair(
    stack: ExitStack, place: Path, sockets: tuple[Path, Path], frames: Frames, *, listen: bool
) -> Pair:
    """Start the guests; they are stopped at the end of the test."""
    pair = Pair(place, sockets, (frames.there, frames.back), frames.shape, listen=listen)
    stack.callback(pair.testpmd.close)
    return pair


def same_frames(received: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Every frame, byte for byte and in order; says which is the first that differs."""
    assert len(received) == len(expected)
    for number, (one, other) in enumerate(zip(received, expected, strict=True)):
        assert one == other, f"frame {number}"


def connect(backend: Backend, place: Path, bridge: str, *, listen: bool) -> tuple[Path, Path]:
    """Make a bridge with two ports and FLOWS; give the sockets of its guests."""
    backend.add_bridge(bridge, secure=True)
    first, second = (
        backend.add_vhost(bridge, port, number, client=place / f"{port}.sock" if listen else None)
        for number, port in ((1, "vu0"), (2, "vu1"))
    )
    backend.set_flows(bridge, FLOWS)
    return first, second


def exchange(pair: Pair, frames: Frames) -> Played:
    """Play the frames, a third of one way refused by a flow; check frames and testpmd's counters."""
    there, back = frames.there, frames.back
    wanted = [frame for number, frame in enumerate(there) if number % 3 != 2]
    played = pair.play((len(back), len(wanted)))
    for received, expected in zip(played.received, (back, wanted), strict=True):
        if frames.shape.queues == 1:
            same_frames(received, expected)
        else:
            same_frames(sorted(received), sorted(expected))
    sender, receiver = played.stats
    assert (sender.tx_packets, receiver.rx_packets) == (len(there), len(wanted))
    assert (receiver.tx_packets, sender.rx_packets) == (len(back), len(back))
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
    frames = frames_for(shape)
    sockets = connect(backend, place, unique("br"), listen=listen)
    played = exchange(start_pair(stack, place, sockets, frames, listen=listen), frames)
    if listen or isinstance(backend, Switch):  # OVS 3.1 does not count on the ports that it listens on
        check_counters(backend, played)
    if isinstance(backend, Switch):
        check_ledger(backend, played, played.stats[0].tx_packets // 3)


def test_guests_are_killed_and_others_take_their_place(
    backend: Backend, place: Path, stack: ExitStack
) -> None:
    """kill -9 of a guest leaves the port usable: the next one on the same socket loses nothing."""
    frames = frames_for(Shape())
    sockets = connect(backend, place, unique("br"), listen=False)
    for number in range(2):
        pair = start_pair(stack, place / str(number), sockets, frames, listen=False)
        exchange(pair, frames)
        pair.testpmd.child.kill()
    if isinstance(backend, Switch):
        rows = {row["port"]: row for row in backend.json("drops")}
        assert rows["vu0"]["received"] == rows["vu1"]["received"] == 2 * SENT


def test_guests_outlive_the_switch(backend: Backend, place: Path, stack: ExitStack) -> None:
    """kill -9 of the switch while the guests listen: it connects to them again and loses nothing."""
    frames = frames_for(Shape())
    bridge = unique("br")
    sockets = connect(backend, place, bridge, listen=True)
    pair = start_pair(stack, place, sockets, frames, listen=True)
    pair.testpmd.wait_ready()
    until(pair.testpmd.links_up, "the guests are connected")
    backend.crash_and_restart()
    backend.set_flows(bridge, FLOWS)
    exchange(pair, frames)
