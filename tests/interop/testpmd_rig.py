"""One switch, one bridge for each way to meet a guest, and one testpmd, for as many cases as there are."""

import os
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers.netns import unique
from peers.pair import Pair, Played, Setup, Shape
from peers.switch import Metrics, Switch, parse_metrics, total
from peers.testpmd import PortStats
from peers.wait import until

REFUSED_PORT = 9
FLOWS = f"""\
priority=40000,in_port=1,udp,tp_dst={REFUSED_PORT},actions=drop
in_port=1,actions=output:2
in_port=2,actions=output:1
"""


@dataclass(frozen=True, slots=True)
class Frames:
    """What the two guests send, and which of it a flow refuses."""

    there: list[bytes]
    back: list[bytes]
    refused: frozenset[int] = frozenset()

    @property
    def wanted(self) -> list[bytes]:
        """What guest 1 gets."""
        return [frame for number, frame in enumerate(self.there) if number not in self.refused]


class Rig:
    """The switch polls on two processors where it has them, so that a port has two transmit queues in use.

    Ports are `s0`, `s1` where the switch listens; `c0`, `c1`, which exist while `meet` makes them, where it connects.
    """

    def __init__(self, place: Path, setup: Setup | None = None, *, mtu: int = 0) -> None:
        self.place = place
        self.switch = Switch(place / "state")
        self._cpus = sorted(os.sched_getaffinity(0))[:2]
        self._setup, self._mtu, self._pair = setup, mtu, None
        self._bridges = {listen: unique("br") for listen in (False, True)}
        self._pairs = 0
        self._page = ""

    def open(self) -> None:
        """Start the switch, with the ports that stay."""
        self.switch.start()
        mask = sum(1 << cpu for cpu in self._cpus)
        self.switch.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={mask:#x}")
        for bridge in self._bridges.values():
            self.switch.add_bridge(bridge, secure=True)
            self.switch.set_flows(bridge, FLOWS)
        self._add_ports(listen=False)

    def close(self) -> None:
        """End testpmd and the switch."""
        self._end_pair()
        self.switch.close()

    def _end_pair(self) -> None:
        if self._pair is not None:
            self._pair.testpmd.close()
            self._pair = None

    def ports(self, *, listen: bool) -> tuple[str, str]:
        """Names of the switch's ports; `listen`: of those whose guests listen."""
        return ("c0", "c1") if listen else ("s0", "s1")

    def _sockets(self, *, listen: bool) -> tuple[Path, Path]:
        first, second = self.ports(listen=listen)
        return (
            (self.place / first, self.place / second)
            if listen
            else (self.switch.run_dir / first, self.switch.run_dir / second)
        )

    def _add_ports(self, *, listen: bool, which: Sequence[int] = (0, 1)) -> None:
        words: list[str] = []
        for guest in which:
            name, socket = self.ports(listen=listen)[guest], self._sockets(listen=listen)[guest]
            words += ["--", "add-port", self._bridges[listen], name, "--", "set", "Interface", name]
            words += [f"ofport_request={guest + 1}"]
            words += (
                ["type=dpdkvhostuserclient", f"options:vhost-server-path={socket}"]
                if listen
                else ["type=dpdkvhostuser"]
            )
            words += [f"mtu_request={self._mtu}"] if self._mtu else []
        self.switch.vsctl(*words[1:])

    def come_back(self) -> None:
        """Make the ports that connect again: they do so at once."""
        self._add_ports(listen=True)

    def hang_up(self) -> None:
        """Remove the ports that connect: their connections end."""
        first, second = self.ports(listen=True)
        self.switch.vsctl("--if-exists", "del-port", first, "--", "--if-exists", "del-port", second)

    @contextmanager
    def guests(self, frames: Frames, shape: Shape, *, listen: bool) -> Iterator[Pair]:
        """Guests that are gone at the end. After a failure testpmd is started anew, so that the next case is a fair one."""
        if self._pair is None:
            self._pairs += 1
            self._pair = Pair(self.place / f"pair{self._pairs}", self._setup)
        sent = (frames.there, frames.back)
        try:
            self._pair.attach(
                self._sockets(listen=listen),
                sent,
                shape,
                meet=(lambda guest: self._add_ports(listen=True, which=[guest])) if listen else None,
            )
            yield self._pair
            self._pair.detach()
        except BaseException:
            self._end_pair()
            raise
        finally:
            if listen:
                self.hang_up()

    def metrics(self) -> Metrics:
        """Scrape the metrics page; its address is asked for once, as that takes longer than to read it."""
        if not self._page:
            self._page = f"http://{self.switch.metrics_address()}/metrics"
        with urllib.request.urlopen(self._page, timeout=60) as answer:
            return parse_metrics(answer.read().decode())

    def _enabled(self, ports: Sequence[str], queues: int) -> Metrics | None:
        metrics = self.metrics()
        running = [total(metrics, "vs_vhost_ring_enabled", port=port) for port in ports]
        return metrics if running == [2 * queues] * len(ports) else None

    def exchange(self, pair: Pair, frames: Frames, shape: Shape, *, listen: bool, burst: int = 32) -> Played:
        """Play the frames: every byte, the order, the counters of both sides, the ledger, the queues."""
        ports = self.ports(listen=listen)
        # A link is up before all rings are enabled. What is sent in between is dropped, as the specification says.
        before = until(lambda: self._enabled(ports, shape.queues), f"all rings of {ports} are enabled")
        try:
            played = pair.play((len(frames.back), len(frames.wanted)), burst=burst)
        except AssertionError as error:
            drops = self.metrics().get("vs_port_drops_total")
            raise AssertionError(f"{error}; drops: {drops}") from None
        check_payload(played.queues[0], frames.back, shape.queues)
        check_payload(played.queues[1], frames.there, shape.queues, frames.refused)
        sender, receiver = played.stats
        assert (sender.tx_packets, receiver.rx_packets) == (len(frames.there), len(frames.wanted))
        assert (receiver.tx_packets, sender.rx_packets) == (len(frames.back), len(frames.back))

        def agreeing() -> Metrics | None:
            after = self.metrics()
            settled = [
                _settled(after, before, name, guest) for name, guest in zip(ports, played.stats, strict=True)
            ]
            return after if all(settled) else None

        after = until(agreeing, f"counters of {ports} agree with {played.stats}")
        for name, drops in zip(ports, (len(frames.refused), 0), strict=True):
            check_ledger(after, before, name, drops=drops, queues=shape.queues)
        # A core sends to one queue of a port.
        for queues in played.queues:
            assert sum(1 for queue in queues if queue) == min(len(self._cpus), shape.queues)
        return played


def check_payload(
    captures: Sequence[Sequence[bytes]],
    sent: Sequence[bytes],
    queues: int,
    refused: frozenset[int] = frozenset(),
) -> None:
    """All that was sent and not refused is there once, unchanged, and in order as far as it came from one queue."""
    number = {frame: at for at, frame in enumerate(sent)}
    assert len(number) == len(sent)
    arrived = [[number.get(frame) for frame in capture] for capture in captures]
    assert all(at is not None for capture in arrived for at in capture), "a frame was changed"
    flat = sorted(at for capture in arrived for at in capture if at is not None)
    assert flat == [at for at in range(len(sent)) if at not in refused]
    for capture in arrived:
        for queue in range(queues):
            mine = [at for at in capture if at is not None and at % queues == queue]
            assert mine == sorted(mine), f"frames of queue {queue} out of order"


def _grown(after: Metrics, before: Metrics, name: str, **labels: str) -> float:
    return total(after, name, **labels) - total(before, name, **labels)


def _settled(after: Metrics, before: Metrics, port: str, guest: PortStats) -> bool:
    """Say whether the switch counts, to the packet and the byte, what the guest counts."""
    wanted = {
        "vs_port_receive_packets_total": guest.tx_packets,
        "vs_port_receive_bytes_total": guest.tx_bytes,
        "vs_port_transmit_packets_total": guest.rx_packets,
        "vs_port_transmit_bytes_total": guest.rx_bytes,
    }
    return all(_grown(after, before, name, port=port) == count for name, count in wanted.items())


def check_ledger(after: Metrics, before: Metrics, port: str, *, drops: int, queues: int) -> None:
    """What came in went out or was dropped under a name; nothing else was; every queue took part."""

    def grown(name: str, **labels: str) -> float:
        return _grown(after, before, name, port=port, **labels)

    received = grown("vs_port_receive_packets_total")
    assert grown("vs_port_drops_total", direction="receive") == drops
    assert received == grown("vs_port_forwarded_packets_total") + drops
    assert grown("vs_port_drops_total", direction="transmit") == 0
    assert grown("vs_port_offered_packets_total") == grown("vs_port_transmit_packets_total")
    assert grown("vs_vhost_refused_total") == 0
    by_queue = [grown("vs_rxq_packets_total", queue=str(queue)) for queue in range(queues)]
    assert all(by_queue)
    assert sum(by_queue) == received
    for ring in range(2 * queues):
        assert total(after, "vs_vhost_ring_enabled", port=port, ring=str(ring)) == 1
