"""Config space: identity, capabilities of devices that lie, the PCI Express link, and where virtio has its registers."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.fake_vfio import make_config
from vswitchd.ports.vfio import virtio
from vswitchd.ports.vfio.errors import Cause, VfioError
from vswitchd.ports.vfio.pci import Capability, CapId, Command, ConfigSpace, Identity, PcieLink
from vswitchd.ports.vfio.virtio import Place, VirtioLayout

EXPRESS = struct.pack("<HIHHIHH", 2, 0, 0, 0, 0x00000083, 0, 0x0042)


class Space:
    """Config space over plain bytes, with what was written."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.written = []
        self.config = ConfigSpace("0000:01:00.0", self.read, self.write)

    def read(self, offset, length):
        return bytes(self.data[offset : offset + length])

    def write(self, offset, data):
        self.written.append((offset, data))
        self.data[offset : offset + len(data)] = data


def config(*caps, **fields):
    return Space(make_config(caps=caps, **fields)).config


def test_identity():
    identity = config(vendor=0x1AF4, device=0x1041).identity()
    assert identity == Identity(0x1AF4, 0x1041, 0x1AF4, 0x1100, 0x020000, 1)
    assert str(identity) == "1af4:1041"


def test_typed_reads_and_writes():
    space = Space(bytes(range(256)))
    assert (space.config.u8(1), space.config.u16(2), space.config.u32(4)) == (1, 0x0302, 0x07060504)
    space.config.write_u16(8, 0x1234)
    space.config.write_u32(12, 0xA0B0C0D0)
    assert space.written == [(8, b"\x34\x12"), (12, b"\xd0\xc0\xb0\xa0")]
    for bad in ((-1, 1), (255, 2), (256, 1)):
        with pytest.raises(ValueError, match="config space ends"):
            space.config.bytes(*bad)


def test_command_writes_only_what_changes():
    space = Space(make_config(command=0x402))
    space.config.command(on=Command.MEMORY, off=Command.MASTER)
    assert space.written == []
    space.config.command(on=Command.MASTER)
    assert space.written == [(4, b"\x06\x04")]


def test_capabilities_in_their_order():
    caps = config((0xE0, 0x10, EXPRESS), (0x40, 0x01, b""), (0x70, 0x11, b"")).capabilities()
    assert caps == (Capability(0x10, 0xE0), Capability(0x01, 0x40), Capability(0x11, 0x70))


def test_no_list_without_its_bit():
    space = Space(make_config(caps=((0x40, 1, b""),)))
    space.data[6] = 0
    assert space.config.capabilities() == ()


@pytest.mark.parametrize(("start", "following"), [(0x40, 0x40), (0x40, 0x43), (0x41, 0x40)])
def test_ring_of_capabilities_ends(start, following):
    space = Space(make_config(caps=((0x40, 1, b""),)))
    space.data[0x34], space.data[0x41] = start, following
    with pytest.raises(VfioError, match="its list of capabilities does not end") as caught:
        space.config.capabilities()
    assert caught.value.cause == Cause.CONFIG


def test_capability_inside_the_header():
    space = Space(make_config(caps=((0x40, 1, b""),)))
    space.data[0x41] = 0x10
    with pytest.raises(VfioError, match="a capability at 0x10, inside the header"):
        space.config.capabilities()


def test_capability_that_is_cut_off():
    with pytest.raises(VfioError, match="capability EXPRESS at 0xf8 does not fit"):
        config((0xF8, 0x10, b"")).link()


def test_device_that_died_in_between():
    space = Space(make_config(caps=((0x40, 1, b""),)))
    space.data[0x40:0x42] = b"\xff\xff"
    with pytest.raises(VfioError, match="is gone"):
        space.config.capabilities()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=256, max_size=256))
def test_no_config_space_hangs_or_escapes(data):
    space = Space(data)
    for step in (
        space.config.identity,
        space.config.link,
        lambda: [space.config.find(ident, 4) for ident in CapId],
        lambda: virtio.parse(space.config, [0x1000] * 6),
    ):
        try:
            step()
        except VfioError as error:
            assert error.cause in {Cause.CONFIG, Cause.REMOVED}  # noqa: PT017 - either is right


