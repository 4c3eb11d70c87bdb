"""The doctor's view of each port: what its type needs, and nothing of what other types need."""

from dataclasses import replace

import pytest
from doctor_world import NIC, PCI, FakeHost, bad, case, port

from vswitchd.doctor.examine import examine
from vswitchd.doctor.finding import Severity
from vswitchd.doctor.host import Account, FileFacts

OTHER = "0000:01:00.1"
SOCK = "/run/vm/g.sock"


@pytest.fixture
def host():
    made = FakeHost()
    made.nic()
    return made


def findings(host, one, **facts):
    found = examine(host, case(one, **facts), [one.name])
    assert {f.port for f in found} <= {one.name}
    return found


def the_one(host, one, **facts):
    (found,) = [f for f in findings(host, one, **facts) if f.severity is not Severity.OK]
    assert found.mend
    return found.severity.value, found.text, " | ".join(found.mend)


def nic(words=NIC, **facts):
    return port("vfio", pci=words, **facts)


@pytest.mark.parametrize("one", [nic(), nic("01:00.0"), port("dpdk", dpdk_devargs="0000:01:00.0,x=y")])
def test_a_nic_that_is_ready(host, one):
    (found,) = findings(host, one)
    assert found.text == f"{NIC}: vfio-pci, group 7"


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (port("vfio"), "does not say which device"),
        (nic("eth0"), "no PCI address"),
        (nic("09:00.0"), "there is no PCI device 0000:09:00.0"),
    ],
)
def test_a_nic_that_is_not_there(host, one, said):
    severity, text, _ = the_one(host, one)
    assert severity == "problem"
    assert said in text


@pytest.mark.parametrize("driver", ["igb", ""])
def test_a_nic_of_the_kernel(host, driver):
    host.nic(driver=driver)
    _, text, mend = the_one(host, nic())
    assert text == f"{NIC} is bound to {driver or 'no driver'}, not to vfio-pci"
    assert mend == f"deploy/vs-bind bind --persist {NIC}"


def test_a_nic_without_link(host):
    assert the_one(host, replace(nic(), link_up=False))[:2] == ("note", f"{NIC} has no link")
    assert bad(findings(host, replace(nic(), link_up=True))) == []


def test_a_driver_for_one_model_of_vfio(host):
    host.nic(driver="mlx5_vfio_pci")
    assert bad(findings(host, nic())) == []


def test_a_binding_by_new_id(host):
    host.files[f"{PCI}/{NIC}/driver_override"] = "(null)"
    assert the_one(host, nic())[0] == "note"


def test_a_group_that_is_not_viable(host):
    host.nic(OTHER, driver="igb")
    severity, text, mend = the_one(host, nic())
    assert severity == "problem"
    assert f"{OTHER} (igb)" in text
    assert mend.startswith(f"deploy/vs-bind bind --persist {OTHER} |")
    host.nic(OTHER, driver="pcieport")
    assert bad(findings(host, nic())) == []


def test_a_device_without_group(host):
    del host.links[f"{PCI}/{NIC}/iommu_group"]
    assert "in no IOMMU group" in the_one(host, nic())[1]


def test_a_group_that_is_not_ours(host):
    host.denied.add("/dev/vfio/7")
    severity, text, mend = the_one(host, nic())
    assert severity == "problem"
    assert text == "user vswitchd may not open /dev/vfio/7 (crw-rw---- root:kvm)"
    assert mend.startswith("chown vswitchd /dev/vfio/7 | for good: install")


def test_a_group_that_somebody_holds(host):
    host.held["/dev/vfio/7"] = [(7, "vswitchd")]
    assert bad(findings(host, nic())) == []
    host.held["/dev/vfio/7"] = [(9, "testpmd")]
    assert "held by testpmd (pid 9)" in the_one(host, nic(), running=False)[1]


def test_a_device_file_that_is_missing(host):
    del host.files["/dev/vfio/7"], host.stats["/dev/vfio/7"]
    assert "--device=/dev/vfio/7" in the_one(host, nic())[2]


def test_cores_far_from_the_nic(host):
    host.files[f"{PCI}/{NIC}/numa_node"] = "1"
    host.files[f"{PCI}/{NIC}/local_cpulist"] = "8-15"
    severity, _, mend = the_one(host, nic())
    assert severity == "note"
    assert mend.endswith("pmd-cpu-mask=0x8006")
    assert bad(findings(host, nic(), polling=(1, 8))) == []


def test_a_guest_that_is_connected(host):
    for one in (
        port("dpdkvhostuser", connected=True),
        port("dpdkvhostuserclient", vhost_server_path=SOCK, connected=True),
    ):
        assert [f.severity.value for f in findings(host, one)] == ["ok"]


def test_a_server_port(host):
    one = port("dpdkvhostuser", connected=False)
    severity, text, _ = the_one(host, one)
    assert severity == "problem"
    assert "is gone or replaced" in text
    host.socket("/run/vs/p0")
    host.listen("/run/vs/p0")
    severity, text, mend = the_one(host, one)
    assert severity == "note"
    assert mend == "deploy/vm/qemu.sh /run/vs/p0 client -- DISK"


