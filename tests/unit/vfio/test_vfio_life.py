"""Any order of opening, closing, taking and giving back memory, and of failures: what is shared stays right."""

import errno

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.fake_vfio import FakeDevice, FakeKernel
from vswitchd.ports.vfio.errors import VfioError
from vswitchd.ports.vfio.session import Vfio

MB = 1 << 20
PLACES = {
    "0000:01:00.0": ("1", "a"),
    "0000:02:00.0": ("2", "a"),
    "0000:02:00.1": ("2", "a"),
    "0000:03:00.0": ("3", "b"),
}
FAILING = [
    "GROUP_SET_CONTAINER",
    "SET_IOMMU",
    "IOMMU_MAP_DMA",
    "IOMMU_GET_INFO",
    "GROUP_GET_DEVICE_FD",
    "map",
    "back",
    "pread",
]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(sorted(PLACES))),
        st.tuples(st.just("close"), st.integers(0, 3)),
        st.tuples(st.just("grow"), st.integers(1, 3)),
        st.tuples(st.just("shrink"), st.integers(0, 9)),
        st.tuples(st.just("alloc"), st.integers(1, 900)),
        st.tuples(st.just("free"), st.integers(0, 9)),
        st.tuples(st.just("fail"), st.sampled_from(FAILING)),
    ),
    max_size=30,
)


class World:
    """The layer, the kernel under it, and what a test holds."""

    def __init__(self):
        self.kernel = FakeKernel(
            *(FakeDevice(name, group, iommu=iommu) for name, (group, iommu) in PLACES.items())
        )
        self.vfio = Vfio(self.kernel, 64 * MB)
        self.split = False
        self.devices, self.chunks, self.rings = {}, [], []

    def open(self, address):
        if address not in self.devices:
            device = self.vfio.open(address)
            device.set_bus_master(True)
            self.devices[address] = device

    def close(self, which):
        if self.devices:
            self.devices.pop(sorted(self.devices)[which % len(self.devices)]).close()

    def grow(self, count):
        if self.devices:
            self.chunks.append(self.vfio.window.grow(count * 2 * MB).offset)

    def shrink(self, which):
        if self.chunks:
            self.vfio.window.shrink(self.chunks.pop(which % len(self.chunks)))

    def alloc(self, pages):
        if self.devices:
            self.rings.append(self.vfio.window.alloc(pages * 4096))

    def free(self, which):
        if self.rings:
            self.vfio.window.free(self.rings.pop(which % len(self.rings)))

    def fail(self, name):
        self.kernel.fail(name, errno.EINVAL)
        self.split |= name == "GROUP_SET_CONTAINER"

    def check(self):
        """What is open is what is needed, and every device sees all memory and nothing else."""
        kernel, window = self.kernel, self.vfio.window
        there = {PLACES[address] for address in self.devices}
        groups = [file.group for file in kernel.files.values() if type(file).__name__ == "GroupFile"]
        assert sorted(groups) == sorted({group for group, _ in there})
        containers, least = len(kernel.containers()), len({iommu for _, iommu in there})
        # A group that was refused by the others' container gets one of its own.
        assert least <= containers <= len(groups) if self.split else containers == least
        assert sorted(group for file in kernel.containers() for group in file.groups) == sorted(groups)
        for container in kernel.containers():
            assert container.mappings == {
                window.iova_base + offset: (length, window.base + offset)
                for offset, (length, _) in kernel.backed.items()
            }
        for address, device in kernel.devices.items():
            assert device.bus_master == (address in self.devices)
        held = bool(self.devices or self.chunks or self.rings)
        assert (kernel.window is not None) == held
        assert bool(kernel.backed) == bool(self.chunks or self.rings)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_any_life(steps):
    world = World()
    for name, argument in steps:
        try:
            getattr(world, name)(argument)
        except VfioError:
            assert name in {"open", "grow", "alloc"}
        world.check()
    world.vfio.close()
    assert world.kernel.left() == []
    assert world.kernel.locked == 0
