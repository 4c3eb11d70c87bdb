"""virtio on two kinds of rings, with what a device may leave out; header fields of frames, both ways."""

from collections.abc import Callable
from typing import Any

import pytest
import test_nic_drivers as drivers
import test_nic_offloads as offloads
from fakes.nic_frames import frame, partial, sent
from fakes.nic_models import PARTIAL, Nic, Refused, forward
from fakes.virtio_nic import KIND, RINGS, Model

from vswitchd.datapath.dp import ffi, lib

PLAIN = (drivers.test_receives, drivers.test_sends, drivers.test_rings_wrap, drivers.test_nic_to_nic)
FULL = (drivers.test_full_transmit_ring, drivers.test_empty_receive_ring, drivers.test_stop_and_start)
REST = (
    drivers.test_jumbo, drivers.test_too_long, drivers.test_link, drivers.test_receive_queues,
    drivers.test_transmit_queues, drivers.test_receive_filter, drivers.test_own_mac, drivers.test_pulled_out,
    drivers.test_bad_configuration, offloads.test_receive_checksum,
)  # fmt: skip
VARIANTS: dict[str, tuple[Model, tuple[Callable[..., None], ...]]] = {
    "packed": (Model.PACKED, PLAIN + FULL + REST),
    "backwards": (Model.BACKWARDS, (*PLAIN, drivers.test_full_transmit_ring)),
    "packed backwards": (Model.PACKED | Model.BACKWARDS, (*PLAIN, drivers.test_full_transmit_ring)),
    "polls": (Model.POLLS, (drivers.test_sends, drivers.test_full_transmit_ring)),
    "packed polls": (Model.PACKED | Model.POLLS, (drivers.test_sends, drivers.test_full_transmit_ring)),
    "no merging": (Model.NO_MERGE, (drivers.test_receives, drivers.test_nic_to_nic)),
    "no control queue": (Model.NO_CTRL, (drivers.test_receives, drivers.test_sends, drivers.test_link)),
    "transitional": (Model.TRANSITIONAL, (drivers.test_receives, drivers.test_sends)),
    "no device structure": (Model.NO_CONFIG, (drivers.test_sends,)),
}


@pytest.fixture
def run(nics: Any) -> Callable[..., None]:
    """Run a test of all drivers on a variant of the model."""

    def one(test: Callable[..., None], model: Model, *words: Any) -> None:
        made: list[Nic] = []

        def make(kind: str, **how: Any) -> Nic:
            made.append(nics(kind, int(model), slot=len(made) % 2, **how))
            return made[-1]

        test(make, KIND, *words)
        for nic in made:
            nic.stop()

    return one


@pytest.mark.parametrize("name", VARIANTS)
def test_like_any_nic(run: Callable[..., None], name: str) -> None:
    """The tests of all drivers, on devices that do other things than the one they meet there."""
    model, tests = VARIANTS[name]
    for test in tests:
        run(test, model)


def test_packed_interrupts_and_offloads(run: Callable[..., None]) -> None:
    """The others, which have parameters."""
    for vectors in (True, 1):
        run(drivers.test_interrupts, Model.PACKED, vectors)
    for version in (4, 6):
        run(offloads.test_segmentation, Model.PACKED, version, 0, (60000, 1448))
    raw, whole, start, offset, _ = partial("tcp", 4, 1, bytes(range(101)))
    run(lambda nics, kind: checksum(nics(kind), raw, whole, start, offset), Model.PACKED)


def checksum(nic: Nic, raw: bytes, whole: bytes, start: int, offset: int) -> None:
    """The device completes it."""
    nic.start()
    nic.tx(raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset)
    assert sent(nic) == [whole]
    assert not nic.faults


@pytest.mark.parametrize("seed", range(1, 13))
def test_hostile_packed_device(run: Callable[..., None], seed: int) -> None:
    """As for all drivers; and with the engine running backwards."""
    run(drivers.test_hostile_device, Model.PACKED | (Model.BACKWARDS if seed % 2 else 0), seed)


