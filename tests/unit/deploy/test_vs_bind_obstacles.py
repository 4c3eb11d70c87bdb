"""vs-bind says what is in the way, and how to take it out of there: traffic, VFs, bridges, groups, no IOMMU."""

import json

import pytest
from bind.host import IN_USE, NOT_USABLE, BindError
from bind.main import run

NIC, OTHER = "0000:01:00.0", "0000:01:00.1"
ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


@pytest.fixture
def nic(machine):
    machine.device(NIC, "igb", group="7", interface="eth0")
    machine.driver("vfio-pci")
    return machine


def refused(machine, *words):
    with pytest.raises(BindError) as caught:
        run(list(words), machine)
    return caught.value.code, str(caught.value)


def gets_through_by_force(machine, address=NIC):
    run(["bind", "--force", address], machine)
    return machine.bound(address) == "vfio-pci"


def default_route(machine, name):
    machine.put("/proc/net/route", f"{ROUTES}{name}\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0")


def up(machine, name):
    machine.put(f"/sys/class/net/{name}/flags", "0x1003")


def test_the_default_route(nic):
    default_route(nic, "eth0")
    code, text = refused(nic, "bind", NIC)
    assert code == IN_USE
    assert "eth0 has the default route" in text
    assert "--force" in text
    assert nic.bound(NIC) == "igb"
    assert gets_through_by_force(nic)


def test_the_default_route_of_ipv6(nic):
    zeros = "0" * 32
    line = f"{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 %s     eth0"
    nic.put("/proc/net/ipv6_route", line % "00200200")
    assert run(["bind", NIC], nic) == 0
    run(["unbind", NIC], nic)
    nic.put("/proc/net/ipv6_route", line % "00000003")
    assert "eth0 has the default route" in refused(nic, "bind", NIC)[1]


def test_addresses_of_an_interface_that_is_up(nic):
    nic.addresses["eth0"] = "10.0.0.5"
    nic.put(
        "/proc/net/if_inet6",
        "fd000000000000000000000000000002 02 40 00 80     eth0\n" + "fe80" + "0" * 28 + " 02 40 20 80 eth0",
    )
    assert run(["bind", NIC], nic) == 0  # it is down
    run(["unbind", NIC], nic)
    up(nic, "eth0")
    code, text = refused(nic, "bind", NIC)
    assert code == IN_USE
    assert "eth0 is up with 10.0.0.5, fd00:0:0:0:0:0:0:2;" in text
    assert "ip link set eth0 down" in text


def test_a_bridge_above_it(nic):
    nic.directory("/sys/class/net/br0")
    (nic.tree / "sys/class/net/eth0/master").symlink_to(nic.tree / "sys/class/net/br0")
    default_route(nic, "br0")
    text = refused(nic, "bind", "eth0")[1]
    assert "br0, which stands on eth0, has the default route" in text
    assert "eth0 is a port of br0; ip link set eth0 nomaster" in text


def test_a_vlan_above_it(nic):
    nic.directory("/sys/class/net/eth0.5")
    (nic.tree / "sys/class/net/eth0/upper_eth0.5").symlink_to(nic.tree / "sys/class/net/eth0.5")
    default_route(nic, "eth0.5")
    assert "eth0.5, which stands on eth0, has the default route" in refused(nic, "bind", "eth0")[1]


def test_vfs(nic):
    nic.device("0000:01:10.0", "igbvf", group="8")
    (nic.tree / f"sys/bus/pci/devices/{NIC}/virtfn0").symlink_to(
        nic.tree / "sys/bus/pci/devices/0000:01:10.0"
    )
    text = refused(nic, "bind", NIC)[1]
    assert "has 1 VFs (0000:01:10.0)" in text
    assert f"echo 0 >/sys/bus/pci/devices/{NIC}/sriov_numvfs" in text
    assert run(["bind", "01:10.0"], nic) == 0


def test_bridges_and_disks_are_left_alone(nic):
    nic.device("0000:00:01.0", "pcieport", group="7", kind="0x060400")
    nic.device("0000:02:00.0", "nvme", group="9", kind="0x010802")
    assert "is a bridge: it stays with its driver" in refused(nic, "bind", "00:01.0")[1]
    assert "is no network device but storage (class 0108)" in refused(nic, "bind", "02:00.0")[1]


def test_a_process_that_holds_it(nic):
    run(["bind", NIC], nic)
    nic.put("/proc/42/comm", "vswitchd")
    (nic.directory("/proc/42/fd") / "9").symlink_to("/dev/vfio/7")
    code, text = refused(nic, "unbind", NIC)
    assert code == IN_USE
    assert "vswitchd (pid 42) has /dev/vfio/7 open" in text
    assert nic.bound(NIC) == "vfio-pci"
    assert run(["unbind", "--force", NIC], nic) == 0
    assert nic.bound(NIC) == "igb"


def test_a_group_that_is_not_viable_lists_who_else_must_come(nic, capsys):
    nic.device(OTHER, "igb", group="7", interface="eth1")
    nic.device("0000:00:01.0", "pcieport", group="7", kind="0x060400")
    assert run(["bind", NIC], nic) == NOT_USABLE
    said = capsys.readouterr().out
    assert "group 7 is not viable" in said
    assert f"{OTHER} (igb, eth1)" in said
    assert f"vs-bind bind {OTHER}\n" in said
    assert "00:01.0" not in said
    assert nic.bound(NIC) == "vfio-pci"
    assert run(["bind", OTHER], nic) == 0


