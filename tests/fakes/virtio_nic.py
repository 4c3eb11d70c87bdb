"""Variants of the virtio device model, and its ring memory as the device sees it."""

from __future__ import annotations

import struct
from enum import IntFlag

import pytest

from fakes.nic_models import BIG, BUFFERS
from vswitchd.datapath.dp import ffi, lib

KIND = "virtio_net"


class Model(IntFlag):
    """Variants of the model: tests/devices/virtio_net_model.h."""

    PACKED = 1
    NO_MERGE = 2
    NO_CTRL = 4
    NO_RSS = 8
    NO_ECN = 16
    PAST_IOMMU = 32
    LEGACY = 64
    PIECES = 128
    BACKWARDS = 256
    STUBBORN = 512
    SILENT = 1024
    POLLS = 2048
    NO_MAC = 4096
    TRANSITIONAL = 8192
    NO_VERSION_1 = 1 << 14
    NO_FILTERS = 1 << 15
    NO_MAC_ADDR = 1 << 16
    NO_VECTORS = 1 << 17
    NO_CONFIG = 1 << 18
    SMALL_RINGS = 1 << 19
    BAD_DOORBELL = 1 << 20
    STUCK = 1 << 21
    LATE = 1 << 22


RINGS = pytest.mark.parametrize("rings", [Model(0), Model.PACKED], ids=["split", "packed"])


def ring(offset: int, form: str, *values: int) -> None:
    """Write into the ring memory of the NIC in slot 0, as its device could."""
    packed = struct.pack(form, *values)
    ffi.memmove(ffi.cast("uint8_t *", lib.vs_dma_base()) + BUFFERS + BIG + offset, packed, len(packed))