@RINGS
def test_positions_wrap(nics: Any, rings: Model) -> None:
    """More frames than 16 bits count."""
    a, b = nics(KIND, int(rings)), nics(KIND, int(rings))
    for nic in (a, b):
        nic.start(rx_desc=1024, tx_desc=1024)
    batch = [frame(60, seed) for seed in range(32)]
    for turn in range(2100):
        for data in batch[: 1 if turn % 500 == 0 else 32]:
            a.receive(data)
        forward(a, b)
        if turn % 500 == 499 or turn > 2090:
            got = sent(b)
            assert got[-32:] == batch
        elif turn % 8 == 0:
            b.models.model_run(b.model)
            b.taken()
    assert a.counters.rx_packets == b.counters.tx_packets == 2100 * 32 - 5 * 31
    assert not a.faults + b.faults


# --- receive ---


def fields(i: int = 0) -> dict[str, int]:
    """Offload fields of packet i of the last rx."""
    got = ffi.new("struct vs_port_test_offload *")
    lib.vs_port_test_offload_of(i, got)
    names = ("csum", "csum_start", "csum_offset", "gso_type", "gso_size")
    return {name: getattr(got, name) for name in names}


@RINGS
def test_checksum_and_segments_received(nics: Any, rings: Model) -> None:
    """A large packet whose checksum is to be completed comes as it was sent, with its fields; another NIC completes it."""
    a, b = nics(KIND, int(rings)), nics(KIND, int(rings))
    a.start()
    b.start()
    raw, _, start, offset, head = partial("tcp", 4, 0, bytes(i & 255 for i in range(20000)))
    how = {"csum_start": start, "csum_offset": offset, "gso_type": lib.VS_GSO_TCPV4, "gso_size": 1448}
    assert a.receive(raw, PARTIAL, **how) == 1
    assert a.rx() == [raw]
    assert fields() == {"csum": lib.VS_CSUM_PARTIAL, **how}
    a.receive(raw, PARTIAL, **how)
    assert forward(a, b) == 1
    train = sent(b)
    assert [len(data) - head for data in train] == [1448] * 13 + [20000 - 13 * 1448]
    assert b"".join(data[head:] for data in train) == raw[head:]


@RINGS
@pytest.mark.parametrize(
    "wrong",
    [
        {"csum_offset": 15}, {"csum_start": 12}, {"csum_start": 60000}, {"csum_offset": 65535},
        {"gso_type": 4, "gso_size": 1000}, {"gso_type": 1, "gso_size": 0}, {"gso_type": 77, "gso_size": 9},
    ],
)  # fmt: skip
def test_bad_header(nics: Any, rings: Model, wrong: dict[str, int]) -> None:
    """Fields that contradict the packet cost that packet."""
    nic = nics(KIND, int(rings))
    nic.start()
    raw, _, start, offset, _ = partial("tcp", 4, 0, bytes(101))
    how = {"csum_start": start, "csum_offset": offset} | wrong
    assert [nic.receive(raw, PARTIAL, **how), nic.receive(frame(60))] == [1, 1]
    assert nic.rx() == [frame(60)]
    assert nic.drops() == {"bad_offload": 1}
    assert fields()["csum"] == 0


@RINGS
def test_fields_mean_nothing_when_not_negotiated(nics: Any, rings: Model) -> None:
    """Without GUEST_CSUM the driver does not look at them."""
    nic = nics(KIND, int(rings))
    nic.start(features_off=lib.VS_NIC_F_RX_CSUM)
    nic.receive(frame(100), PARTIAL, csum_start=9, csum_offset=9, gso_type=77)
    assert nic.rx() == [frame(100)]
    assert fields()["csum"] == fields()["gso_type"] == 0


