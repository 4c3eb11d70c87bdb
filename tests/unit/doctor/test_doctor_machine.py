"""The doctor's view of the machine and the process: each thing that is broken is found once, with what mends it."""

import errno

import pytest
from doctor_world import FakeHost, bad, case, port

from vswitchd.doctor.examine import examine
from vswitchd.doctor.finding import Severity
from vswitchd.doctor.host import FileFacts, Space
from vswitchd.doctor.process import cpu_list

VFIO = port("vfio", "n0", pci="01:00.0")
KERNEL = (port("internal", "br0"), port("system", "eth0"))


@pytest.fixture
def host():
    made = FakeHost()
    made.nic()
    made.interfaces["br0"] = (3, 0x1043)
    return made


def findings(host, *ports, **facts):
    found = examine(host, case(*ports, **facts))
    assert all(f.mend for f in found if f.severity is Severity.PROBLEM)
    return found


def the_one(host, *ports, **facts):
    (found,) = [f for f in findings(host, *ports, **facts) if f.severity is not Severity.OK]
    return found.severity.value, found.subject, found.text, " | ".join(found.mend)


def test_a_machine_where_all_is_well(host):
    found = findings(host, VFIO, *KERNEL)
    assert bad(found) == []
    assert {f.subject for f in found} == {
        "process",
        "cores",
        "memory",
        "iommu",
        "vfio",
        "sockets",
        "disk",
        "port",
    }


@pytest.mark.parametrize(("ports", "severity"), [(KERNEL, "problem"), ((), "note")])
def test_capabilities(host, ports, severity):
    host.me(capabilities="0000000000004000")  # CAP_IPC_LOCK alone
    found, subject, text, mend = the_one(host, *ports)
    assert (found, subject) == (severity, "process")
    assert "no CAP_NET_ADMIN and CAP_NET_RAW" in text
    assert "deploy/systemd/vswitchd.service" in mend


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOENT, "modprobe tun"),
        (errno.EACCES, "udev"),
        (errno.EPERM, "DeviceAllow"),
        (errno.EIO, "modprobe"),
    ],
)
def test_tun(host, number, mend):
    host.opens["/dev/net/tun"] = number
    assert the_one(host, *KERNEL)[0] == "problem"
    severity, subject, text, how = the_one(host)
    assert (severity, subject) == ("note", "process")
    assert "/dev/net/tun" in text
    assert mend in how


def test_no_iommu_matters_to_vfio_ports(host):
    del host.files["/sys/class/iommu/dmar0/x"]
    host.files["/sys/firmware/acpi/tables/DMAR"] = ""
    host.files["/etc/default/grub"] = host.files["/usr/sbin/update-grub"] = ""
    severity, subject, text, mend = the_one(host, VFIO)
    assert (severity, subject) == ("problem", "iommu")
    assert "cannot be opened (n0)" in text
    assert mend == "GRUB_CMDLINE_LINUX in /etc/default/grub: add intel_iommu=on iommu=pt; update-grub; reboot"
    assert the_one(host)[0] == "note"


@pytest.mark.parametrize(
    ("cpu", "cmdline", "table", "said"),
    [
        ("AuthenticAMD", "", "IVRS", "amd_iommu=on"),
        ("GenuineIntel", "iommu=off", "DMAR", "take it away"),
        ("GenuineIntel", "intel_iommu=on", "DMAR", "dmesg"),
        ("GenuineIntel hypervisor", "", "DMAR", "add intel_iommu=on; reboot"),
        ("GenuineIntel hypervisor", "", "FACP", "-device intel-iommu"),
        ("GenuineIntel", "", "FACP", "VT-d"),
    ],
)
def test_what_switches_an_iommu_on(host, cpu, cmdline, table, said):
    del host.files["/sys/class/iommu/dmar0/x"]
    host.files |= {"/proc/cpuinfo": cpu, "/proc/cmdline": cmdline, f"/sys/firmware/acpi/tables/{table}": ""}
    assert said in the_one(host, VFIO)[3]


def test_where_the_boot_loader_has_the_command_line(host):
    del host.files["/sys/class/iommu/dmar0/x"]
    host.files["/sys/firmware/acpi/tables/DMAR"] = ""
    host.files["/etc/kernel/cmdline"] = ""
    assert the_one(host)[3].startswith("/etc/kernel/cmdline: add")
    host.files["/etc/default/grub"] = ""
    assert "grub2-mkconfig" in the_one(host)[3]
    host.files["/usr/sbin/grubby"] = ""
    assert the_one(host)[3].startswith("grubby")


def test_modules(host):
    del host.files["/sys/module/vfio_iommu_type1/x"]
    severity, subject, text, mend = the_one(host, VFIO)
    assert (severity, subject, text) == ("problem", "vfio", "not loaded: vfio_iommu_type1")
    assert mend.startswith("modprobe -a vfio_iommu_type1 |")


@pytest.mark.parametrize(
    ("number", "mend"), [(errno.EACCES, "chmod"), (errno.EPERM, "DeviceAllow"), (errno.ENOENT, "--device")]
)
def test_the_control_file(host, number, mend):
    host.opens["/dev/vfio/vfio"] = number
    severity, subject, text, how = the_one(host, VFIO)
    assert (severity, subject) == ("problem", "vfio")
    assert errno.errorcode[number] in text
    assert mend in how


