"""What shall run, read from a snapshot of the configuration: bridges, ports and controllers as plain values.

Pure: touches nothing but the snapshot. What an operator got wrong in one row becomes that row's `error` or a
warning; it never keeps another row from being read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from vswitchd.config import qos
from vswitchd.cores import parse_affinity
from vswitchd.errors import ConfigError
from vswitchd.ofproto.auxiliary import MAX_AUXILIARIES
from vswitchd.ofproto.server import datapath_id
from vswitchd.ports.base import PortConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.config.rows import Row, Snapshot
    from vswitchd.datapath.qos_spec import QosSpec

MAC_TABLE_SIZE = 8192
MAC_AGEING = 300
MAX_RXQ = 64
# What an operator can store (the schema is Open vSwitch's) and this switch does not do.
BRIDGE_COLUMNS = (
    *("auto_attach", "flood_vlans", "flow_tables", "ipfix", "mcast_snooping_enable", "mirrors", "netflow"),
    *("rstp_enable", "sflow", "stp_enable"),
)
PORT_COLUMNS = ("cvlans", "fake_bridge", "lacp", "protected")
INTERFACE_COLUMNS = ("bfd", "cfm_mpid", "ingress_policing_kpkts_rate", "lldp")
ANY_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class VlanMode(Enum):
    """How a port carries VLANs, as column vlan_mode says it."""

    TRUNK = "trunk"
    ACCESS = "access"
    NATIVE_TAGGED = "native-tagged"
    NATIVE_UNTAGGED = "native-untagged"


@dataclass(frozen=True, slots=True)
class Vlan:
    """VLAN membership of a port for NORMAL."""

    mode: VlanMode = VlanMode.TRUNK
    tag: int = 0
    trunks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PortSpec:
    """One interface and the port it belongs to; `error` is why it cannot be made, known before trying."""

    uuid: str
    config: PortConfig
    ofport_request: int | None = None
    vlan: Vlan = Vlan()
    affinity: tuple[tuple[int, int], ...] = ()
    local: bool = False
    patch_peer: str = ""
    qos: QosSpec | None = None
    qos_error: str = ""
    """Why the QoS cannot be; what the port had goes on."""
    policing: tuple[int, int] = (0, 0)
    """Of what is received: bits/s and bits; 0: none."""
    error: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The interface's name."""
        return self.config.name


@dataclass(frozen=True, slots=True)
class ControllerSpec:
    """One controller of a bridge (table Controller)."""

    uuid: str
    target: str
    inactivity_probe_ms: int = 5000
    max_backoff_ms: int = 8000
    primary: bool | None = None
    enable_async: bool = True
    rate_limit: int | None = None
    burst_limit: int | None = None
    auxiliaries: int = 0


@dataclass(frozen=True, slots=True)
class SslSpec:
    """Files of table SSL."""

    private_key: str
    certificate: str
    ca_cert: str
    bootstrap: bool = False


@dataclass(frozen=True, slots=True)
class BridgeSpec:
    """One bridge."""

    uuid: str
    name: str
    ports: Mapping[str, PortSpec]
    controllers: tuple[ControllerSpec, ...] = ()
    secure: bool = False
    protocols: tuple[str, ...] = ()
    datapath_id: int = 0
    hwaddr: str = ""
    mac_ageing: int = MAC_AGEING
    mac_table_size: int = MAC_TABLE_SIZE
    forward_bpdu: bool = False
    description: str = ""
    warnings: tuple[str, ...] = ()


def _number(row: Row, key: str, default: int, bounds: tuple[int, int], warnings: list[str]) -> int:
    low, high = bounds
    text = row["other_config"].get(key)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and low <= int(text) <= high:
        return int(text)
    warnings.append(f'other_config:{key} "{text}" is not a number from {low} to {high}; using {default}')
    return default


# No kernel gives these ports an address; controllers want one (the source of LLDP, the key of a port-mod).
WITHOUT_DEVICE = ("dpdkvhostuser", "dpdkvhostuserclient", "patch")


