"""The tables of the configuration (Open_vSwitch schema): names, types, references; described once.

Everything else reads this description: the SQLite tables, value syntax, reference checks, `vsctl`'s verbs.
Computed columns say what is true; they live in memory, are written by the daemon and start from their
default. All other columns say what the operator asked for; they are stored. Names follow
ovs-vswitchd.conf.db(5), so that an OVSDB front end can be put on this store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vswitchd.config.types import INT_MAX, INT_MIN, Base, Kind, Type

# Version of the file format (PRAGMA user_version). Adding a column needs no new version; changing a meaning
# does.
FORMAT_VERSION = 1
# PRAGMA application_id: "vswC".
APPLICATION_ID = 0x76737743


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `computed` ones are owned by the daemon and not stored."""

    name: str
    type: Type
    computed: bool = False
    mutable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table. Rows of a table that is no root live only while something refers to them.

    `index` columns are unique together. `name` is the column by which an operator names a row; `via` is
    (table, column) whose row of that name refers to the row meant; `single`: the row can be named ".".
    """

    name: str
    columns: dict[str, Column]
    root: bool = False
    index: tuple[str, ...] = ()
    name_column: str = ""
    via: tuple[str, str] | None = None
    single: bool = False
    references: tuple[Column, ...] = field(default=())

    def defaults(self) -> dict[str, object]:
        """Return a datum for every column."""
        return {name: column.type.default() for name, column in self.columns.items()}


def _int(low: int = INT_MIN, high: int = INT_MAX) -> Base:
    return Base(Kind.INTEGER, low, high)


def _enum(*words: str) -> Base:
    return Base(Kind.STRING, enum=words)


def _ref(table: str) -> Base:
    return Base(Kind.UUID, ref=table)


def _weak(table: str) -> Base:
    return Base(Kind.UUID, ref=table, weak=True)


def _one(base: Base) -> Type:
    return Type(base)


def _opt(base: Base) -> Type:
    return Type(base, low=0)


def _set(base: Base, low: int = 0, high: int | None = None) -> Type:
    return Type(base, low=low, high=high)


def _map(key: Base, value: Base) -> Type:
    return Type(key, value, low=0, high=None)


_STR = Base(Kind.STRING)
_BOOL = Base(Kind.BOOLEAN)
_U32 = _int(0, (1 << 32) - 1)
_VLANS = _set(_int(0, 4095), high=4096)
_STRINGS = _map(_STR, _STR)
_COUNTS = _map(_STR, _int())
_TIMEOUTS = _enum(
    *(
        f"tcp_{x}"
        for x in [
            "syn_sent",
            "syn_recv",
            "established",
            "fin_wait",
            "close_wait",
            "last_ack",
            "time_wait",
            "close",
        ]
    ),
    *("tcp_syn_sent2", "tcp_retransmit", "tcp_unack", "udp_first", "udp_single", "udp_multiple"),
    *("icmp_first", "icmp_reply"),
)


def _table(
    name: str,
    stored: dict[str, Type],
    computed: dict[str, Type] | None = None,
    *,
    root: bool = False,
    key: str = "",
    unique: tuple[str, ...] = (),
    frozen: str = "",
    via: tuple[str, str] | None = None,
    single: bool = False,
) -> Table:
    columns = {c: Column(c, t, mutable=c != frozen) for c, t in stored.items()}
    columns |= {c: Column(c, t, computed=True) for c, t in (computed or {}).items()}
    columns.setdefault("external_ids", Column("external_ids", _STRINGS))
    columns = dict(sorted(columns.items()))
    refs = tuple(
        c for c in columns.values() if c.type.key.ref or (c.type.value is not None and c.type.value.ref)
    )
    return Table(name, columns, root, unique, key, via, single, refs)


_OPEN_VSWITCH = _table(
    "Open_vSwitch",
    {
        "bridges": _set(_ref("Bridge")),
        "datapaths": _map(_STR, _ref("Datapath")),
        "manager_options": _set(_ref("Manager")),
        "next_cfg": _one(_int()),
        "other_config": _STRINGS,
        "ssl": _opt(_ref("SSL")),
    },
    {
        "cur_cfg": _one(_int()),
        "statistics": _STRINGS,
        "ovs_version": _opt(_STR),
        "db_version": _opt(_STR),
        "system_type": _opt(_STR),
        "system_version": _opt(_STR),
        "datapath_types": _set(_STR),
        "iface_types": _set(_STR),
        "dpdk_initialized": _one(_BOOL),
        "dpdk_version": _opt(_STR),
    },
    root=True,
    single=True,
)

_BRIDGE = _table(
    "Bridge",
    {
        "auto_attach": _opt(_ref("AutoAttach")),
        "controller": _set(_ref("Controller")),
        "datapath_type": _one(_STR),
        "fail_mode": _opt(_enum("standalone", "secure")),
        "flood_vlans": _VLANS,
        "flow_tables": _map(_int(0, 254), _ref("Flow_Table")),
        "ipfix": _opt(_ref("IPFIX")),
        "mcast_snooping_enable": _one(_BOOL),
        "mirrors": _set(_ref("Mirror")),
        "name": _one(_STR),
        "netflow": _opt(_ref("NetFlow")),
        "other_config": _STRINGS,
        "ports": _set(_ref("Port")),
        "protocols": _set(_enum(*(f"OpenFlow{v}" for v in range(10, 16)))),
        "rstp_enable": _one(_BOOL),
        "sflow": _opt(_ref("sFlow")),
        "stp_enable": _one(_BOOL),
    },
    {"datapath_id": _opt(_STR), "datapath_version": _one(_STR), "rstp_status": _STRINGS, "status": _STRINGS},
    key="name",
    unique=("name",),
    frozen="name",
)

_PORT = _table(
    "Port",
    {
        "bond_active_slave": _opt(_STR),
        "bond_downdelay": _one(_int()),
        "bond_fake_iface": _one(_BOOL),
        "bond_mode": _opt(_enum("balance-tcp", "balance-slb", "active-backup")),
        "bond_updelay": _one(_int()),
        "cvlans": _VLANS,
        "fake_bridge": _one(_BOOL),
        "interfaces": _set(_ref("Interface"), low=1),
        "lacp": _opt(_enum("active", "passive", "off")),
        "mac": _opt(_STR),
        "name": _one(_STR),
        "other_config": _STRINGS,
        "protected": _one(_BOOL),
        "qos": _opt(_ref("QoS")),
        "tag": _opt(_int(0, 4095)),
        "trunks": _VLANS,
        "vlan_mode": _opt(_enum("trunk", "access", "native-tagged", "native-untagged", "dot1q-tunnel")),
    },
    {"rstp_statistics": _COUNTS, "rstp_status": _STRINGS, "statistics": _COUNTS, "status": _STRINGS},
    key="name",
    unique=("name",),
    frozen="name",
)

_INTERFACE = _table(
    "Interface",
    {
        "bfd": _STRINGS,
        "cfm_mpid": _opt(_int()),
        "ingress_policing_burst": _one(_int(0)),
        "ingress_policing_kpkts_burst": _one(_int(0)),
        "ingress_policing_kpkts_rate": _one(_int(0)),
        "ingress_policing_rate": _one(_int(0)),
        "lldp": _STRINGS,
        "mac": _opt(_STR),
        "mtu_request": _opt(_int(1)),
        "name": _one(_STR),
        "ofport_request": _opt(_int(1, 65279)),
        "options": _STRINGS,
        "other_config": _STRINGS,
        "type": _one(_STR),
    },
    {
        "admin_state": _opt(_enum("up", "down")),
        "bfd_status": _STRINGS,
        "cfm_fault": _opt(_BOOL),
        "cfm_fault_status": _set(_STR),
        "cfm_flap_count": _opt(_int()),
        "cfm_health": _opt(_int(0, 100)),
        "cfm_remote_mpids": _set(_int()),
        "cfm_remote_opstate": _opt(_enum("up", "down")),
        "duplex": _opt(_enum("half", "full")),
        "error": _opt(_STR),
        "ifindex": _opt(_U32),
        "lacp_current": _opt(_BOOL),
        "link_resets": _opt(_int()),
        "link_speed": _opt(_int()),
        "link_state": _opt(_enum("up", "down")),
        "mac_in_use": _opt(_STR),
        "mtu": _opt(_int()),
        "ofport": _opt(_int()),
        "statistics": _COUNTS,
        "status": _STRINGS,
    },
    key="name",
    unique=("name",),
    frozen="name",
)

_CONTROLLER = _table(
    "Controller",
    {
        "connection_mode": _opt(_enum("in-band", "out-of-band")),
        "controller_burst_limit": _opt(_int(25)),
        "controller_queue_size": _opt(_int(1, 512)),
        "controller_rate_limit": _opt(_int(100)),
        "enable_async_messages": _opt(_BOOL),
        "inactivity_probe": _opt(_int()),
        "local_gateway": _opt(_STR),
        "local_ip": _opt(_STR),
        "local_netmask": _opt(_STR),
        "max_backoff": _opt(_int(1000)),
        "other_config": _STRINGS,
        "target": _one(_STR),
        "type": _opt(_enum("primary", "service")),
    },
    {"is_connected": _one(_BOOL), "role": _opt(_enum("other", "master", "slave")), "status": _STRINGS},
    via=("Bridge", "controller"),
)

_MANAGER = _table(
    "Manager",
    {
        "connection_mode": _opt(_enum("in-band", "out-of-band")),
        "inactivity_probe": _opt(_int()),
        "max_backoff": _opt(_int(1000)),
        "other_config": _STRINGS,
        "target": _one(_STR),
    },
    {"is_connected": _one(_BOOL), "status": _STRINGS},
    key="target",
    unique=("target",),
)

_SSL = _table(
    "SSL",
    {
        "bootstrap_ca_cert": _one(_BOOL),
        "ca_cert": _one(_STR),
        "certificate": _one(_STR),
        "private_key": _one(_STR),
    },
    single=True,
)

_QOS = _table(
    "QoS",
    {"other_config": _STRINGS, "queues": _map(_U32, _ref("Queue")), "type": _one(_STR)},
    root=True,
    via=("Port", "qos"),
)

_QUEUE = _table("Queue", {"dscp": _opt(_int(0, 63)), "other_config": _STRINGS}, root=True)

_MIRROR = _table(
    "Mirror",
    {
        "name": _one(_STR),
        "output_port": _opt(_weak("Port")),
        "output_vlan": _opt(_int(1, 4095)),
        "select_all": _one(_BOOL),
        "select_dst_port": _set(_weak("Port")),
        "select_src_port": _set(_weak("Port")),
        "select_vlan": _VLANS,
        "snaplen": _opt(_int(14, 65535)),
    },
    {"statistics": _COUNTS},
    key="name",
)

_FLOW_TABLE = _table(
    "Flow_Table",
    {
        "flow_limit": _opt(_int(0)),
        "groups": _set(_STR),
        "name": _opt(_STR),
        "overflow_policy": _opt(_enum("refuse", "evict")),
        "prefixes": _set(_STR, high=3),
    },
    key="name",
)

_NETFLOW = _table(
    "NetFlow",
    {
        "active_timeout": _one(_int(-1)),
        "add_id_to_interface": _one(_BOOL),
        "engine_id": _opt(_int(0, 255)),
        "engine_type": _opt(_int(0, 255)),
        "targets": _set(_STR, low=1),
    },
    via=("Bridge", "netflow"),
)

_SFLOW = _table(
    "sFlow",
    {
        "agent": _opt(_STR),
        "header": _opt(_int()),
        "polling": _opt(_int()),
        "sampling": _opt(_int()),
        "targets": _set(_STR, low=1),
    },
    via=("Bridge", "sflow"),
)

_IPFIX = _table(
    "IPFIX",
    {
        "cache_active_timeout": _opt(_int(0, 4200)),
        "cache_max_flows": _opt(_U32),
        "obs_domain_id": _opt(_U32),
        "obs_point_id": _opt(_U32),
        "other_config": _STRINGS,
        "sampling": _opt(_int(1, (1 << 32) - 1)),
        "targets": _set(_STR),
    },
    via=("Bridge", "ipfix"),
)

_COLLECTORS = _table(
    "Flow_Sample_Collector_Set",
    {"bridge": _one(_ref("Bridge")), "id": _one(_U32), "ipfix": _opt(_ref("IPFIX"))},
    root=True,
    key="id",
    unique=("id", "bridge"),
)

_DATAPATH = _table(
    "Datapath",
    {"ct_zones": _map(_int(0, 65535), _ref("CT_Zone"))},
    {"capabilities": _STRINGS, "datapath_version": _one(_STR)},
)

_CT_ZONE = _table("CT_Zone", {"timeout_policy": _opt(_ref("CT_Timeout_Policy"))})

_CT_TIMEOUT_POLICY = _table("CT_Timeout_Policy", {"timeouts": _map(_TIMEOUTS, _U32)})

_AUTO_ATTACH = _table(
    "AutoAttach",
    {
        "mappings": _map(_int(0, (1 << 24) - 1), _int(0, 4095)),
        "system_description": _one(_STR),
        "system_name": _one(_STR),
    },
    via=("Bridge", "auto_attach"),
)

_ALL = (
    *(
        _AUTO_ATTACH,
        _BRIDGE,
        _CT_TIMEOUT_POLICY,
        _CT_ZONE,
        _CONTROLLER,
        _DATAPATH,
        _COLLECTORS,
        _FLOW_TABLE,
        _IPFIX,
    ),
    *(_INTERFACE, _MANAGER, _MIRROR, _NETFLOW, _OPEN_VSWITCH, _PORT, _QOS, _QUEUE, _SSL, _SFLOW),
)
TABLES: dict[str, Table] = {table.name: table for table in _ALL}
