"""vs-bind gives devices to drivers and back, with driver_override and drivers_probe, and leaves them as they were on failure."""

import os
import subprocess
import sys

import pytest
from bind.host import IN_USE, KERNEL_REFUSED, NO_DEVICE, NOT_PERMITTED, NOT_USABLE, USAGE, BindError, Host
from bind.main import run
from bind_world import BUSY, DEPLOY

NIC = "0000:01:00.0"


@pytest.fixture
def nic(machine):
    machine.device(NIC, "e1000e", group="7", interface="eth0")
    machine.modules |= {"vfio-pci", "vfio_iommu_type1"}
    return machine


def refused(machine, *words):
    with pytest.raises(BindError) as caught:
        run(list(words), machine)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("word", [NIC, "01:00.0", "eth0"])
def test_a_device_goes_to_vfio_and_says_who_may_open_it(nic, capsys, word):
    assert run(["bind", word], nic) == 0
    assert nic.bound(NIC) == nic.override(NIC) == "vfio-pci"
    said = capsys.readouterr().out
    assert f"{NIC} (eth0): bound to vfio-pci (was e1000e)" in said
    assert "/dev/vfio/7: crw------- root:root" in said
    assert "chown USER /dev/vfio/7" in said
    assert ("modprobe", "vfio-pci") in nic.ran
    assert ("modprobe", "vfio_iommu_type1") in nic.ran


def test_new_id_is_never_written(nic):
    run(["bind", NIC], nic)
    run(["unbind", NIC], nic)
    assert not [path for path, _ in nic.wrote if path.endswith(("new_id", "remove_id"))]


def test_an_interface_behind_virtio_names_its_pci_device(machine):
    machine.device("0000:00:03.0", "virtio-pci", group="3", interface="ens3", virtio=True)
    machine.driver("vfio-pci")
    assert run(["bind", "ens3"], machine) == 0
    assert machine.bound("0000:00:03.0") == "vfio-pci"


def test_back_to_the_kernel(nic, capsys):
    run(["bind", NIC], nic)
    assert run(["unbind", NIC], nic) == 0
    assert nic.bound(NIC) == "e1000e"
    assert nic.override(NIC) in {"", "(null)"}
    assert "back with e1000e" in capsys.readouterr().out


def test_back_to_a_driver_whose_module_is_gone(nic):
    run(["bind", NIC], nic)
    (nic.tree / "sys/bus/pci/drivers/e1000e").rmdir()
    nic.modules.add("pci:v8086d10d3")
    assert run(["unbind", NIC], nic) == 0
    assert nic.bound(NIC) == "e1000e"


def test_twice_is_not_an_error(nic, capsys):
    run(["bind", NIC], nic)
    count = len(nic.wrote)
    assert run(["bind", NIC], nic) == 0
    assert "already bound" in capsys.readouterr().out
    assert len(nic.wrote) == count
    run(["unbind", NIC], nic)
    count = len(nic.wrote)
    assert run(["unbind", NIC], nic) == 0
    assert "already with the kernel's driver e1000e" in capsys.readouterr().out
    assert len(nic.wrote) == count


def test_another_driver_by_name(nic):
    nic.driver("uio_pci_generic")
    assert run(["bind", "uio_pci_generic", NIC], nic) == 0
    assert nic.bound(NIC) == "uio_pci_generic"
    assert run(["bind", "-d", "vfio-pci", "--force", NIC], nic) == 0
    assert nic.bound(NIC) == "vfio-pci"


def test_a_driver_that_does_not_take_it_leaves_things_as_they_were(nic):
    nic.refuses.add(("vfio-pci", NIC))
    code, text = refused(nic, "bind", NIC)
    assert code == KERNEL_REFUSED
    assert "did not take it and it is with e1000e again" in text
    assert nic.bound(NIC) == "e1000e"
    assert nic.override(NIC) in {"", "(null)"}


@pytest.mark.parametrize("file", ["driver_override", "unbind", "drivers_probe"])
def test_a_write_that_the_kernel_refuses_is_told(nic, file):
    nic.fails[file] = BUSY
    code, text = refused(nic, "bind", NIC)
    assert code == KERNEL_REFUSED
    assert "somebody holds the device" in text
    assert file in text