def stable_mac(uuid: str) -> str:
    """Return a locally administered MAC address that follows from a row's UUID: the same after a restart."""
    digits = "02" + uuid.replace("-", "")[:10]
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _n_rxq(row: Row) -> tuple[int | None, str]:
    text = row["options"].get("n_rxq")
    if text is None:
        return None, ""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_RXQ:
        return int(text), ""
    return None, f'options:n_rxq "{text}" is not a number from 1 to {MAX_RXQ}'


def _vlan(port: Row) -> tuple[Vlan, str]:
    tag, trunks, word = port["tag"], tuple(port["trunks"]), port["vlan_mode"]
    if word == "dot1q-tunnel":
        return Vlan(VlanMode.ACCESS, tag or 0), "vlan_mode dot1q-tunnel is not supported"
    # ovs-vswitchd.conf.db(5), vlan_mode: an empty one with a tag means access (trunks are ignored).
    implied = VlanMode.TRUNK if tag is None else VlanMode.ACCESS
    mode = VlanMode(word) if word else implied
    if mode is VlanMode.ACCESS:
        trunks = ()
    return Vlan(mode, tag or 0, trunks), ""


def _port_type(row: Row, bridge: str) -> str:
    if row["name"] == bridge:
        return "internal"
    return row["type"] or "system"


# ovs-vswitchd.conf.db(5), ingress_policing_burst: what 0 means.
POLICING_BURST_KB = 8000


def _qos(snapshot: Snapshot, port: Row) -> tuple[QosSpec | None, str]:
    try:
        return qos.read(snapshot, port), ""
    except ConfigError as error:
        return None, str(error)


