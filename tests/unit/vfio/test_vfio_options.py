"""Options of a VFIO port: what is taken, and what is said of what is not."""

import pytest

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.vfio import options

PCI = {"pci": "01:00.0"}


def read(options_: dict[str, str], type_: str = "vfio", **fields: object) -> options.Options:
    """Read the options of a port of that type."""
    return options.read(PortConfig("eth0", type_, options_, **fields))  # type: ignore[arg-type]


def test_address() -> None:
    """By either name, short or long."""
    assert read(PCI).pci == "0000:01:00.0"
    assert read({"dpdk-devargs": "0000:3b:00.1"}, "dpdk").pci == "0000:3b:00.1"
    assert read({"dpdk-devargs": "pci:0000:3B:00.1"}, "dpdk").pci == "0000:3b:00.1"


def test_defaults() -> None:
    """What a port is without options."""
    assert read(PCI) == options.Options("0000:01:00.0", 1, None, 1024, 1024, 1500, None, True, 0, 0)


def test_all() -> None:
    """Every option, and what comes from other columns."""
    words = {
        **PCI, "n_rxq_desc": "512", "n_txq_desc": "2048", "n_txq": "3", "promiscuous": "false", "rx-flow-ctrl": "true",
        "flow-ctrl-autoneg": "true", "offloads-off": "tso, rss",
    }  # fmt: skip
    got = read(words, n_rxq=4, mtu_request=9000, mac="02:00:00:00:00:07")
    assert (got.n_rxq, got.n_txq, got.rx_desc, got.tx_desc, got.mtu) == (4, 3, 512, 2048, 9000)
    assert (got.mac, got.promiscuous) == ("02:00:00:00:00:07", False)
    assert got.flow_control == lib.VS_NIC_PAUSE_RX | lib.VS_NIC_PAUSE_AUTO
    assert got.features_off == lib.VS_NIC_F_TSO4 | lib.VS_NIC_F_TSO6 | lib.VS_NIC_F_RSS
    assert (
        read({**PCI, "dpdk-vf-mac": "02:00:00:00:00:08"}, mac="02:00:00:00:00:07").mac == "02:00:00:00:00:08"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "needs options:pci="),
        ({"pci": "eth0"}, "is no PCI address"),
        ({**PCI, "dpdk-devargs": "02:00.0"}, "different devices"),
        ({"dpdk-devargs": "net_af_xdp0,iface=eth0"}, "type=system"),
        ({"dpdk-devargs": "01:00.0,mprq_en=1"}, "leave out ',mprq_en=1'"),
        ({**PCI, "n_rxq_desc": "0"}, "a number from 1 to 4096"),
        ({**PCI, "n_txq_desc": "many"}, "a number from 1 to 4096"),
        ({**PCI, "n_txq": "17"}, "a number from 1 to 16"),
        ({**PCI, "promiscuous": "yes"}, "true or false"),
        ({**PCI, "rx-flow-ctrl": "1"}, "true or false"),
        ({**PCI, "offloads-off": "lro"}, 'there is no "lro"; there are rx-csum tx-csum tso rss'),
        ({**PCI, "dpdk-vf-mac": "mine"}, "a MAC address"),
        ({**PCI, "n_rxq_desc": "1\n2"}, "1?2"),
    ],
)  # fmt: skip
def test_refused(words: dict[str, str], says: str) -> None:
    """One line that says what is valid."""
    with pytest.raises(PortError) as refused:
        read(words)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("mtu", [67, 65536, 1 << 40])
def test_no_such_mtu(mtu: int) -> None:
    """What no NIC can have."""
    with pytest.raises(PortError, match="from 68 to 65535"):
        read(PCI, mtu_request=mtu)


def test_too_many_queues() -> None:
    """More than any NIC of ours has."""
    with pytest.raises(PortError, match="1 to 16"):
        read({**PCI, "n_rxq": "20"}, n_rxq=20)