def test_all_are_checked_before_the_first_is_touched(nic):
    nic.device("0000:02:00.0", "nvme", group="9", kind="0x010802")
    assert refused(nic, "bind", NIC, "02:00.0")[0] == IN_USE
    assert nic.bound(NIC) == "e1000e"
    assert refused(nic, "bind", NIC, "03:00.0")[0] == NO_DEVICE
    assert nic.wrote == []


def test_a_module_that_is_not_there(nic):
    nic.modules.clear()
    code, text = refused(nic, "bind", NIC)
    assert code == KERNEL_REFUSED
    assert "driver vfio-pci is not loaded and cannot be: /lib/modules/RELEASE is missing" in text
    nic.put("/proc/sys/kernel/osrelease", "6.1")
    nic.directory("/lib/modules/6.1")
    assert "has no such module: install" in refused(nic, "bind", NIC)[1]
    assert refused(nic, "bind", "igb", NIC)[1].endswith("/lib/modules/6.1 has no such module")
    assert nic.wrote == []


def test_without_root(nic):
    nic.allowed = False
    for verb in ("bind", "unbind"):
        code, text = refused(nic, verb, NIC)
        assert code == NOT_PERMITTED
        assert "needs root" in text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["bind"], USAGE, "wants a device"),
        (["bind", "vfio-pci"], USAGE, "wants a device"),
        (["unbind"], USAGE, "wants a device"),
        (["bind", "--fource", NIC], USAGE, "unknown option --fource"),
        (["bind", "-d"], USAGE, "needs a value"),
        (["bind", "vfio-pci", "01:00"], USAGE, "is not an address"),
        (["bind", "vfio-pci", "01:00.8"], USAGE, "is not an address"),
        (["bind", "vfio-pci", "01:20.0"], USAGE, "is not an address"),
        (["bind", "../e1000e", NIC], USAGE, "not the name of a driver"),
        (["bind", "vfio-pci", "eth9"], NO_DEVICE, "no such interface"),
        (["bind", "09:00.0"], NO_DEVICE, "no such PCI device"),
        (["status", "-f", "xml"], USAGE, "neither text nor json"),
        (["steal", NIC], USAGE, "not a command"),
    ],
)
def test_wrong_words_get_one_line(nic, words, code, said):
    found, text = refused(nic, *words)
    assert found == code
    assert said in text
    assert "\n" not in text


def test_a_virtual_interface_has_no_device(nic):
    nic.directory("/sys/class/net/br0")
    assert refused(nic, "bind", "br0") == (
        NO_DEVICE,
        "br0: is a virtual interface, there is no device behind it",
    )


def test_an_interface_on_usb(nic):
    (nic.directory("/sys/class/net/usb0") / "device").symlink_to(
        nic.directory("/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1")
    )
    code, text = refused(nic, "bind", "usb0")
    assert code == NO_DEVICE
    assert "not on the PCI bus" in text


def test_the_program_alone_starts_from_anywhere_and_imports_little(nic, tmp_path):
    command = [
        sys.executable,
        "-ISB",
        "-X",
        "importtime",
        str(DEPLOY / "vs-bind"),
        "--root",
        str(nic.tree),
        "status",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=30)
    assert done.returncode == 0
    assert NIC in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "bind.main" in imported
    assert not imported & {
        "argparse",
        "dataclasses",
        "pathlib",
        "re",
        "subprocess",
        "typing",
        "json",
        "socket",
        "vswitchd",
    }


def test_the_program_ends_with_the_code_and_no_traceback(nic):
    environment = {**os.environ, "VS_SYSFS": str(nic.tree)}
    for words, code in ((["bind", "09:00.0"], NO_DEVICE), (["frob"], USAGE), ([], USAGE), (["--help"], 0)):
        done = subprocess.run(
            [sys.executable, str(DEPLOY / "vs-bind"), *words],
            capture_output=True,
            text=True,
            env=environment,
            timeout=30,
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_a_tree_of_files_runs_no_program(nic):
    assert Host(str(nic.tree)).run("modprobe", "vfio-pci")[0] == 127


def test_a_real_program_is_run_and_heard():
    assert Host().run("sh", "-c", "echo out; echo err >&2; exit 3") == (3, "out\nerr")
    assert Host().run("no-such-program")[0] == 127
    assert NOT_USABLE == 6
