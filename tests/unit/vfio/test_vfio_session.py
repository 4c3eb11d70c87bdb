"""Opening and closing devices: what is shared, what goes away with the last one, and that no failure leaves anything."""

import contextlib
import errno

import pytest

from tests.fakes.fake_vfio import FakeDevice, FakeKernel
from vswitchd.ports.vfio.errors import Cause, VfioError
from vswitchd.ports.vfio.session import Vfio

MB = 1 << 20
SMALL = 256 * MB
ONE, TWO, THREE = "0000:01:00.0", "0000:02:00.0", "0000:02:00.1"


@pytest.fixture
def kernel():
    """One device alone in its group, and two in one."""
    kernel = FakeKernel(FakeDevice(ONE, "7"), FakeDevice(TWO, "8"), FakeDevice(THREE, "8"))
    yield kernel
    assert kernel.left() == []
    assert kernel.locked == 0


def full_life(kernel):
    """All that a port does with a device."""
    vfio = Vfio(kernel, SMALL)
    try:
        device = vfio.open("01:00.0")
        try:
            vfio.window.grow(2 * MB)
            ring = vfio.window.alloc(8192)
            device.set_bus_master(True)
            device.interrupts(3)
            device.reset()
            other = vfio.open(TWO)
            third = vfio.open(THREE)
            other.close()
            third.close()
            vfio.window.free(ring)
        finally:
            device.close()
    finally:
        vfio.close()


def test_device_is_ready_but_silent(kernel):
    vfio = Vfio(kernel, SMALL)
    device = vfio.open("1:0.0")
    assert device.address == ONE
    assert (device.identity.vendor, device.identity.device, device.identity.class_code) == (
        0x8086,
        0x10C9,
        0x020000,
    )
    assert kernel.devices[ONE].config[4] == 2  # memory space on, bus mastering off
    assert device.bars[0].size == device.bars[0].mapped == 0x20000
    assert device.bars[0].at(0x1F000, 0x1000) == device.bars[0].address + 0x1F000
    assert device.bars[1].address is None
    device.set_bus_master(True)
    assert kernel.devices[ONE].bus_master
    device.close()
    device.close()
    assert not kernel.devices[ONE].bus_master


def test_groups_share_one_container(kernel):
    vfio = Vfio(kernel, SMALL)
    devices = [vfio.open(address) for address in (ONE, TWO, THREE)]
    assert len(kernel.containers()) == 1
    assert kernel.containers()[0].groups == {"7", "8"}
    chunk = vfio.window.grow(3 * MB)
    assert kernel.containers()[0].mappings == {
        vfio.window.iova_base: (4 * MB, vfio.window.base + chunk.offset),
    }
    devices[1].close()
    assert kernel.containers()[0].groups == {"7", "8"}
    devices[2].close()
    assert kernel.containers()[0].groups == {"7"}
    vfio.window.shrink(chunk.offset)
    devices[0].close()


def test_group_that_cannot_join_gets_the_same_memory_in_its_own_container(kernel):
    kernel.devices[ONE].iommu = "dmar1"
    kernel.ranges["dmar1"] = kernel.ranges["dmar0"]
    vfio = Vfio(kernel, SMALL)
    first = vfio.open(TWO)
    before = vfio.window.grow(2 * MB)
    second = vfio.open(ONE)
    after = vfio.window.grow(2 * MB)
    left, right = kernel.containers()
    assert left.groups != right.groups
    assert left.mappings == right.mappings
    assert sorted(left.mappings) == [
        vfio.window.iova_base + before.offset,
        vfio.window.iova_base + after.offset,
    ]
    first.close()
    assert len(kernel.containers()) == 1
    vfio.window.shrink(before.offset)
    vfio.window.shrink(after.offset)
    second.close()


def test_memory_outlives_the_device_until_given_back(kernel):
    vfio = Vfio(kernel, SMALL)
    device = vfio.open(ONE)
    chunk = vfio.window.grow(2 * MB)
    device.close()
    assert kernel.containers() == []
    assert kernel.backed
    base = vfio.window.base
    device = vfio.open(TWO)
    assert vfio.window.base == base
    assert kernel.containers()[0].mappings == {vfio.window.iova_base: (2 * MB, base)}
    device.close()
    vfio.window.shrink(chunk.offset)
    assert vfio.window.base == 0


