"""Frames of ixgbe: the longest and shortest, offloads that the device knows and those it does not, descriptors that lie."""

from typing import Any

import pytest
from fakes.ixgbe_registers import notes, read
from fakes.nic_models import CSUM_GOOD, ERROR, IOVA, Nic

from vswitchd.datapath.dp import ffi, lib

MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000099")
RDBAL, TDT = 0x1000, 0x6018


def frame(size: int) -> bytes:
    """A frame to us, of no known protocol."""
    return (MAC + OTHER + b"\x88\xb5" + bytes(i & 255 for i in range(size)))[:size]


def csum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_longest_frames(nics: Any) -> None:
    """9,702 bytes of MTU with two tags, in five buffers; one byte more is the device's to drop."""
    nic = nics("ixgbe")
    nic.start(mtu=nic.info.max_mtu)
    most = nic.info.max_mtu + 22
    assert most == 9724
    assert [nic.receive(frame(most)), nic.receive(frame(most + 1)), nic.receive(frame(70))] == [1, -1, 1]
    assert nic.rx() == [frame(most), frame(70)]
    nic.tx(frame(most), frame(most + 1))
    assert [data for _, data in nic.taken()] == [frame(most)]
    assert nic.drops() == {"mtu_exceeded": 1}
    assert nic.stats().rx_length == 1
    assert notes(nic) == []


def test_damaged_frames_are_counted_only(nics: Any) -> None:
    """The device drops and counts them."""
    nic = nics("ixgbe")
    nic.start()
    assert nic.receive(frame(100), ERROR) == -1
    assert nic.receive(frame(101), CSUM_GOOD) == 1
    assert nic.rx() == [frame(101)]
    stats = nic.stats()
    assert (stats.rx_crc, stats.rx_errors, stats.rx_packets, stats.rx_bytes) == (1, 1, 1, 105)


@pytest.mark.parametrize("size", [100, 2500, 8999])
@pytest.mark.parametrize(("start", "offset"), [(34, 2), (34, 8), (35, 2), (54, 16)])
def test_checksums_that_only_software_knows(nics: Any, size: int, start: int, offset: int) -> None:
    """ICMP, and what else has its sum where neither TCP nor UDP has it; TCP beside them."""
    nic = nics("ixgbe")
    nic.start(mtu=9000)
    raw = frame(size)
    nic.tx(raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset)
    want = raw[: start + offset] + csum(raw[start:]).to_bytes(2, "big") + raw[start + offset + 2 :]
    assert [data for _, data in nic.taken()] == [want]
    assert notes(nic) == []


