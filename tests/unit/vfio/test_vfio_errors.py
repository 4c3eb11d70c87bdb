"""What an operator reads when a device cannot be had: one line that names the cause and what mends it; nothing is left open."""

import errno

import pytest

from tests.fakes.fake_vfio import FakeBar, FakeDevice, FakeKernel, make_config
from vswitchd.ports.base import PortError
from vswitchd.ports.vfio.errors import Cause, VfioError
from vswitchd.ports.vfio.kernel import Holder
from vswitchd.ports.vfio.pci import normalise
from vswitchd.ports.vfio.session import Vfio

MB = 1 << 20
A = "0000:01:00.0"


@pytest.fixture
def device():
    return FakeDevice(A, "7")


@pytest.fixture
def kernel(device):
    kernel = FakeKernel(device)
    yield kernel
    assert kernel.left() == []
    assert kernel.locked == 0


def refusal(kernel, address=A, window=64 * MB):
    """Open a device that cannot be opened; returns cause and text."""
    with pytest.raises(VfioError) as caught:
        Vfio(kernel, window).open(address)
    assert isinstance(caught.value, PortError)
    assert "\n" not in str(caught.value)
    assert kernel.left() == []
    return caught.value.cause, str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("01:00.0", A),
        ("1:0.0", A),
        ("0000:01:00.0", A),
        (" 0000:AF:1F.7 ", "0000:af:1f.7"),
        ("10000:01:00.0", "10000:01:00.0"),
    ],
)
def test_addresses(text, address):
    assert normalise(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "eth0",
        "01:00",
        "01:00.8",
        "01:20.0",
        "0000:01:00.0/../x",
        "g1:00.0",
        "1.0:0",
        "\u06601:00.0",
        "x" * 500,
    ],
)
def test_malformed_address(kernel, text):
    cause, said = refusal(kernel, text)
    assert cause == Cause.ADDRESS
    assert said.endswith("is no PCI address; write it like 0000:01:00.0 (lspci -D shows all)")
    assert len(said) < 150


def test_no_such_device(kernel):
    assert refusal(kernel, "02:00.0") == (
        Cause.ABSENT,
        "no PCI device 0000:02:00.0 on this machine; see what there is with deploy/vs-bind status",
    )


@pytest.mark.parametrize(("driver", "held"), [("e1000e", "driven by e1000e"), (None, "bound to no driver")])
def test_not_bound(kernel, device, driver, held):
    device.driver = driver
    assert refusal(kernel) == (
        Cause.UNBOUND,
        f"0000:01:00.0 is {held}, not by vfio-pci: deploy/vs-bind bind vfio-pci 0000:01:00.0",
    )


def test_variants_of_the_driver_will_do(kernel, device):
    device.driver = "mlx5_vfio_pci"
    Vfio(kernel, 64 * MB).open(A).close()


@pytest.mark.parametrize(
    ("cpu", "says"),
    [
        (
            "vendor_id : GenuineIntel flags : fpu",
            "switch VT-d or AMD-Vi on in the firmware and boot with intel_iommu=on",
        ),
        (
            "vendor_id : AuthenticAMD flags : fpu",
            "switch VT-d or AMD-Vi on in the firmware and boot with amd_iommu=on",
        ),
        ("", "boot with intel_iommu=on or amd_iommu=on"),
        (
            "vendor_id : GenuineIntel flags : fpu hypervisor",
            (
                "give the virtual machine an IOMMU (QEMU: -device intel-iommu,intremap=on,caching-mode=on) "
                "and boot its kernel with intel_iommu=on"
            ),
        ),
    ],
)
def test_no_iommu(kernel, device, cpu, says):
    device.group = ""
    kernel.cpu = cpu
    cause, text = refusal(kernel)
    assert cause == Cause.NO_IOMMU
    assert text.startswith("0000:01:00.0 is behind no IOMMU: ")
    assert text.endswith(says)


def test_no_iommu_mode_is_not_used(kernel):
    kernel.noiommu = True
    cause, text = refusal(kernel)
    assert cause == Cause.NO_IOMMU
    assert "no-IOMMU mode" in text