def test_both_of_a_group_at_once(nic, capsys):
    nic.device(OTHER, "igb", group="7")
    assert run(["bind", NIC, OTHER], nic) == 0
    assert capsys.readouterr().out.count("/dev/vfio/7: crw") == 1


def without_iommu(machine, cpu, cmdline="quiet", tables=()):
    machine.device("0000:05:00.0", "igb")
    machine.driver("vfio-pci")
    machine.put("/proc/cpuinfo", cpu)
    machine.put("/proc/cmdline", cmdline)
    machine.put("/etc/default/grub", "GRUB_CMDLINE_LINUX=")
    machine.programs["update-grub"] = ""
    for table in tables:
        machine.put(f"/sys/firmware/acpi/tables/{table}", "")
    code, text = refused(machine, "bind", "05:00.0")
    assert code == NOT_USABLE
    assert "VFIO needs an IOMMU" in text
    assert machine.bound("0000:05:00.0") == "igb"
    return text


INTEL, AMD = "vendor_id : GenuineIntel\nflags : vmx", "vendor_id : AuthenticAMD\nflags : svm"


def test_no_iommu_on_intel(machine):
    text = without_iommu(machine, INTEL, tables=["DMAR"])
    assert (
        'add intel_iommu=on iommu=pt to GRUB_CMDLINE_LINUX in /etc/default/grub; run "update-grub"; then reboot'
        in text
    )


def test_no_iommu_on_amd(machine):
    assert "amd_iommu=on iommu=pt" in without_iommu(machine, AMD, tables=["IVRS"])


def test_an_iommu_that_the_firmware_hides(machine):
    assert "the firmware shows none: switch on VT-d" in without_iommu(machine, INTEL)


def test_an_iommu_that_is_switched_off(machine):
    text = without_iommu(machine, INTEL, cmdline="quiet intel_iommu=off", tables=["DMAR"])
    assert "take intel_iommu=off away" in text


def test_an_iommu_that_does_not_come_up(machine):
    assert "dmesg" in without_iommu(machine, INTEL, cmdline="intel_iommu=on", tables=["DMAR"])


def test_a_virtual_machine_without_one(machine):
    text = without_iommu(machine, INTEL + " hypervisor")
    assert "-device intel-iommu,intremap=on" in text
    assert "<iommu model='intel'>" in text


def test_a_virtual_machine_with_one(machine):
    assert "add intel_iommu=on to GRUB" in without_iommu(machine, INTEL + " hypervisor", tables=["DMAR"])


def test_a_device_that_the_iommu_does_not_cover(nic):
    nic.device("0000:05:00.0", "igb")
    assert "does not cover this device" in refused(nic, "bind", "05:00.0")[1]


def test_other_drivers_need_no_iommu(machine):
    machine.device("0000:05:00.0", "igb")
    machine.driver("uio_pci_generic")
    assert run(["bind", "uio_pci_generic", "05:00.0"], machine) == 0


def test_status_in_json(nic, capsys):
    nic.device(OTHER, "igb", group="7", interface="eth1")
    nic.device("0000:00:01.0", "pcieport", group="2", kind="0x060400")
    default_route(nic, "eth0")
    nic.put(
        "/usr/share/misc/pci.ids",
        "# x\n8085  Not\n\t10d3  wrong\n8086  Intel\n\t10a0  A\n\t10d3  82574L\n\t\t1 2  sub\n9000  B",
    )
    assert run(["status", "-f", "json"], nic) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["iommu"] == ["dmar0"]
    assert found["iommu_advice"] == []
    assert found["vfio_pci_loaded"] is True
    first, second = found["devices"]
    assert (first["address"], first["driver"], first["interfaces"], first["group"]) == (
        NIC,
        "igb",
        ["eth0"],
        "7",
    )
    assert first["name"] == "82574L"
    assert first["group_viable"] is False
    assert first["in_the_way"] == ["eth0 has the default route: this machine would be cut off"]
    assert second["in_the_way"] == []


def test_status_as_text(nic, capsys):
    default_route(nic, "eth0")
    assert run(["status", "eth0"], nic) == 0
    said = capsys.readouterr().out
    assert "ADDRESS" in said
    assert f"{NIC}  8086:10d3  igb" in said
    assert "- eth0 has the default route" in said
    assert "IOMMU: dmar0; vfio-pci: loaded" in said


def test_status_of_what_vfio_has(nic, capsys):
    nic.device(OTHER, "igb", group="7")
    run(["bind", NIC], nic)
    capsys.readouterr()
    run(["status"], nic)
    said = capsys.readouterr().out
    assert f"group 7 is shared (not viable: all of it must be bound): {OTHER} (igb)" in said
    assert "/dev/vfio/7: crw------- root root" in said
    assert "no interface is seen here" in said  # the other one: bound to igb, no interface in this namespace


def test_status_of_nothing(machine, capsys):
    assert run(["status"], machine) == 0
    assert "no network device" in capsys.readouterr().out
