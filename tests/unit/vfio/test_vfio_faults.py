"""Faults: lines of the kernel's log as the three families write them, abort bits, and whom it is told about."""

import asyncio
import os

import pytest

from tests.fakes.fake_vfio import FakeDevice, FakeKernel, make_config
from vswitchd.ports.vfio import fault_lines
from vswitchd.ports.vfio.faults import FaultWatch
from vswitchd.ports.vfio.session import Vfio

ADDRESS = "0000:01:00.0"
OTHER = "0000:02:00.0"

LINES = [
    (
        "DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0xdeadb000 [fault reason 0x06] PTE Read access is not set",
        ("01:00.0", 0xDEADB000, "read"),
    ),
    (
        "DMAR: [DMA Write] Request device [01:00.0] PASID ffffffff fault addr 1fffff000 [fault reason 05] PTE Write access is not set",
        ("01:00.0", 0x1FFFFF000, "write"),
    ),
    (
        "DMAR:[DMA Read] Request device [0a:1f.7] fault addr 0 [fault reason 02] Present bit in context entry is clear",
        ("0a:1f.7", 0, "read"),
    ),
    (
        "vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000f address=0x3f00000000 flags=0x0030]",
        ("0000:01:00.0", 0x3F00000000, "write"),
    ),
    (
        "AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x000c address=0x00000000dff00000 flags=0x0000]",
        ("01:00.0", 0xDFF00000, "read"),
    ),
    (
        "arm-smmu 9050000.iommu: Unhandled context fault: fsr=0x402, iova=0xfffe0040, fsynr=0x3f0001, cbfrsynra=0x108, cb=3",
        ("01:01.0", 0xFFFE0040, "access"),
    ),
    (
        "arm-smmu-v3 arm-smmu-v3.0.auto: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xffff1000 ipa: 0x0",
        ("0000:01:00.0", 0xFFFF1000, "access"),
    ),
]
NO_FAULTS = [
    "",
    "DMAR: DRHD: handling fault status reg 2",
    "DMAR: IOMMU enabled",
    "AMD-Vi: Interrupt remapping enabled",
    "DMAR: [DMA Read NO_PASID] Request device [zz:00.0] fault addr 0x0 [fault reason 0x06] x",
    "DMAR: [INTR-REMAP] Request device [f0:1f.0] fault index 0x0 [fault reason 0x25] Blocked a compatibility format interrupt",
    "vfio-pci 0000:01:00.0: enabling device (0000 -> 0003)",
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_line_of_the_log(line, expected):
    fault = fault_lines.parse(line)
    assert (fault.address, fault.iova, fault.way) == expected


@pytest.mark.parametrize("line", NO_FAULTS)
def test_other_lines_are_none(line):
    assert fault_lines.parse(line) is None


def test_line_without_a_domain_concerns_that_device_only():
    fault = fault_lines.parse(LINES[0][0])
    assert fault.concerns("0000:01:00.0")
    assert not fault.concerns("0000:11:00.0")
    assert not fault.concerns("0000:01:00.1")
    full = fault_lines.parse(LINES[3][0])
    assert full.concerns("0000:01:00.0")
    assert not full.concerns("0001:01:00.0")
    assert str(fault) == "the IOMMU stopped a DMA read of the device at IOVA 0xdeadb000"


def test_record_of_kmsg():
    record = b"3,1234,98765,-;DMAR: a; b\n SUBSYSTEM=pci\n"
    assert fault_lines.message(record) == "DMAR: a; b"


class Kmsg:
    """A pipe stands for /dev/kmsg: one write is one record here, as tests write and read one by one."""

    def __init__(self, tmp_path):
        self.path = str(tmp_path / "kmsg")
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR)
        self.sought = []

    def say(self, line):
        os.write(self.fd, b"4,1,1,-;" + line.encode() + b"\n")


@pytest.fixture
def kmsg(tmp_path, monkeypatch):
    kmsg = Kmsg(tmp_path)
    monkeypatch.setattr(
        os, "lseek", lambda fd, *where: kmsg.sought.append(where)
    )  # a pipe has no end to go to
    yield kmsg
    os.close(kmsg.fd)


@pytest.fixture
def vfio():
    kernel = FakeKernel(FakeDevice(ADDRESS, "7"), FakeDevice(OTHER, "8"))
    vfio = Vfio(kernel, 64 << 20)
    vfio.kernel = kernel
    yield vfio
    vfio.close()
    assert kernel.left() == []