def test_no_iommu_mode_is_told(host):
    host.files["/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"] = "Y"
    assert the_one(host, VFIO)[:2] == ("note", "vfio")


def test_huge_pages(host):
    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB"
    host.files[f"{pool}/free_hugepages"] = "0"
    assert bad(findings(host, VFIO)) == []  # the daemon itself may have them
    assert "all 512" in the_one(host, VFIO, running=False)[2]
    host.files[f"{pool}/nr_hugepages"] = "0"
    severity, subject, _, mend = the_one(host, VFIO)
    assert (severity, subject) == ("note", "memory")
    assert mend.startswith("sysctl vm.nr_hugepages=256")
    assert bad(findings(host, port("dpdkvhostuser", connected=True))) == []


@pytest.mark.parametrize(
    ("memlock", "severity"), [(8 << 20, "problem"), (256 << 20, "note"), (4 << 30, None), ("unlimited", None)]
)
def test_locked_memory(host, memlock, severity):
    host.me(memlock=memlock, capabilities="0000000000003000")  # NET_ADMIN and NET_RAW
    assert [b[:2] for b in bad(findings(host, VFIO))] == ([(severity, "memory")] if severity else [])
    host.me(memlock=memlock)
    assert bad(findings(host, VFIO)) == []  # CAP_IPC_LOCK


def test_cores(host):
    host.files["/sys/devices/system/cpu/isolated"] = "0-3"
    _, _, text, mend = the_one(host, polling=(0, 1))
    assert text.startswith("CPU 0 polls")
    assert mend == "vsctl set Open_vSwitch . other_config:pmd-cpu-mask=0x2"
    host.files["/sys/devices/system/cpu/isolated"] = ""
    severity, subject, text, mend = the_one(host)
    assert (severity, subject) == ("note", "cores")
    assert "CPUs 1,2: not isolated" in text
    assert "isolcpus=managed_irq,domain,1,2 nohz_full=1,2 rcu_nocbs=1,2" in mend
    host.me(cpus="0")  # the control thread's: it keeps off what polls
    assert "CPUs 1,2: not isolated" in the_one(host, cpus=(0, 1, 2))[2]
    host.me(cpus="1")
    assert "as this machine has no other" in the_one(host, polling=(1,))[2]
    host.files["/sys/devices/system/cpu/online"] = "0-3"
    assert the_one(host, polling=(1,))[3].startswith("start it by taskset -c 0-3;")


def test_hyperthreads(host):
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    for cpu, pair in {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}.items():
        host.files[topology.format(cpu)] = pair
    assert "1 and 3 poll on one core" in the_one(host, polling=(1, 3))[2]
    assert the_one(host, polling=(1, 3))[3].endswith("pmd-cpu-mask=0x2")
    severity, _, text, mend = the_one(host, polling=(1,))
    assert severity == "note"
    assert text.endswith("CPU 3 beside 1")
    assert mend == "echo 0 >/sys/devices/system/cpu/cpu3/online"


def test_the_governor(host):
    host.files["/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor"] = "powersave"
    _, _, text, mend = the_one(host)
    assert text == 'CPU 2: governor "powersave" lowers the clock'
    assert mend == "cpupower -c 2 frequency-set -g performance"


@pytest.mark.parametrize(
    ("room", "severity"),
    [
        (Space(1 << 20, 1 << 30, 9999), "problem"),
        (Space(1 << 30, 1 << 40, 5), "problem"),
        (Space(99 << 20, 1 << 40, None), "note"),
        (None, "note"),
    ],
)
def test_disk(host, room, severity):
    host.room = room
    assert bad(findings(host)) == [(severity, "disk", "")]


def test_a_state_directory_of_somebody_else(host):
    host.denied.add("/var/vs")
    assert the_one(host)[:2] == ("problem", "disk")


def test_the_run_directory(host):
    host.stats["/run/vs"] = FileFacts(0o040777, 100, 36)
    assert the_one(host)[3] == "chmod o-w /run/vs"
    host.stats["/run/vs"] = FileFacts(0o100644, 100, 36)
    assert "no directory" in the_one(host)[2]
    host.stats["/run/vs"] = FileFacts(0o040755, 0, 0)
    host.denied.add("/run/vs")
    assert "may not make sockets" in the_one(host)[2]
    del host.stats["/run/vs"]
    assert the_one(host)[0] == "note"


def test_sockets_that_nobody_listens_on(host):
    for name in ("db.sock", "old", "p0"):
        host.socket(f"/run/vs/{name}")
    host.listen("/run/vs/db.sock")
    host.listen("/run/vs/p0")
    severity, subject, _, mend = the_one(host, port("dpdkvhostuser", connected=True))
    assert (severity, subject, mend) == ("note", "sockets", "rm /run/vs/old")


def test_lists_of_cpus():
    assert cpu_list("0-2,5\n") == (0, 1, 2, 5)
    assert cpu_list("") == cpu_list("x") == cpu_list("1-x") == ()