def train(tags: int, payload: int) -> tuple[bytes, dict[str, int]]:
    """A TCP train, and its offload fields. The checksum field holds no real sum."""
    ip = bytes.fromhex("450000000001400040060000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    ip = ip[:2] + (40 + payload).to_bytes(2, "big") + ip[4:]
    tcp = bytes.fromhex("0001000200000000000000005010ffff00000000")
    data = MAC + OTHER + b"\x81\x00\x00\x05" * tags + b"\x08\x00" + ip + tcp + bytes(payload)
    start = 34 + 4 * tags
    fields = {"csum": lib.VS_CSUM_PARTIAL, "csum_start": start, "csum_offset": 16, "gso_size": 100,
              "gso_type": lib.VS_GSO_TCPV4, "gso_hdr_len": start + 20}  # fmt: skip
    return data, fields


def test_odd_trains(nics: Any) -> None:
    """A train without payload is a packet; one behind thirty tags is cut by software."""
    nic = nics("ixgbe")
    nic.start()
    data, fields = train(0, 0)
    nic.tx(data, **fields)
    assert [len(sent) for _, sent in nic.taken()] == [60]
    data, fields = train(30, 1000)
    nic.tx(data, **fields)
    assert [len(sent) for _, sent in nic.taken()] == [14 + 120 + 40 + 100] * 10
    data, fields = train(2, 1000)
    nic.tx(data, **fields)
    assert len(nic.taken()) == 10
    assert notes(nic) == []


def test_context_is_said_once(nics: Any) -> None:
    """Frames with the same headers share it: as many descriptors as frames, and one more."""
    nic = nics("ixgbe")
    nic.start()
    raw = frame(100)
    for core in range(3):
        nic.tx(*[raw] * 10, csum=lib.VS_CSUM_PARTIAL, csum_start=34, csum_offset=6)
        assert read(nic, TDT) == 1 + 10 * (core + 1)
        assert len(nic.taken()) == 10


def test_reports_are_rare(nics: Any) -> None:
    """A group of descriptors has one report; its buffers come back with it."""
    nic = nics("ixgbe")
    nic.start(tx_desc=64)
    for _ in range(50):
        nic.tx(*[frame(60)] * 32)
        assert len(nic.taken()) == 32
    assert not nic.drops()
    assert notes(nic) == []


def test_context_changes(nics: Any) -> None:
    """TCP, UDP and trains of the same headers in turn: each gets its own."""
    nic = nics("ixgbe")
    nic.start()
    data, fields = train(0, 1000)
    plain = {name: value for name, value in fields.items() if not name.startswith("gso")}
    for _ in range(3):
        for size, more in (
            (0, {"csum_offset": 6}),
            (0, {}),
            (100, fields),
            (200, fields | {"gso_size": 200}),
        ):
            nic.tx(data, **(plain | more))
            sent = [out for _, out in nic.taken()]
            assert len(sent) == (1000 // size if size else 1)
            offset = 34 + (plain | more)["csum_offset"]
            if not size:
                want = data[34:offset] + bytes(2) + data[offset + 2 :]
                start = int.from_bytes(data[offset : offset + 2], "big").to_bytes(2, "big")
                assert int.from_bytes(sent[0][offset : offset + 2], "big") == csum(want + start)
    assert notes(nic) == []


def test_padding_is_zero(nics: Any) -> None:
    """What is shorter than the device pads says nothing of the frames before it."""
    nic = nics("ixgbe")
    nic.start(tx_desc=64)
    for _ in range(4):
        nic.tx(*[b"\xff" * 1000] * 32)
        nic.taken()
        nic.tx(*[frame(14)] * 32)
        assert {data for _, data in nic.taken()} == {frame(14) + bytes(46)}
    assert notes(nic) == []


def test_filter_changes_while_nothing_comes_in(nics: Any) -> None:
    """FCTRL is written with the receive path held, and frames come again after that."""
    nic = nics("ixgbe")
    nic.start()
    for mode in (0, lib.VS_NIC_RX_ALLMULTI, lib.VS_NIC_RX_PROMISC):
        assert lib.vs_nic_set_rx_mode(nic.handle, mode) == 0
        assert nic.receive(frame(60)) == 1
    assert notes(nic) == []


def write_back(nic: Nic, at: int, length: int, status: int) -> None:
    """What a device may say in receive descriptor `at`, whatever is in the buffer."""
    ring = read(nic, RDBAL) + (read(nic, RDBAL + 4) << 32) - IOVA
    to = ffi.cast("uint64_t *", lib.vs_dma_base()) + (ring + 16 * at) // 8
    to[1] = length << 32 | status


DONE, END, DAMAGED = 1, 2, 1 << 29


@pytest.mark.parametrize(
    ("says", "drops"),
    [
        ([(0, DONE | END)], {"device_error": 1}),
        ([(13, DONE | END)], {"runt": 1}),
        ([(2049, DONE | END)], {"device_error": 1}),
        ([(65535, DONE | END)], {"device_error": 1}),
        ([(100, DONE | END | DAMAGED)], {"device_error": 1}),
        ([(2048, DONE), (0, DONE | END)], {"device_error": 1}),
        ([(2048, DONE), (65535, DONE), (60, DONE | END)], {"device_error": 1}),
        ([(2048, DONE)] * 8, {"oversize": 1}),
        ([(2048, DONE)] * 20 + [(60, DONE | END)], {"oversize": 2}),
    ],
)
def test_descriptors_that_lie(nics: Any, says: list[tuple[int, int]], drops: dict[str, int]) -> None:
    """What cannot be is dropped with a name, and what follows it is received."""
    nic = nics("ixgbe")
    nic.start()
    for at, (length, status) in enumerate(says):
        write_back(nic, at, length, status)
    whole = len(says) == 21  # the last five of those are a frame of 8,252 bytes
    assert [len(data) for data in nic.rx()] == [4 * 2048 + 60] * whole
    assert nic.drops() == drops
    assert nic.counters.rx_packets == sum(drops.values()) + whole
    write_back(nic, len(says), 77, DONE | END)
    assert [len(data) for data in nic.rx()] == [77]


def test_part_of_a_frame_waits(nics: Any) -> None:
    """Nothing is received before the last part is there."""
    nic = nics("ixgbe")
    nic.start()
    write_back(nic, 0, 2048, DONE)
    assert nic.rx() == []
    assert nic.counters.rx_packets == 0
    write_back(nic, 1, 52, DONE | END)
    assert [len(data) for data in nic.rx()] == [2100]