def test_fault_in_the_log_is_told_to_its_device(vfio, kmsg):
    async def run():
        told = []
        heard = asyncio.Event()

        def callback(address, text):
            told.append((address, text))
            heard.set()

        watch = FaultWatch(asyncio.get_running_loop(), callback, kmsg.path)
        device, other = vfio.open(ADDRESS), vfio.open(OTHER)
        watch.add(device)
        watch.add(other)
        assert kmsg.sought == [(0, os.SEEK_END)]  # what the log says of earlier times is not ours
        kmsg.say(LINES[0][0])
        await heard.wait()
        watch.remove(device)
        watch.remove(other)
        watch.close()
        return told

    assert asyncio.run(run()) == [(ADDRESS, "the IOMMU stopped a DMA read of the device at IOVA 0xdeadb000")]


def test_known_harmless_faults_and_other_devices_are_not_told(vfio, kmsg):
    async def run():
        told = []
        watch = FaultWatch(asyncio.get_running_loop(), lambda *args: told.append(args), kmsg.path)
        watch.add(vfio.open(ADDRESS), frozenset({0}))
        for line in (LINES[0][0].replace("0xdeadb000", "0x0"), LINES[2][0], NO_FAULTS[1]):
            kmsg.say(line)
            watch.read_log()
        vfio.kernel.devices[ADDRESS].config[7] |= 0x30
        watch.look()
        assert told == []
        kmsg.say(LINES[0][0])
        watch.read_log()
        assert [address for address, _ in told] == [ADDRESS]
        watch.close()

    asyncio.run(run())


def test_fault_behind_a_bridge_concerns_all_that_hang_there(kmsg):
    express = make_config(caps=((0x40, 0x10, bytes(20)),))
    kernel = FakeKernel(
        FakeDevice("0000:01:01.0", "7"),
        FakeDevice("0000:01:02.0", "7"),
        FakeDevice("0000:01:03.0", "8", config=express),
        FakeDevice("0000:02:01.0", "9"),
    )

    async def run():
        told = []
        vfio = Vfio(kernel, 64 << 20)
        watch = FaultWatch(asyncio.get_running_loop(), lambda *args: told.append(args), kmsg.path)
        for address in kernel.devices:
            watch.add(vfio.open(address))
        kmsg.say(LINES[0][0])
        watch.read_log()
        kmsg.say(LINES[2][0])
        watch.read_log()
        watch.close()
        vfio.close()
        return told

    text = "the IOMMU stopped a DMA read of the device at IOVA 0xdeadb000, or of another one behind the same bridge"
    assert asyncio.run(run()) == [("0000:01:01.0", text), ("0000:01:02.0", text)]


def test_callback_may_remove_the_last_device(vfio, kmsg):
    async def run():
        watch = FaultWatch(
            asyncio.get_running_loop(),
            lambda address, text: (told.append(address), watch.remove(device)),
            kmsg.path,
        )
        told = []
        device = vfio.open(ADDRESS)
        watch.add(device)
        kmsg.say(LINES[0][0])
        watch.read_log()
        assert told == [ADDRESS]

    asyncio.run(run())


def test_abort_bits_are_told_once_each(vfio, tmp_path):
    async def run():
        told = []
        watch = FaultWatch(
            asyncio.get_running_loop(), lambda *args: told.append(args), str(tmp_path / "none")
        )
        config = vfio.kernel.devices[ADDRESS].config
        config[7] = 0x10  # a target abort from before
        watch.add(vfio.open(ADDRESS))
        watch.look()
        assert told == []
        config[7] |= 0x20
        watch.look()
        watch.look()
        assert told == [(ADDRESS, "a DMA of the device was refused (master abort)")]
        watch.close()

    asyncio.run(run())


def test_device_that_is_gone_is_told(vfio, tmp_path):
    async def run():
        told = []
        watch = FaultWatch(
            asyncio.get_running_loop(), lambda *args: told.append(args), str(tmp_path / "none")
        )
        device = vfio.open(ADDRESS)
        watch.add(device)
        vfio.kernel.devices[ADDRESS].gone = True
        watch.look()
        assert len(told) == 1
        assert told[0][0] == ADDRESS
        assert told[0][1].startswith("0000:01:00.0 is gone")
        watch.remove(device)

    asyncio.run(run())


def test_watch_looks_by_itself(vfio, tmp_path, monkeypatch):
    monkeypatch.setattr("vswitchd.ports.vfio.faults.PERIOD", 0.001)

    async def run():
        heard = asyncio.Event()
        watch = FaultWatch(asyncio.get_running_loop(), lambda *args: heard.set(), str(tmp_path / "none"))
        watch.add(vfio.open(ADDRESS))
        vfio.kernel.devices[ADDRESS].config[7] |= 0x20
        await heard.wait()
        watch.close()

    asyncio.run(run())
