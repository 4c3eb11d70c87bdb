"""One device: BARs around the MSI-X table, power, reset, interrupts of the three kinds, and being asked to let go."""

import asyncio
import os
import struct

import pytest

from tests.fakes.fake_vfio import FakeBar, FakeDevice, FakeKernel, make_config
from vswitchd.ports.vfio.abi import Irq
from vswitchd.ports.vfio.errors import VfioError
from vswitchd.ports.vfio.regions import MsixTable, Region, RegionFlag, areas_of
from vswitchd.ports.vfio.session import Vfio

A = "0000:01:00.0"
MMAP = RegionFlag.READ | RegionFlag.WRITE | RegionFlag.MMAP


def msix(vectors, bar, offset):
    return (0x70, 0x11, struct.pack("<HII", vectors - 1, offset | bar, 0))


def power(state):
    return (0x50, 0x01, struct.pack("<HH", 3, state | 0x100))


@pytest.fixture
def hardware():
    return FakeDevice(A, "7")


@pytest.fixture
def kernel(hardware):
    kernel = FakeKernel(hardware)
    yield kernel
    assert kernel.left() == []


@pytest.fixture
def vfio(kernel):
    vfio = Vfio(kernel, 64 << 20)
    yield vfio
    vfio.close()


def test_registers_are_read_and_written_where_they_are(vfio, hardware):
    hardware.bars[4] = FakeBar(0x4000)
    device = vfio.open(A)
    assert [bar.size for bar in device.bars] == [0x20000, 0, 0, 0, 0x4000, 0]
    assert device.bars[4].mapped == 0x4000
    assert device.bars[4].at(0x3000, 0x1000) - device.bars[4].address == 0x3000
    assert device.bars[0].address != device.bars[4].address


def test_bar_smaller_than_a_page(vfio, hardware):
    hardware.bars[1] = FakeBar(128)
    bar = vfio.open(A).bars[1]
    assert (bar.size, bar.mapped) == (128, 128)
    with pytest.raises(VfioError, match="has 128 bytes"):
        bar.at(120, 16)


def test_bar_is_mapped_around_the_table(vfio, hardware):
    hardware.bars[0] = FakeBar(0x8000, areas=((0, 0x2000), (0x4000, 0x4000)), msix_mappable=False)
    bar = vfio.open(A).bars[0]
    assert bar.mapped == 0x2000
    assert bar.at(0x1FF0, 16) == bar.address + 0x1FF0
    high = bar.at(0x4000, 0x4000)
    assert bar.at(0x5000, 4) == high + 0x1000
    for hole in ((0x2000, 4), (0x1FF0, 32), (0x3FFC, 8)):
        with pytest.raises(VfioError, match="cannot be mapped"):
            bar.at(*hole)


def test_table_at_the_beginning_leaves_the_rest(vfio, hardware):
    hardware.config = make_config(caps=(msix(5, 0, 0),))
    hardware.bars[0] = FakeBar(0x3000, areas=((0x1000, 0x2000),), msix_mappable=False)
    bar = vfio.open(A).bars[0]
    assert bar.address is None
    assert bar.mapped == 0
    assert bar.at(0x1000, 8)


@pytest.mark.parametrize(
    ("region", "table", "expected"),
    [
        (Region(0, MMAP, 0x8000, 0, (), False), MsixTable(0, 0x2010, 0x50), ((0, 0x2000), (0x3000, 0x5000))),
        (Region(0, MMAP, 0x8000, 0, (), False), MsixTable(0, 0, 0x1001), ((0x2000, 0x6000),)),
        (Region(0, MMAP, 0x8000, 0, (), False), MsixTable(0, 0x7000, 0x1000), ((0, 0x7000),)),
        (Region(0, MMAP, 0x1000, 0, (), False), MsixTable(0, 0, 0x100), ()),
        (Region(0, MMAP, 0x1000, 0, (), False), MsixTable(0, 0x9000, 0x100), ((0, 0x1000),)),
        (Region(0, MMAP, 0x8000, 0, (), True), MsixTable(0, 0x2010, 0x50), ((0, 0x8000),)),
        (Region(0, MMAP, 0x8000, 0, (), False), MsixTable(3, 0x2010, 0x50), ((0, 0x8000),)),
        (Region(0, MMAP, 0x8000, 0, (), False), None, ((0, 0x8000),)),
        (Region(0, RegionFlag.READ | RegionFlag.WRITE, 0x8000, 0, (), False), None, ()),
        (Region(0, MMAP, 0, 0, (), False), None, ()),
        (Region(0, MMAP, 0x8000, 0, ((0, 0x1000),), False), MsixTable(0, 0x1000, 16), ((0, 0x1000),)),
    ],
)
def test_what_may_be_mapped(region, table, expected):
    assert areas_of(region, table, 4096) == expected


def test_kernel_that_tells_nothing_of_the_table(vfio, hardware, kernel):
    """Before Linux 4.16 a mapping over the table is refused: then the device's own capability says where it is."""
    hardware.config = make_config(caps=(msix(4, 0, 0x2000),))
    hardware.bars[0] = FakeBar(0x8000, msix_mappable=False)
    bar = vfio.open(A).bars[0]
    assert bar.mapped == 0x2000
    assert bar.at(0x3000, 0x5000)


def test_table_in_another_bar_leaves_the_registers_whole(vfio, hardware):
    hardware.config = make_config(caps=(msix(4, 3, 0x1000),))
    hardware.bars[0] = FakeBar(0x8000, msix_mappable=False)
    hardware.bars[3] = FakeBar(0x4000, msix_mappable=False)
    bars = vfio.open(A).bars
    assert bars[0].mapped == 0x8000
    assert [(offset, size) for offset, size, _ in bars[3].pieces] == [(0, 0x1000), (0x2000, 0x2000)]


