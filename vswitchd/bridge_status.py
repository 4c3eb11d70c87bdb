"""What is true of bridges and interfaces, in the columns of the configuration: link, counters, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vswitchd.bridge import LiveBridge, LivePort
    from vswitchd.datapath import dp

Update = tuple[str, str, dict[str, Any]]

EMPTY: dict[str, Any] = {
    "admin_state": None,
    "ifindex": None,
    "link_resets": None,
    "link_speed": None,
    "link_state": None,
    "duplex": None,
    "mac_in_use": None,
    "mtu": None,
    "statistics": {},
    "status": {},
}
RX_ERRORS = ("runt", "oversize", "bad_descriptor", "bad_offload", "device_error")
TX_ERRORS = ("bad_descriptor", "error")


def statistics(counters: dp.PortCounters) -> dict[str, int]:
    """Return column `statistics`: Open vSwitch's names over the ledger of one port.

    rx_errors are packets that were malformed, rx_dropped all others that did not get through; so for tx.
    """
    rx, tx = counters.rx_drops, counters.tx_drops
    rx_errors = sum(rx.get(reason, 0) for reason in RX_ERRORS)
    tx_errors = sum(tx.get(reason, 0) for reason in TX_ERRORS)
    return {
        "rx_packets": counters.rx_packets,
        "rx_bytes": counters.rx_bytes,
        "rx_errors": rx_errors,
        "rx_dropped": sum(rx.values()) - rx_errors,
        "tx_packets": counters.tx_packets,
        "tx_bytes": counters.tx_bytes,
        "tx_errors": tx_errors,
        "tx_dropped": sum(tx.values()) - tx_errors,
        "ovs_tx_failure_drops": tx.get("ring_full", 0) + tx.get("not_ready", 0),
        "ovs_tx_mtu_exceeded_drops": tx.get("mtu_exceeded", 0),
    }


def interface(port: LivePort) -> dict[str, Any]:
    """Return the computed columns of one Interface row."""
    if port.driver is None or port.handle is None:
        return {**EMPTY, "ofport": -1, "error": port.error or None}
    now = port.last
    return {
        "ofport": port.number,
        "error": port.error or (port.qos_error and f"QoS: {port.qos_error}") or now.info.get("error"),
        "admin_state": "up" if now.admin_up else "down",
        "link_state": "up" if now.link_up else "down",
        "link_resets": port.link_resets,
        "link_speed": now.speed_bps or None,
        "duplex": "full" if now.speed_bps else None,
        "mac_in_use": now.mac,
        "mtu": now.mtu,
        "ifindex": port.ifindex or None,
        "statistics": statistics(port.handle.counters()),
        "status": dict(now.info),
    }


def updates(bridge: LiveBridge) -> list[Update]:
    """Return what Store.set_statuses needs for a bridge and its interfaces."""
    result: list[Update] = [("Interface", p.spec.uuid, interface(p)) for p in bridge.ports.values()]
    result.append(("Bridge", bridge.spec.uuid, {"datapath_id": f"{bridge.spec.datapath_id:016x}"}))
    return result