def test_module_is_not_there(kernel):
    kernel.modules = False
    assert refusal(kernel) == (
        Cause.NO_MODULE,
        "there is no /dev/vfio/vfio: modprobe vfio-pci (in a container, also give it /dev/vfio)",
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("path", ["/dev/vfio/7", "/dev/vfio/vfio"])
def test_no_permission(kernel, path, number):
    kernel.denied[path] = number
    assert refusal(kernel) == (
        Cause.PERMISSION,
        f"no permission on {path}: chown 1000 {path}, or lastingly by the udev rule in deploy/host",
    )


def test_busy_says_who(kernel):
    kernel.other_holders["7"] = Holder(815, "qemu-system-x86")
    assert refusal(kernel) == (
        Cause.BUSY,
        "0000:01:00.0 is in use by qemu-system-x86 (process 815): stop it, then add the port again",
    )


def test_busy_by_somebody_unseen(kernel):
    kernel.other_holders["7"] = None
    assert refusal(kernel) == (
        Cause.BUSY,
        "0000:01:00.0 is in use by another process: fuser -v /dev/vfio/7 shows who; stop it first",
    )


def test_busy_by_ourselves(kernel):
    kernel.other_holders["7"] = Holder(kernel.pid(), "python3")
    assert "in use by this switch itself" in refusal(kernel)[1]


def test_group_not_viable_names_the_others(kernel):
    for number, driver in enumerate(("ahci", "pcieport", None, "vfio-pci", "nvme")):
        address = f"0000:02:00.{number}"
        kernel.devices[address] = FakeDevice(address, "7", driver=driver)
    assert refusal(kernel) == (
        Cause.NOT_VIABLE,
        (
            "IOMMU group 7 of 0000:01:00.0 also holds 0000:02:00.0 (ahci), 0000:02:00.4 (nvme), still driven by the kernel: "
            "deploy/vs-bind bind vfio-pci 0000:02:00.0 0000:02:00.4, or move the card to another slot"
        ),
    )


@pytest.mark.parametrize(
    ("physical", "says"),
    [
        (
            "0000:01:00.1",
            "is a virtual function of 0000:01:00.1, which is driven by vfio-pci itself: give that back",
        ),
        (None, "virtual functions of 0000:01:00.0 are in use: stop their users"),
    ],
)
def test_virtual_function_of_a_device_in_user_space(kernel, physical, says):
    link = kernel.link
    kernel.link = lambda path: physical if path.endswith("/physfn") else link(path)
    kernel.fail("GROUP_GET_DEVICE_FD", errno.EACCES)
    cause, text = refusal(kernel)
    assert cause == Cause.PERMISSION
    assert says in text


def test_no_interrupt_remapping(kernel):
    kernel.remapping = False
    cause, text = refusal(kernel)
    assert cause == Cause.NO_IOMMU
    assert "intremap=on" in text
    assert "allow_unsafe_interrupts" in text


def test_old_kernels(kernel):
    kernel.range_cap = False
    assert refusal(kernel) == (
        Cause.TOO_OLD,
        "this kernel's VFIO has no list of allowed IOVA ranges: run Linux 5.10 or later",
    )
    kernel.extensions = {1}
    assert refusal(kernel) == (
        Cause.NO_MODULE,
        "the module that lets VFIO use the IOMMU is not loaded: modprobe vfio_iommu_type1",
    )
    kernel.extensions, kernel.api_version = {3}, 1
    assert refusal(kernel)[0] == Cause.TOO_OLD


def test_not_enough_may_be_locked_says_numbers(kernel):
    kernel.limit = 8 * MB
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    vfio.window.grow(4 * MB)
    before = len(kernel.calls)
    with pytest.raises(VfioError) as caught:
        vfio.window.grow(6 * MB)
    assert caught.value.cause == Cause.MEMLOCK
    assert str(caught.value) == (
        "cannot lock 6 MB for DMA: the limit is 8 MB and 4 MB of it are used; raise it with ulimit -l unlimited "
        "or LimitMEMLOCK=infinity in the service"
    )
    assert kernel.calls[before:] == []  # it was said before the kernel had to refuse
    vfio.close()


def test_kernel_does_not_lock(kernel):
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    kernel.fail("IOMMU_MAP_DMA", errno.ENOMEM)
    with pytest.raises(VfioError, match="did not lock 2 MB for DMA: raise ulimit -l"):
        vfio.window.grow(2 * MB)
    assert kernel.backed == {}
    vfio.close()


def test_second_container_counts_too(kernel):
    kernel.devices["0000:02:00.0"] = FakeDevice("0000:02:00.0", "8", iommu="other")
    kernel.ranges["other"] = kernel.ranges["dmar0"]
    kernel.limit = 6 * MB
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    vfio.window.grow(4 * MB)
    with pytest.raises(VfioError, match="cannot lock 4 MB for DMA: the limit is 6 MB and 4 MB"):
        vfio.open("02:00.0")
    assert len(kernel.containers()) == 1
    vfio.close()


def test_no_range_is_large_enough(kernel):
    kernel.ranges["dmar0"] = ((0, 32 * MB - 1), (64 * MB, 100 * MB))
    assert refusal(kernel) == (
        Cause.IOVA,
        (
            "IOVA space used up: 64 MB in one piece are needed, the IOMMU allows 0x0-0x1ffffff, 0x4000000-0x6400000; "
            "a wider IOMMU (QEMU: aw-bits=48) has more"
        ),
    )


def test_window_is_full(kernel):
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    vfio.window.grow(40 * MB)
    with pytest.raises(
        VfioError, match="IOVA space used up: no 40 MB in one piece are left of the 64 MB for DMA"
    ) as caught:
        vfio.window.grow(40 * MB)
    assert caught.value.cause == Cause.IOVA
    vfio.close()


def test_mappings_used_up(kernel):
    kernel.dma_limit = 1
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    vfio.window.grow(2 * MB)
    with pytest.raises(
        VfioError, match=r"no more DMA mappings \(0 were left\); raise .*/dma_entry_limit"
    ) as caught:
        vfio.window.grow(2 * MB)
    assert caught.value.cause == Cause.MAPPINGS
    vfio.close()


def test_device_that_cannot_reach_the_window(kernel):
    kernel.devices["0000:02:00.0"] = FakeDevice("0000:02:00.0", "8", iommu="narrow")
    kernel.ranges["narrow"] = ((0, (1 << 32) - 1),)
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    with pytest.raises(VfioError) as caught:
        vfio.open("02:00.0")
    assert str(caught.value) == (
        "0000:02:00.0 cannot reach the DMA memory that other ports use (IOVA 0x100000000-0x103ffffff; it reaches "
        "0x0-0xffffffff): add this port before the others"
    )
    assert len(kernel.containers()) == 1
    vfio.close()
    vfio.open("02:00.0")
    vfio.open(A)  # the other way round it works
    vfio.close()


def test_no_memory_and_no_addresses(kernel):
    kernel.fail("reserve", errno.ENOMEM)
    assert refusal(kernel)[0] == Cause.MEMORY
    vfio = Vfio(kernel, 64 * MB)
    vfio.open(A)
    kernel.free_huge[21] = 0
    kernel.back = lambda *args: (_ for _ in ()).throw(OSError(errno.ENOMEM, "no memory"))
    with pytest.raises(VfioError, match="no 2 MB of memory for packets of VFIO ports") as caught:
        vfio.window.grow(2 * MB)
    assert caught.value.cause == Cause.MEMORY
    vfio.close()


def test_bar_too_small(kernel, device):
    vfio = Vfio(kernel, 64 * MB)
    opened = vfio.open(A)
    with pytest.raises(VfioError) as caught:
        opened.bars[0].at(0x1FFFF, 2)
    assert caught.value.cause == Cause.BAR
    assert str(caught.value) == (
        "BAR 0 of 0000:01:00.0 has 131072 bytes, the driver needs 131073: wrong device, or the firmware gave it no "
        "addresses (dmesg | grep BAR)"
    )
    with pytest.raises(VfioError, match=r"BAR 3 of 0000:01:00.0 is missing, the driver needs 16"):
        opened.bars[3].at(0, 16)
    vfio.close()


def test_bar_that_cannot_be_mapped(kernel, device):
    device.bars[2] = FakeBar(32, mappable=False)
    vfio = Vfio(kernel, 64 * MB)
    opened = vfio.open(A)
    assert (opened.bars[2].address, opened.bars[2].mapped, opened.bars[2].size) == (None, 0, 32)
    with pytest.raises(VfioError, match=r"BAR 2 of 0000:01:00.0 cannot be mapped"):
        opened.bars[2].at(0, 4)
    vfio.close()


def test_bridges_and_dead_devices(kernel, device):
    device.config = make_config(header=1)
    assert refusal(kernel)[0] == Cause.CONFIG
    device.gone = True
    assert refusal(kernel) == (
        Cause.REMOVED,
        "0000:01:00.0 is gone (unplugged, or its link is dead); plug it in and add the port again",
    )


@pytest.mark.parametrize(
    ("name", "number"), [("pread", errno.EIO), ("pread", errno.ENODEV), ("GROUP_GET_DEVICE_FD", errno.ENODEV)]
)
def test_device_that_goes_while_it_is_opened(kernel, name, number):
    kernel.fail(name, number)
    assert refusal(kernel)[0] == Cause.REMOVED


def test_more_vectors_than_there_are(kernel):
    vfio = Vfio(kernel, 64 * MB)
    opened = vfio.open(A)
    with pytest.raises(VfioError) as caught:
        opened.interrupts(11)
    assert str(caught.value) == (
        "0000:01:00.0 has 10 interrupt vectors, 11 are needed: use fewer receive queues (options:n_rxq)"
    )
    vfio.close()


def test_anything_else_names_the_error(kernel):
    kernel.fail("SET_IOMMU", errno.ENODEV)
    assert refusal(kernel) == (
        Cause.KERNEL,
        "the IOMMU does not take 0000:01:00.0: No such device (ENODEV); dmesg | grep -i -e vfio -e iommu may say why",
    )
