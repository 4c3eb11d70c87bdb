"""Checksums and segmentation by every NIC driver on its device model, beside those of software."""

from typing import Any

import pytest
from fakes.nic_frames import ALL, flow, frame, partial, sent
from fakes.nic_models import CSUM_BAD, CSUM_GOOD, KINDS

from vswitchd.datapath.dp import ffi, lib

pytestmark = pytest.mark.parametrize("kind", KINDS)


def offload_of(i: int) -> Any:
    """Offload fields of packet i of the last rx."""
    fields = ffi.new("struct vs_port_test_offload *")
    lib.vs_port_test_offload_of(i, fields)
    return fields


def test_receive_checksum(nics: Any, kind: str) -> None:
    """The device's word is taken for right checksums only."""
    nic = nics(kind)
    if not nic.info.features & lib.VS_NIC_F_RX_CSUM:
        pytest.fail("no checksum offload")
    nic.start()
    for flags in (CSUM_GOOD, CSUM_BAD, 0):
        nic.receive(flow(1), flags)
    assert len(nic.rx()) == 3
    assert [offload_of(i).csum for i in range(3)] == [lib.VS_CSUM_VALID, lib.VS_CSUM_NONE, lib.VS_CSUM_NONE]
    nic.stop()
    nic.start(features_off=ALL)
    nic.receive(flow(1), CSUM_GOOD)
    assert len(nic.rx()) == 1
    assert offload_of(0).csum == lib.VS_CSUM_NONE


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tags", [0, 1, 2])
def test_transmit_checksum(nics: Any, kind: str, proto: str, version: int, tags: int) -> None:
    """Completed by the device, or by software: the frame is the same."""
    raw, whole, start, offset, _ = partial(proto, version, tags, bytes(range(101)))
    nic = nics(kind)
    for off in (0, ALL):
        nic.start(features_off=off)
        nic.tx(raw, raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset)
        nic.tx(frame(64))
        nic.tx(raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset)
        got = sent(nic)
        assert got == [whole, whole, frame(64), whole]
        nic.stop()
    assert not nic.faults


def test_large_packets_one_after_the_other(nics: Any, kind: str) -> None:
    """There are few buffers for them: what the device is done with is used again."""
    raw, _, start, offset, head = partial("tcp", 4, 0, bytes(60000))
    nic = nics(kind)
    nic.start(tx_desc=nic.info.max_desc // nic.info.desc_multiple * nic.info.desc_multiple)
    for _ in range(80):
        nic.tx(
            raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset,
            gso_type=lib.VS_GSO_TCPV4, gso_size=1400, gso_hdr_len=head,
        )  # fmt: skip
        assert sent(nic)
    assert not nic.drops()


@pytest.mark.parametrize(("version", "tags"), [(4, 0), (4, 1), (6, 0), (6, 1)])
@pytest.mark.parametrize("size", [(1400, 400), (1400, 1400), (9000, 1400), (60000, 1400), (65000, 536)])
def test_segmentation(nics: Any, kind: str, version: int, tags: int, size: tuple[int, int]) -> None:
    """The train that the device makes is the one that software makes."""
    payload, mss = size
    raw, _, start, offset, head = partial("tcp", version, tags, bytes(i & 255 for i in range(payload)))
    nic = nics(kind)
    trains = []
    for off in (0, ALL):
        nic.start(features_off=off)
        nic.tx(
            raw,
            csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset,
            gso_type=lib.VS_GSO_TCPV4 if version == 4 else lib.VS_GSO_TCPV6, gso_size=mss, gso_hdr_len=head,
        )  # fmt: skip
        nic.tx(frame(64))
        trains.append(sent(nic))
        assert not nic.drops(), off
        nic.stop()
    assert [len(data) - head for data in trains[1][:-1]] == [mss] * (payload // mss) + [payload % mss][
        : payload % mss
    ]
    assert trains[0] == trains[1]
    assert not nic.faults
