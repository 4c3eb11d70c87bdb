"""Two virtio-user guests of DPDK exchange frames: every byte, every counter, and the drop ledger."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers import need, pcap
from peers.backend import Backend
from peers.netns import unique
from peers.pair import Pair, Played, Setup, Shape
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
# What the ring layouts and the numbers of queues have in common; they are test_testpmd_matrix.py's.
SETUPS = {
    "ordinary-pages": Setup(),
    "indirect": Setup(mbuf_size=512, scatter=True),
    "huge-pages": Setup(huge=True),
}


@pytest.fixture(autouse=True)
def _needed() -> None:
    need.need_program("dpdk-testpmd", "setpriv", "stdbuf")


@dataclass(frozen=True, slots=True)
class Frames:
    """What the guests send."""

    there: list[bytes]
    back: list[bytes]


def frames_for(setup: Setup) -> Frames:
    """As many frames as the rings hold."""
    count = SENT_SMALL_MBUFS if setup.mbuf_size else SENT
    return Frames(pcap.spread(count, ports=(1001, 1002, REFUSED_PORT)), pcap.spread(count, way=1))


def start_pair(stack: ExitStack, place: Path, setup: Setup | None = None) -> Pair:
    """Start the testpmd of two guests; it is stopped at the end of the test."""
    pair = Pair(place, setup)
    stack.callback(pair.testpmd.close)
    return pair


def same_frames(received: Sequence[bytes], expected: Sequence[bytes]) -> None:
    """Every frame, byte for byte and in order; says which is the first that differs."""
    assert len(received) == len(expected)
    for number, (one, other) in enumerate(zip(received, expected, strict=True)):
        assert one == other, f"frame {number}"


PORTS = ("vu0", "vu1")


def connect(backend: Backend, place: Path, pair: Pair, frames: Frames, *, listen: bool) -> str:
    """Make a bridge with FLOWS, its two ports and their guests; give its name."""
    bridge = unique("br")
    backend.add_bridge(bridge, secure=True)
    sent = (frames.there, frames.back)
    if listen:
        first, second = (place / f"{port}.sock" for port in PORTS)

        def meet(guest: int) -> None:
            backend.add_vhost(bridge, PORTS[guest], guest + 1, client=(first, second)[guest])

        pair.attach((first, second), sent, Shape(), meet=meet)
    else:
        first, second = (backend.add_vhost(bridge, port, guest + 1) for guest, port in enumerate(PORTS))
        pair.attach((first, second), sent, Shape())
    backend.set_flows(bridge, FLOWS)
    return bridge


def exchange(pair: Pair, frames: Frames) -> Played:
    """Play the frames, a third of one way refused by a flow; check frames and testpmd's counters."""
    there, back = frames.there, frames.back
    wanted = [frame for number, frame in enumerate(there) if number % 3 != 2]
    played = pair.play((len(back), len(wanted)))
    for received, expected in zip(played.received, (back, wanted), strict=True):
        same_frames(received, expected)
    sender, receiver = played.stats
    assert (sender.tx_packets, receiver.rx_packets) == (len(there), len(wanted))
    assert (receiver.tx_packets, sender.rx_packets) == (len(back), len(back))
    return played


def check_counters(backend: Backend, played: Played) -> None:
    """Interface statistics agree with testpmd to the packet and the byte."""
    for port, guest in zip(PORTS, played.stats, strict=True):
        expected = {
            "rx_packets": guest.tx_packets,
            "tx_packets": guest.rx_packets,
            "rx_bytes": guest.tx_bytes,
            "tx_bytes": guest.rx_bytes,
        }

        def agree(port: str = port, expected: dict[str, int] = expected) -> bool:
            seen = backend.statistics(port)
            return expected == {name: seen[name] for name in expected}

        until(agree, f"statistics of {port} are {expected}")


def check_ledger(switch: Switch, played: Played, refused: int) -> None:
    """Prometheus agrees, and whatever came in went out or was dropped under a name that both views give."""
    metrics = switch.metrics()
    rows = {row["port"]: row for row in switch.json("drops")}
    for port, guest, drops in zip(PORTS, played.stats, (refused, 0), strict=True):
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
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
def test_exchange(backend: Backend, place: Path, stack: ExitStack, setup: Setup, listen: bool) -> None:
    if setup.huge:
        need.need_hugepages(224)
    frames = frames_for(setup)
    pair = start_pair(stack, place, setup)
    connect(backend, place, pair, frames, listen=listen)
    played = exchange(pair, frames)
    if listen or isinstance(backend, Switch):  # OVS 3.1 does not count on the ports that it listens on
        check_counters(backend, played)
    if isinstance(backend, Switch):
        check_ledger(backend, played, played.stats[0].tx_packets // 3)


def test_guests_are_killed_and_others_take_their_place(
    backend: Backend, place: Path, stack: ExitStack
) -> None:
    """kill -9 of a guest leaves the port usable: the next one on the same socket loses nothing."""
    frames = frames_for(Setup())
    first = start_pair(stack, place / "first")
    connect(backend, place, first, frames, listen=False)
    exchange(first, frames)
    second = start_pair(stack, place / "second")
    second.testpmd.wait_ready()
    first.testpmd.child.kill()
    second.attach(first.sockets, (frames.there, frames.back), Shape())
    exchange(second, frames)
    if isinstance(backend, Switch):
        rows = {row["port"]: row for row in backend.json("drops")}
        assert rows["vu0"]["received"] == rows["vu1"]["received"] == 2 * SENT


def test_guests_outlive_the_switch(backend: Backend, place: Path, stack: ExitStack) -> None:
    """kill -9 of the switch while the guests listen: it connects to them again and loses nothing."""
    frames = frames_for(Setup())
    pair = start_pair(stack, place)
    bridge = connect(backend, place, pair, frames, listen=True)
    until(pair.testpmd.links_up, "the guests are connected")
    backend.crash_and_restart()
    backend.set_flows(bridge, FLOWS)
    exchange(pair, frames)