def _policing(row: Row) -> tuple[int, int]:
    rate = min(row["ingress_policing_rate"], qos.MAX_RATE // 1000)
    burst = min(row["ingress_policing_burst"] or POLICING_BURST_KB, qos.MAX_RATE // 1000)
    return (rate * 1000, burst * 1000) if rate else (0, 0)


def _port_spec(snapshot: Snapshot, bridge: Row, port: Row, row: Row, n_interfaces: int) -> PortSpec:
    warnings = [*_without_effect(port, PORT_COLUMNS), *_without_effect(row, INTERFACE_COLUMNS)]
    n_rxq, error = _n_rxq(row)
    vlan, vlan_error = _vlan(port)
    shaping, qos_error = _qos(snapshot, port)
    if n_interfaces > 1:
        error = f"port {port.name} has {n_interfaces} interfaces: bonds are not supported"
    affinity: dict[int, int] = {}
    try:
        affinity = parse_affinity(row["other_config"].get("pmd-rxq-affinity", ""))
    except ConfigError as bad:
        warnings.append(str(bad))
    kind, local = _port_type(row, bridge.name), row["name"] == bridge.name
    peer = row["options"].get("peer", "") if kind == "patch" else ""
    if kind == "patch" and not peer:
        error = "a patch port needs options:peer=NAME"
    mac = row["mac"]
    if mac is not None and not ANY_MAC.fullmatch(mac):
        warnings.append(f'mac "{mac}" is not a MAC address such as 02:00:00:00:00:01; ignored')
        mac = None
    if local:
        mac = _hwaddr(bridge) or mac or stable_mac(bridge.uuid)
    elif kind in WITHOUT_DEVICE:
        mac = mac or stable_mac(row.uuid)
    config = PortConfig(
        name=row["name"],
        type=kind,
        options=dict(row["options"]),
        mtu_request=row["mtu_request"],
        mac=mac,
        n_rxq=n_rxq,
    )
    return PortSpec(
        uuid=row.uuid,
        config=config,
        ofport_request=row["ofport_request"],
        vlan=vlan,
        affinity=tuple(sorted(affinity.items())),
        local=local,
        patch_peer=peer,
        qos=shaping,
        qos_error=qos_error,
        policing=_policing(row),
        error=error or vlan_error,
        warnings=tuple(warnings),
    )


def _hwaddr(bridge: Row) -> str:
    text = str(bridge["other_config"].get("hwaddr", ""))
    return text.lower() if ANY_MAC.fullmatch(text) else ""


def _datapath_id(bridge: Row, mac: str, warnings: list[str]) -> int:
    try:
        return datapath_id(mac, bridge["other_config"].get("datapath-id"))
    except ValueError as error:
        warnings.append(str(error))
        return datapath_id(mac)


def _without_effect(row: Row, columns: tuple[str, ...]) -> list[str]:
    return [f"column {column} is not supported and has no effect" for column in columns if row[column]]


def _controllers(snapshot: Snapshot, bridge: Row, warnings: list[str]) -> tuple[ControllerSpec, ...]:
    specs = []
    for row in snapshot.refs(bridge, "controller"):
        probe, backoff = row["inactivity_probe"], row["max_backoff"]
        specs.append(
            ControllerSpec(
                uuid=row.uuid,
                target=row["target"],
                inactivity_probe_ms=5000 if probe is None else max(0, probe),
                max_backoff_ms=8000 if backoff is None else backoff,
                primary=None if row["type"] is None else row["type"] == "primary",
                enable_async=row["enable_async_messages"] is not False,
                rate_limit=row["controller_rate_limit"],
                burst_limit=row["controller_burst_limit"],
                auxiliaries=_number(row, "aux-connections", 0, (0, MAX_AUXILIARIES), warnings),
            )
        )
    return tuple(specs)


def _bridge_spec(snapshot: Snapshot, row: Row) -> BridgeSpec:
    warnings: list[str] = []
    ports: dict[str, PortSpec] = {}
    for port in snapshot.refs(row, "ports"):
        interfaces = snapshot.refs(port, "interfaces")
        for interface in interfaces:
            ports[interface["name"]] = _port_spec(snapshot, row, port, interface, len(interfaces))
    text = row["other_config"].get("hwaddr", "")
    if text and not _hwaddr(row):
        warnings.append(f'other_config:hwaddr "{text}" is not a MAC address; ignored')
    warnings += _without_effect(row, BRIDGE_COLUMNS)
    if row["protocols"] and not {"OpenFlow10", "OpenFlow13"} & set(row["protocols"]):
        warnings.append(
            "protocols name neither OpenFlow10 nor OpenFlow13, which this switch speaks; both are spoken"
        )
    local = ports.get(row.name)
    hwaddr = (local.config.mac if local else None) or _hwaddr(row) or stable_mac(row.uuid)
    return BridgeSpec(
        uuid=row.uuid,
        name=row.name,
        ports=ports,
        controllers=_controllers(snapshot, row, warnings),
        secure=row["fail_mode"] == "secure",
        protocols=tuple(row["protocols"]),
        datapath_id=_datapath_id(row, hwaddr, warnings),
        hwaddr=hwaddr,
        mac_ageing=_number(row, "mac-aging-time", MAC_AGEING, (15, 3600), warnings),
        mac_table_size=_number(row, "mac-table-size", MAC_TABLE_SIZE, (10, 1_000_000), warnings),
        forward_bpdu=row["other_config"].get("forward-bpdu") == "true",
        description=row["other_config"].get("dp-desc", ""),
        warnings=tuple(warnings),
    )


def read(snapshot: Snapshot) -> dict[str, BridgeSpec]:
    """Return all bridges by name. A row with several names' worth of mistakes still gives a spec."""
    root = snapshot.root
    return {row.name: _bridge_spec(snapshot, row) for row in snapshot.refs(root, "bridges")}


def read_ssl(snapshot: Snapshot) -> SslSpec | None:
    """Return the files of table SSL, or None where the operator set none."""
    for row in snapshot.rows("SSL"):
        return SslSpec(row["private_key"], row["certificate"], row["ca_cert"], row["bootstrap_ca_cert"])
    return None