def test_link():
    assert config((0x60, 0x10, EXPRESS)).link() == PcieLink(speed=5.0, width=4, max_speed=8.0, max_width=8)
    assert config().link() is None


# virtio

SIZES = [0, 0x1000, 0, 0, 0x4000, 0]


def cap(offset, kind, bar, start, length, extra=b"", size=None):  # noqa: PLR0917 - as the specification lists them
    body = struct.pack("<BBB3xII", size or 16 + len(extra), kind, bar, start, length) + extra
    return (offset, 0x09, body)


def usual(multiplier=4):
    """As QEMU lays it out."""
    return [
        cap(0x84, 5, 0, 0, 0, bytes(4)),
        cap(0x70, 2, 4, 0x3000, 0x1000, struct.pack("<I", multiplier)),
        cap(0x60, 4, 4, 0x2000, 0x1000),
        cap(0x50, 3, 4, 0x1000, 0x1000),
        cap(0x40, 1, 4, 0x0000, 0x1000),
    ]


def parse(caps):
    return virtio.parse(config(*caps, vendor=0x1AF4, device=0x1041), SIZES)


def test_virtio_layout():
    assert parse(usual()) == VirtioLayout(
        common=Place(4, 0, 0x1000),
        notify=Place(4, 0x3000, 0x1000),
        notify_off_multiplier=4,
        isr=Place(4, 0x1000, 0x1000),
        device=Place(4, 0x2000, 0x1000),
    )


def test_device_structure_may_be_missing():
    assert parse([c for c in usual() if c[0] != 0x60]).device is None


def test_first_usable_structure_counts():
    caps = [cap(0x9C, 1, 1, 0x100, 0x100), cap(0xB0, 3, 7, 0, 0x10), *usual()]
    layout = parse(caps)
    assert layout.common == Place(1, 0x100, 0x100)
    assert layout.isr == Place(4, 0x1000, 0x1000)


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("COMMON", cap(0x40, 1, 4, 0x3FF0, 0x38)),  # reaches out of the BAR
        ("COMMON", cap(0x40, 1, 4, 0, 0x37)),  # too short for struct virtio_pci_common_cfg
        ("COMMON", cap(0x40, 1, 4, 2, 0x100)),  # not aligned
        ("COMMON", cap(0x40, 1, 2, 0, 0x100)),  # a BAR that is not there
        ("COMMON", cap(0x40, 1, 6, 0, 0x100)),  # reserved
        ("COMMON", cap(0x40, 1, 4, 0xFFFFFFFC, 0x40)),  # offset + length beyond 32 bits
        ("COMMON", cap(0x40, 1, 4, 0, 0x1000, size=12)),  # cap_len too short
        ("NOTIFY", cap(0x70, 2, 4, 0x3000, 0x1000, size=16)),  # no room for the multiplier
        ("NOTIFY", cap(0x70, 2, 4, 0x3001, 0x100, bytes(4))),
        ("ISR", cap(0x50, 3, 4, 0x4000, 1)),
    ],
)
def test_structure_that_cannot_be_used(name, replacement):
    caps = [replacement if c[0] == replacement[0] else c for c in usual()]
    with pytest.raises(VfioError, match=f"no usable virtio {name} structure"):
        parse(caps)


@pytest.mark.parametrize(
    ("multiplier", "right"), [(0, True), (2, True), (4096, True), (1, False), (3, False), (6, False)]
)
def test_notify_multiplier(multiplier, right):
    if right:
        assert parse(usual(multiplier)).notify_off_multiplier == multiplier
    else:
        with pytest.raises(VfioError, match="no even power of two"):
            parse(usual(multiplier))


def test_capability_at_the_very_end():
    with pytest.raises(VfioError, match="no usable virtio COMMON"):
        parse([(*cap(244, 1, 4, 0, 16)[:2], b"")])
