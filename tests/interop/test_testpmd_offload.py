"""Frames longer than the wire's: jumbo frames, and partial checksums and TCP segmentation between guests of DPDK."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest
from peers import need, pcap
from peers.netns import unique
from peers.pair import RING, Setup, Shape
from peers.switch import Switch, total
from peers.testpmd import Testpmd
from peers.wait import until
from testpmd_rig import Frames, Rig

pytestmark = pytest.mark.interop

LAYOUTS = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
JUMBO_MTU, WIRE_MTU, ETHERNET = 9000, 1500, 14
# Six segments, the last one shorter; of IPv6 they fill the wire's MTU.
MSS, BULK = 1440, 8000
ADDRESSES = 12  # testpmd's csum engine replaces them
PUSH = 0x08


@pytest.fixture(autouse=True)
def _needed() -> None:
    need.need_program("dpdk-testpmd", "setpriv", "stdbuf")


@pytest.fixture
def jumbo_rig(place: Path) -> Iterator[Rig]:
    rig = Rig(place, Setup(scatter=True), mtu=JUMBO_MTU)
    try:
        rig.open()
        yield rig
    finally:
        rig.close()


@LAYOUTS
def test_jumbo(jumbo_rig: Rig, packed: bool) -> None:
    """Frames up to an MTU of 9000, which lie in five buffers of the guest."""
    largest = JUMBO_MTU + ETHERNET
    sizes = [1515 + (number * 197) % (largest - 1515) for number in range(118)] + [largest, pcap.SMALLEST]
    there, back = ([pcap.udp(at, size, way=way) for at, size in enumerate(sizes)] for way in (0, 1))
    frames, shape = Frames(there, back), Shape(f"packed_vq={packed:d}")
    with jumbo_rig.guests(frames, shape, listen=False) as pair:
        jumbo_rig.exchange(pair, frames, shape, listen=False)


def start_guests(stack: ExitStack, place: Path, name: str, sockets: list[Path], *, packed: bool) -> Testpmd:
    """Guests that are not started yet, each crossed with a capture NAME-out0, ...; the first sends NAME-in."""
    vdevs = []
    nothing = place / "nothing.pcap"
    pcap.write(nothing, [])
    for guest, socket in enumerate(sockets):
        vdevs.append(f"net_virtio_user{guest},path={socket},queue_size={RING},packed_vq={packed:d}")
        played = place / f"{name}-in.pcap"
        source = played if guest == 0 and played.exists() else nothing
        vdevs.append(f"net_pcap{guest},rx_pcap={source},tx_pcap={place}/{name}-out{guest}.pcap")
    options = ["--no-flush-rx", "--disable-device-start", f"--rxd={RING}", f"--txd={RING}"]
    testpmd = Testpmd(place, vdevs, name=name, options=options, mbufs=8192)
    stack.callback(testpmd.close)
    testpmd.wait_ready()
    return testpmd


@LAYOUTS
def test_offloads(place: Path, stack: ExitStack, packed: bool) -> None:
    """One sender leaves checksums and segmentation to the device; one receiver takes both, the other neither."""
    sent = [pcap.udp(number, 60 + 53 * number) for number in range(20)]
    sent += [pcap.tcp(number, 1 + 67 * number, v6=v6) for number in range(20) for v6 in (False, True)]
    sent += [pcap.tcp(number, BULK, v6=v6) for number in range(100, 110) for v6 in (False, True)]
    pcap.write(place / "sender-in.pcap", sent)
    switch = stack.enter_context(Switch(place / "state"))
    bridge = unique("br")
    switch.add_bridge(bridge, secure=True)
    switch.set_flows(bridge, "in_port=1,actions=output:2,output:3\n")
    sockets = [switch.add_vhost(bridge, f"vu{number}", number) for number in (1, 2, 3)]

    receivers = start_guests(stack, place, "receivers", sockets[1:], packed=packed)
    receivers.commands(
        [f"port config 2 rx_offload {what} on" for what in ("tcp_cksum", "udp_cksum", "tcp_lro")]
    )
    receivers.commands(["port config 0 rx_offload scatter on", "port config 2 rx_offload scatter on"])
    receivers.command("port start all")
    receivers.start()
    sender = start_guests(stack, place, "sender", sockets[:1], packed=packed)
    sender.commands(["port config 0 tx_offload multi_segs on", "csum set udp hw 0", "csum set tcp hw 0"])
    sender.commands(["csum set ip sw 0", f"tso set {MSS} 0", "port start all"])
    features = {port: negotiated(switch, port) for port in ("vu1", "vu2", "vu3")}
    assert {"csum", "host_tso4", "host_tso6"} <= features["vu1"]
    assert not {"guest_csum", "guest_tso4", "guest_tso6"} & features["vu2"]
    assert {"guest_csum", "guest_tso4", "guest_tso6"} <= features["vu3"]
    sender.start("csum")

    pieces = len(sent) - 20 + 20 * -(-BULK // MSS)
    until(
        lambda: [receivers.stats()[port].tx_packets for port in (1, 3)] == [pieces, len(sent)],
        f"receivers have {pieces} and {len(sent)} frames",
        seconds=20,
    )
    plain, able = (pcap.read(place / f"receivers-out{guest}.pcap") for guest in (0, 1))
    check_as_sent(sent, able)
    check_completed(sent, plain)
    metrics = switch.metrics()
    for port in features:
        assert total(metrics, "vs_port_drops_total", port=port) == 0
    assert total(metrics, "vs_port_transmit_bytes_total", port="vu3") == sum(map(len, able))


def negotiated(switch: Switch, port: str) -> set[str]:
    """Names of the features that the guest of a port has taken."""
    found = switch.metrics()["vs_vhost_feature_info"]
    return {labels["feature"] for labels, _ in found if labels["port"] == port}


def check_as_sent(sent: list[bytes], received: list[bytes]) -> None:
    """Whole frames, their checksums begun as the sender left them, not completed in vain."""
    assert len(received) == len(sent)
    for before, after in zip(map(pcap.segment, sent), map(pcap.segment, received), strict=True):
        assert after.partial
        assert after.payload == before.payload
        assert (after.v6, after.protocol, after.sequence, after.flags) == (
            before.v6, before.protocol, before.sequence, before.flags)  # fmt: skip


def check_completed(sent: list[bytes], received: list[bytes]) -> None:
    """Frames that fit the wire, their checksums right; those of one long frame are that frame's bytes in order."""
    assert max(map(len, received)) <= WIRE_MTU + ETHERNET
    whole = [frame for frame in sent if len(frame) <= WIRE_MTU + ETHERNET]
    for before, after in zip(whole, received, strict=False):
        assert after[ADDRESSES:] == before[ADDRESSES:]
    pieces = [pcap.segment(frame) for frame in received[len(whole) :]]
    assert all(piece.complete for piece in pieces)
    runs = [list(run) for _, run in groupby(pieces, key=lambda piece: (piece.v6, piece.sequence // 100_000))]
    for frame, run in zip(sent[len(whole) :], runs, strict=True):
        before = pcap.segment(frame)
        assert b"".join(piece.payload for piece in run) == before.payload
        assert [piece.sequence for piece in run] == [before.sequence + at for at in range(0, BULK, MSS)]
        assert [piece.flags for piece in run] == [before.flags & ~PUSH] * (len(run) - 1) + [before.flags]
