"""What is true of a NIC port, for column `status`, OpenFlow and the metrics."""

from __future__ import annotations

import contextlib
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import NO_MAC, PortStatus
from vswitchd.ports.vfio.errors import VfioError

if TYPE_CHECKING:
    from vswitchd.ports.vfio.device import Device
    from vswitchd.ports.vfio.port import VfioPort

FEATURES: dict[str, int] = {
    "rx-csum": lib.VS_NIC_F_RX_CSUM,
    "tx-csum": lib.VS_NIC_F_TX_CSUM,
    "tso4": lib.VS_NIC_F_TSO4,
    "tso6": lib.VS_NIC_F_TSO6,
    "rss": lib.VS_NIC_F_RSS,
    "promiscuous": lib.VS_NIC_F_PROMISC,
    "all-multicast": lib.VS_NIC_F_ALLMULTI,
    "set-mac": lib.VS_NIC_F_SET_MAC,
    "flow-control": lib.VS_NIC_F_FLOW_CONTROL,
    "link-interrupt": lib.VS_NIC_F_LINK_IRQ,
    "vf": lib.VS_NIC_F_VF,
}
HELP = {
    "vs_nic_rx_packets_total": "Frames that the NIC received, by its own counter.",
    "vs_nic_rx_bytes_total": "Bytes that the NIC received, by its own counter.",
    "vs_nic_tx_packets_total": "Frames that the NIC sent, by its own counter.",
    "vs_nic_tx_bytes_total": "Bytes that the NIC sent, by its own counter.",
    "vs_nic_rx_missed_total": "Frames that the NIC had no room for: the switch never saw them.",
    "vs_nic_rx_crc_total": "Frames with a wrong FCS.",
    "vs_nic_rx_length_total": "Frames too short or too long for the NIC.",
    "vs_nic_rx_errors_total": "Frames that the NIC received damaged, of all kinds.",
    "vs_nic_tx_errors_total": "Frames that the NIC could not send.",
    "vs_nic_tx_collisions_total": "Collisions on a half-duplex link.",
    "vs_nic_rx_pause_total": "Pause frames received.",
    "vs_nic_tx_pause_total": "Pause frames sent.",
    "vs_nic_rx_multicast_total": "Multicast frames received, by the NIC's own counter.",
    "vs_nic_rx_broadcast_total": "Broadcast frames received, by the NIC's own counter.",
}


def driver(handle: Any) -> str:
    """Name of the C driver; empty without a device."""
    text: str = ffi.string(lib.vs_nic_driver_name(handle)).decode()
    return text


@cache
def drivers() -> tuple[str, ...]:
    """Names of all drivers."""
    vendor, device, name = ffi.new("uint32_t *"), ffi.new("uint32_t *"), ffi.new("char const **")
    found: dict[str, None] = {}
    index = 0
    while lib.vs_nic_known(index, vendor, device, name):
        found[ffi.string(name[0]).decode()] = None
        index += 1
    return tuple(found)


def known_faults(handle: Any) -> frozenset[int]:
    """IOVAs at which the IOMMU stops the device without harm: vmxnet3 in QEMU reads address 0 when it stops."""
    return frozenset({0}) if driver(handle) == "vmxnet3" else frozenset()


def fitting(asked: int, info: Any) -> int:
    """The number of descriptors next to what was asked that the device takes."""
    fit = max(info.min_desc, min(asked, info.max_desc))
    return int(max(info.min_desc, fit // info.desc_multiple * info.desc_multiple))


def _mac(port: VfioPort) -> str:
    own = bytes(port.running.mac)
    return (own if any(own) else bytes(port.info.mac)).hex(":")


def _info(port: VfioPort, device: Device) -> dict[str, str]:
    can, runs = port.info, port.running
    facts = {
        "driver_name": driver(port.handle),
        "if_descr": f"{driver(port.handle)} {device.address}",
        "bus_info": f"bus_name=pci, vendor_id={device.identity.vendor:04x}, device_id={device.identity.device:04x}",
        "pci-vendor_id": f"{device.identity.vendor:#x}",
        "pci-device_id": f"{device.identity.device:#x}",
        "numa_id": str(device.numa_node),
        "max_rx_queues": str(can.max_rxq),
        "max_tx_queues": str(can.max_txq),
        "n_rxq": str(runs.n_rxq),
        "n_txq": str(runs.n_txq),
        "n_rxq_desc": str(runs.rx_desc),
        "n_txq_desc": str(runs.tx_desc),
        "max_mtu": str(can.max_mtu),
        "features": " ".join(n for n, bit in FEATURES.items() if can.features & bit & ~runs.features_off)
        or "none",
        "interrupts": str(runs.n_vectors),
        "link_speed": f"{port.link.speed_mbps} Mbps" if port.link.up and port.link.speed_mbps else "Unknown",
    }
    with contextlib.suppress(VfioError):
        if (link := device.link()) is not None:
            facts["pcie_link"] = f"x{link.width} at {link.speed:g} GT/s"
    return facts


def _metrics(port: VfioPort) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    stats = ffi.new("struct vs_nic_stats *")
    lib.vs_nic_read_stats(port.handle, stats)
    return {
        (name, ()): float(getattr(stats, name.removeprefix("vs_nic_").removesuffix("_total")))
        for name in HELP
    }


def status(port: VfioPort, device: Device | None, *, lost: str) -> PortStatus:
    """Return the status of a port; `lost`: why it has no device."""
    if device is None:
        return PortStatus(
            link_up=False,
            mtu=0,
            mac=NO_MAC,
            info={"error": lost} if lost else {},
            measure=partial(_metrics, port),
        )
    return PortStatus(
        link_up=bool(port.link.up),
        mtu=port.running.mtu,
        mac=_mac(port),
        speed_bps=port.link.speed_mbps * 1_000_000 if port.link.up else 0,
        info=_info(port, device),
        measure=partial(_metrics, port),
    )
