"""vs-bind --persist: one udev rule a device, or driverctl where it is; unbind --persist takes exactly that back."""

import pytest
from bind.host import BindError
from bind.main import run
from bind.persist import RULES

NIC, OTHER = "0000:01:00.0", "0000:02:00.0"


@pytest.fixture
def nics(machine):
    machine.device(NIC, "igb", group="7")
    machine.device(OTHER, "igb", group="8")
    machine.driver("vfio-pci")
    return machine


def rules(machine):
    return [line for line in machine.read(RULES).splitlines() if not line.startswith("#")]


def test_a_rule_for_each_device_once(nics):
    for _ in range(2):
        assert run(["bind", "--persist", NIC, OTHER], nics) == 0
    first, second = rules(nics)
    assert first.startswith(f'ACTION=="add", SUBSYSTEM=="pci", KERNEL=="{NIC}", DRIVER!="vfio-pci"')
    assert 'ATTR{driver_override}="vfio-pci"' in first
    assert f'KERNEL=="{OTHER}"' in second
    assert ("udevadm", "control", "--reload") in nics.ran


def test_another_driver_replaces_the_rule(nics):
    nics.driver("uio_pci_generic")
    run(["bind", "--persist", NIC], nics)
    run(["bind", "--persist", "uio_pci_generic", NIC], nics)
    (line,) = rules(nics)
    assert 'ATTR{driver_override}="uio_pci_generic"' in line


def test_unbind_takes_its_rule_and_leaves_the_others(nics, capsys):
    run(["bind", "--persist", NIC, OTHER], nics)
    run(["unbind", "--persist", NIC], nics)
    (line,) = rules(nics)
    assert OTHER in line
    run(["unbind", "--persist", OTHER], nics)
    assert not nics.exists(RULES)
    capsys.readouterr()
    run(["unbind", "--persist", OTHER], nics)
    assert "nothing was stored" in capsys.readouterr().out


def test_without_persist_nothing_is_stored(nics):
    run(["bind", NIC], nics)
    assert not nics.exists(RULES)


def test_driverctl_has_it_in_its_own_file_where_it_is(nics):
    nics.programs["driverctl"] = ""
    run(["bind", "--persist", NIC], nics)
    assert nics.read(f"/etc/driverctl.d/pci-{NIC}") == "vfio-pci"
    assert not nics.exists(RULES)
    assert not [
        words for words in nics.ran if words[0] == "driverctl"
    ]  # it would take the device off its driver
    run(["unbind", "--persist", NIC], nics)
    assert not nics.exists(f"/etc/driverctl.d/pci-{NIC}")


def test_a_place_that_cannot_be_written(nics):
    nics.put("/etc/udev", "a file where a directory should be")
    with pytest.raises(BindError, match=r"rules\.d.*cannot be written"):
        run(["bind", "--persist", NIC], nics)