def test_a_server_port_that_qemu_cannot_reach(host):
    one = port("dpdkvhostuser", connected=False)
    host.socket("/run/vs/p0")
    host.listen("/run/vs/p0")
    host.qemu(50, 64055, 64055, 36)
    assert [b[0] for b in bad(findings(host, one))] == ["note"]
    host.socket("/run/vs/p0", mode=0o600)
    found = [f for f in findings(host, one) if f.severity is Severity.PROBLEM]
    assert "libvirt-qemu cannot reach /run/vs/p0: /run/vs/p0 is srw------- vswitchd:kvm" in found[0].text
    assert "options:socket-mode=0660 options:socket-group=" in found[0].mend[0]
    host.stats["/run/vs"] = FileFacts(0o040700, 100, 100)
    found = [f for f in findings(host, one) if f.severity is Severity.PROBLEM]
    assert "/run/vs is drwx------" in found[0].text
    assert found[0].mend[0].startswith("setfacl -m u:libvirt-qemu:x /run/vs")


def test_the_account_of_libvirt_counts_where_no_qemu_runs(host):
    host.accounts["libvirt-qemu"] = Account("libvirt-qemu", 64055, frozenset({64055}))
    found = findings(host, port("dpdkvhostuser", connected=False), running=False)
    assert [f.severity.value for f in found] == ["problem"]


def test_a_server_port_in_a_directory_that_is_missing(host):
    _, text, mend = the_one(host, port("dpdkvhostuser", connected=False, vhost_socket="/run/other/s"))
    assert "directory /run/other does not exist" in text
    assert mend.startswith("install -d")


def client(**facts):
    return port("dpdkvhostuserclient", vhost_server_path=SOCK, connected=False, **facts)


def test_a_client_port(host):
    assert "nothing to connect to" in the_one(host, port("dpdkvhostuserclient"))[1]
    assert the_one(host, client())[:2] == ("note", f"{SOCK} does not exist: QEMU does not listen")
    host.stats["/run/vm"] = FileFacts(0o040755, 64055, 36)
    host.socket(SOCK, uid=64055, gid=36)
    assert the_one(host, client())[0] == "note"
    host.listen(SOCK)
    assert bad(findings(host, client())) == []


def test_a_client_port_without_permission(host):
    host.stats["/run/vm"] = FileFacts(0o040755, 64055, 64055)
    host.socket(SOCK, mode=0o755, uid=64055, gid=64055)
    host.listen(SOCK)
    severity, text, mend = the_one(host, client())
    assert severity == "problem"
    assert f"user vswitchd may not connect to {SOCK}: {SOCK} is srwxr-xr-x libvirt-qemu:64055" in text
    assert mend == f"setfacl -m u:vswitchd:rw {SOCK}"
    host.stats["/run/vm"] = FileFacts(0o040700, 64055, 64055)
    assert the_one(host, client())[2] == "setfacl -m u:vswitchd:x /run/vm"
    host.me(uid=0)
    assert bad(findings(host, client())) == []


def test_a_client_port_at_a_file(host):
    host.stats[SOCK] = FileFacts(0o100666, 0, 0)
    assert the_one(host, client())[1] == f"{SOCK} is no socket"


def test_an_interface(host):
    one = port("system", "eth0")
    assert bad(findings(host, one)) == []
    host.interfaces["eth0"] = (2, 0x1003)
    assert the_one(host, one)[:2] == ("note", "eth0 is up and has no carrier")
    host.interfaces["eth0"] = (2, 0x1002)
    assert the_one(host, one)[::2] == ("problem", "ip link set eth0 up")
    assert the_one(host, port("internal", "eth0"))[0] == "note"
    host.interfaces["eth0"] = (1, 0x49)
    assert "loopback" in the_one(host, one)[1]


def test_an_interface_of_others(host):
    one = port("system", "eth0")
    host.files["/proc/net/route"] = "Iface\tDestination\neth0\t0000000A\t0\n"
    assert the_one(host, one)[0] == "note"
    host.files["/proc/net/route"] = ""
    host.links["/sys/class/net/eth0/master"] = "virbr0"
    host.files["/sys/class/net/eth0/ifindex"] = "9"  # of another namespace
    assert bad(findings(host, one)) == []
    host.files["/sys/class/net/eth0/ifindex"] = "2"
    assert the_one(host, one)[::2] == ("problem", "ip link set eth0 nomaster")


def test_an_interface_that_is_missing(host):
    host.interfaces.clear()
    assert the_one(host, port("system", "eth0"))[0] == "problem"
    assert (
        the_one(host, port("tap", "t0"))[2]
        == "vsctl del-port br0 t0 -- add-port br0 t0 -- set Interface t0 type=tap"
    )
    assert the_one(host, port("internal", "br0"))[2] == "systemctl restart vswitchd"
    assert findings(host, port("tap", "t0"), running=False) == []


def test_what_the_daemon_says_of_a_port_is_told(host):
    one = nic(error="no room")
    severity, text, mend = the_one(host, one)
    assert (severity, text) == ("problem", "does not run: no room")
    assert mend.endswith(
        "vsctl del-port br0 p0 -- add-port br0 p0 -- set Interface p0 type=vfio options:pci=0000:01:00.0"
    )
    assert bad(findings(host, port("patch", error="needs a peer"))) == [("problem", "port", "p0")]