def test_device_is_woken(vfio, hardware):
    hardware.config = make_config(caps=(power(3),))
    vfio.open(A)
    assert (0x54, b"\x00\x01") in hardware.writes


def test_device_that_is_awake_is_let_be(vfio, hardware):
    hardware.config = make_config(caps=(power(0),))
    vfio.open(A)
    assert [at for at, _ in hardware.writes] == [4]


def test_reset(vfio, hardware):
    device = vfio.open(A)
    device.set_bus_master(True)
    device.reset()
    assert hardware.resets == 1
    assert hardware.config[4] == 2
    hardware.can_reset = False
    device.close()
    device = vfio.open(A)
    assert not device.can_reset
    with pytest.raises(VfioError, match="cannot be reset"):
        device.reset()


def test_other_things_than_pci_are_refused(vfio, kernel):
    kernel._device_device_get_info = lambda file, argument: argument.__setitem__(
        slice(None), struct.pack("=IIII", 16, 4, 0, 0)
    )
    with pytest.raises(VfioError, match="no PCI device"):
        vfio.open(A)


def test_numa_node(vfio, kernel):
    device = vfio.open(A)
    assert device.numa_node == -1
    kernel.text = lambda path: "1" if path == f"/sys/bus/pci/devices/{A}/numa_node" else None
    assert device.numa_node == 1


def test_msix_vectors_are_set_up_at_once(vfio, hardware, kernel):
    device = vfio.open(A)
    assert device.max_vectors == 10
    irqs = device.interrupts(3)
    assert irqs.mode == "msix"
    assert tuple(hardware.eventfds[Irq.MSIX]) == irqs.eventfds
    hardware.fire(Irq.MSIX, 1)
    assert os.eventfd_read(irqs.eventfds[1]) == 1
    assert irqs.unmask_fd is None
    assert kernel.calls.count("DEVICE_SET_IRQS") == 1
    more = device.interrupts(5)  # the earlier ones are gone
    assert tuple(hardware.eventfds[Irq.MSIX]) == more.eventfds
    assert sum(file == "eventfd" for file in kernel.files.values()) == 5
    more.close()
    more.close()
    assert Irq.MSIX not in hardware.eventfds


def test_msi_when_there_is_no_msix(vfio, hardware):
    hardware.irqs[Irq.MSIX] = 0
    device = vfio.open(A)
    irqs = device.interrupts(1)
    assert (irqs.mode, device.max_vectors) == ("msi", 1)
    assert tuple(hardware.eventfds[Irq.MSI]) == irqs.eventfds


def test_intx_is_unmasked_by_an_eventfd(vfio, hardware):
    hardware.irqs = {Irq.INTX: 1, Irq.MSI: 0, Irq.MSIX: 0}
    irqs = vfio.open(A).interrupts(1)
    assert irqs.mode == "intx"
    assert hardware.unmask == irqs.unmask_fd
    assert hardware.eventfds[Irq.INTX] == [irqs.eventfds[0]]


def test_device_without_interrupts(vfio, hardware):
    hardware.irqs = {}
    device = vfio.open(A)
    assert device.max_vectors == 0
    with pytest.raises(VfioError, match="has 0 interrupt vectors, 1 are needed"):
        device.interrupts(1)


def test_owner_wants_the_device_back(vfio, hardware):
    async def run():
        device = vfio.open(A)
        asked = []
        done = asyncio.Event()

        def removed():
            asked.append(1)
            device.close()
            done.set()

        device.watch(asyncio.get_running_loop(), removed, pytest.fail)
        hardware.fire(Irq.REQ)
        await done.wait()
        return asked

    assert asyncio.run(run()) == [1]
    vfio.open(A)  # plugged in again


def test_wish_is_told_once_though_it_is_repeated(vfio, hardware):
    async def run():
        device = vfio.open(A)
        asked = []
        device.watch(asyncio.get_running_loop(), lambda: asked.append(1), pytest.fail)
        for _ in range(3):
            hardware.fire(Irq.REQ)
            device._notices._request(hardware.eventfds[Irq.REQ][0])
        device.close()
        return asked

    assert asyncio.run(run()) == [1]


def test_error_of_the_link_is_told(vfio, hardware):
    async def run():
        device = vfio.open(A)
        told = asyncio.get_running_loop().create_future()
        device.watch(asyncio.get_running_loop(), pytest.fail, told.set_result)
        hardware.fire(Irq.ERR)
        text = await told
        device.close()
        return text

    assert asyncio.run(run()) == (
        "0000:01:00.0 had an uncorrectable PCI Express error (dmesg | grep AER says which)"
    )


def test_device_without_notices_is_not_watched(vfio, hardware, kernel):
    async def run():
        hardware.irqs = {Irq.MSIX: 2}
        device = vfio.open(A)
        device.watch(asyncio.get_running_loop(), pytest.fail, pytest.fail)
        assert "eventfd" not in kernel.files.values()
        device.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["eventfd", "DEVICE_SET_IRQS"])
def test_watching_that_fails_leaves_nothing(vfio, kernel, name):
    async def run():
        device = vfio.open(A)
        kernel.fail(name, 24)
        with pytest.raises(
            VfioError, match=r"cannot switch on 1 req interrupts of 0000:01:00.0: Too many open files"
        ):
            device.watch(asyncio.get_running_loop(), pytest.fail, pytest.fail)
        assert "eventfd" not in kernel.files.values()

    asyncio.run(run())


def test_device_unplugged_under_us_is_closed_all_the_same(vfio, hardware, kernel):
    device = vfio.open(A)
    hardware.gone = True
    kernel.fail("pwrite", 19)
    device.close()
    assert kernel.left() == []