@RINGS
def test_small_pieces(nics: Any, rings: Model) -> None:
    """Frames in buffers that the device did not fill: headers come together in the head, and forwarding keeps order."""
    a, b = nics(KIND, int(rings | Model.PIECES)), nics(KIND, int(rings))
    for nic in (a, b):
        nic.start(mtu=9000)
    frames = [frame(size, size) for size in (88, 89, 187, 188, 189, 193, 288, 289, 1000, 1514, 4900)]
    for data in frames:
        assert a.receive(data) == 1
    assert a.rx() == frames
    for data in frames:
        a.receive(data)
    assert forward(a, b) == len(frames)
    assert sent(b) == frames
    raw, _, start, offset, _ = partial("tcp", 6, 2, bytes(400))
    a.receive(raw, PARTIAL, csum_start=start, csum_offset=offset)
    assert a.rx() == [raw]
    assert fields()["csum_start"] == start
    assert [a.receive(frame(5300)), a.receive(frame(60))] == [1, 1]
    assert a.rx() == [frame(60)]
    assert a.drops() == {"oversize": 1}
    assert not a.faults + b.faults


@RINGS
def test_rest_of_a_frame_is_waited_for(nics: Any, rings: Model) -> None:
    """A device that does not give a frame's buffers back at once is not taken at its word."""
    nic = nics(KIND, int(rings | Model.LATE))
    nic.start(mtu=9000)
    for size in (9000, 2500):
        assert nic.receive(frame(size)) == 1
        assert nic.rx() == []
        assert nic.rx() == []
        nic.taken()
        assert nic.rx() == [frame(size)]


@RINGS
def test_pool_runs_dry(nics: Any, rings: Model) -> None:
    """Without fresh buffers frames stay where they are, whole, until there are some."""
    nic = nics(KIND, int(rings))
    nic.start(mtu=9000)
    frames = [frame(60, 1), frame(9000, 2), frame(60, 3)] * 20
    for data in frames:
        assert nic.receive(data) == 1
    others = []
    while (free := lib.vs_dma_n_free_buffers(0)) >= 32:
        others.append(nics(KIND, slot=1))
        size = min(1024, 1 << free.bit_length() - 1)
        others[-1].start(n_rxq=min(8, free // size), rx_desc=size)
    few = nic.rx()
    assert few == frames[: len(few)]
    assert len(few) < 32
    for other in others:
        other.stop()
    rest = []
    while more := nic.rx():
        rest += more
    assert few + rest == frames


def test_without_merging(nics: Any) -> None:
    """A frame has one buffer, so the MTU is bounded by it, and large packets are not asked for."""
    nic = nics(KIND, int(Model.NO_MERGE))
    assert nic.info.max_mtu == 2048 - 22
    with pytest.raises(Refused, match="MTU"):
        nic.start(mtu=9000)
    nic.start(mtu=2026)
    assert [nic.receive(frame(2048)), nic.receive(frame(2049)), nic.receive(frame(60))] == [1, 0, 1]
    assert nic.rx() == [frame(2048), frame(60)]


# --- transmit ---


@RINGS
def test_ecn(nics: Any, rings: Model) -> None:
    """A device that cannot segment with ECN gets segments; the train is the same, in order with its neighbours."""
    raw, _, start, offset, head = partial("tcp", 4, 0, bytes(4000))
    raw = raw[: start + 13] + bytes([raw[start + 13] | 0xC0]) + raw[start + 14 :]
    trains = []
    for model in (rings, rings | Model.NO_ECN):
        nic = nics(KIND, int(model))
        nic.start()
        nic.tx(
            raw, raw,
            csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset,
            gso_type=lib.VS_GSO_TCPV4 | lib.VS_GSO_ECN, gso_size=1448, gso_hdr_len=head,
        )  # fmt: skip
        nic.tx(frame(60))
        trains.append(sent(nic))
        assert not nic.faults
        nic.stop()
    assert trains[0] == trains[1]
    assert [data[start + 13] & 0xC0 for data in trains[0][:3]] == [0xC0, 0x40, 0x40]
    assert (len(trains[0]), trains[0][-1]) == (7, frame(60))