def test_device_is_opened_once(kernel):
    vfio = Vfio(kernel, SMALL)
    device = vfio.open(ONE)
    with pytest.raises(VfioError, match="already used by another port of this switch") as caught:
        vfio.open("0000:01:00.0")
    assert caught.value.cause == Cause.BUSY
    device.close()
    vfio.open(ONE).close()


def test_killed_process_leaves_nothing_in_the_way(kernel):
    vfio = Vfio(kernel, SMALL)
    vfio.open(ONE).set_bus_master(True)
    vfio.window.grow(2 * MB)
    kernel.die()
    full_life(kernel)


def test_close_drops_what_others_hold(kernel):
    vfio = Vfio(kernel, SMALL)
    device = vfio.open(ONE)
    device.interrupts(2)
    vfio.window.grow(2 * MB)
    vfio.window.alloc(4096)
    vfio.close()
    vfio.close()


def count_calls():
    kernel = FakeKernel(FakeDevice(ONE, "7"), FakeDevice(TWO, "8"), FakeDevice(THREE, "8"))
    full_life(kernel)
    return kernel.calls


CALLS = count_calls()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOMEM, errno.EINVAL, errno.EBUSY])
def test_every_call_may_fail_and_nothing_is_left(number):
    assert len(CALLS) > 80
    for position, name in enumerate(CALLS):
        kernel = FakeKernel(FakeDevice(ONE, "7"), FakeDevice(TWO, "8"), FakeDevice(THREE, "8"))
        kernel.fail_at(position, number)
        with contextlib.suppress(VfioError):
            full_life(kernel)
        assert kernel.left() == [], (position, name)
        assert kernel.locked == 0
        full_life(kernel)
        assert kernel.left() == []


def test_every_call_of_opening_may_fail_without_a_close():
    healthy = FakeKernel(FakeDevice(ONE, "7"))
    Vfio(healthy, SMALL).open(ONE)
    names = list(healthy.calls)
    healthy.die()
    assert len(names) > 20
    for position, name in enumerate(names):
        kernel = FakeKernel(FakeDevice(ONE, "7"))
        kernel.fail_at(position, errno.EINVAL)
        vfio = Vfio(kernel, SMALL)
        try:
            vfio.open(ONE)
        except VfioError:
            assert kernel.left() == [], (position, name)
        vfio.close()
        assert kernel.left() == [], (position, name)


def test_device_that_is_plugged_in_later(kernel):
    vfio = Vfio(kernel, SMALL)
    first = vfio.open(ONE)
    vfio.window.grow(2 * MB)
    with pytest.raises(VfioError) as caught:
        vfio.open("03:00.0")
    assert caught.value.cause == Cause.ABSENT
    kernel.devices["0000:03:00.0"] = FakeDevice("0000:03:00.0", "9")
    second = vfio.open("03:00.0")
    assert kernel.containers()[0].groups == {"7", "9"}
    first.close()
    second.close()
    vfio.close()


def test_device_that_is_unplugged_leaves_the_other_of_its_group(kernel):
    vfio = Vfio(kernel, SMALL)
    gone, stays = vfio.open(TWO), vfio.open(THREE)
    kernel.devices[TWO].gone = True
    gone.close()
    del kernel.devices[TWO]
    stays.set_bus_master(True)
    assert kernel.devices[THREE].bus_master
    with pytest.raises(VfioError, match="no PCI device"):
        vfio.open(TWO)
    stays.close()


def test_second_device_of_a_group_that_fails_leaves_the_first(kernel):
    vfio = Vfio(kernel, SMALL)
    first = vfio.open(TWO)
    kernel.fail("map", errno.EINVAL)
    with pytest.raises(VfioError, match=r"cannot map BAR 0 of 0000:02:00\.1"):
        vfio.open(THREE)
    first.set_bus_master(True)
    assert kernel.devices[TWO].bus_master
    vfio.open(THREE).close()
    first.close()
