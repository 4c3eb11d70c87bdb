"""The tables of the configuration (Open_vSwitch schema): names, types, references; described once.

Everything else reads this description: the SQLite tables, value syntax, reference checks, `vsctl`'s verbs.
Computed columns say what is true; they live in memory, are written by the daemon and start from their
default. All other columns say what the operator asked for; they are stored. Names follow
ovs-vswitchd.conf.db(5), so that an OVSDB front end can be put on this store.
"""

from __future__ import annotations

from vswitchd.config.describe import (
    STRINGS,
    Table,
    integer,
    many,
    mapping,
    one,
    optional,
    ref,
    table,
    weak_ref,
    words,
)
from vswitchd.config.types import Base, Kind

# Version of the file format (PRAGMA user_version). Adding a column needs no new version; changing a meaning
# does.
FORMAT_VERSION = 1
# PRAGMA application_id: "vswC".
APPLICATION_ID = 0x76737743


_STR = Base(Kind.STRING)
_BOOL = Base(Kind.BOOLEAN)
_U32 = integer(0, (1 << 32) - 1)
_VLANS = many(integer(0, 4095), high=4096)
_COUNTS = mapping(_STR, integer())
_TIMEOUTS = words(
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


_OPEN_VSWITCH = table(
    "Open_vSwitch",
    {
        "bridges": many(ref("Bridge")),
        "datapaths": mapping(_STR, ref("Datapath")),
        "manager_options": many(ref("Manager")),
        "next_cfg": one(integer()),
        "other_config": STRINGS,
        "ssl": optional(ref("SSL")),
    },
    {
        "cur_cfg": one(integer()),
        "statistics": STRINGS,
        "ovs_version": optional(_STR),
        "db_version": optional(_STR),
        "system_type": optional(_STR),
        "system_version": optional(_STR),
        "datapath_types": many(_STR),
        "iface_types": many(_STR),
        "dpdk_initialized": one(_BOOL),
        "dpdk_version": optional(_STR),
    },
    root=True,
    single=True,
)

_BRIDGE = table(
    "Bridge",
    {
        "auto_attach": optional(ref("AutoAttach")),
        "controller": many(ref("Controller")),
        "datapath_type": one(_STR),
        "fail_mode": optional(words("standalone", "secure")),
        "flood_vlans": _VLANS,
        "flow_tables": mapping(integer(0, 254), ref("Flow_Table")),
        "ipfix": optional(ref("IPFIX")),
        "mcast_snooping_enable": one(_BOOL),
        "mirrors": many(ref("Mirror")),
        "name": one(_STR),
        "netflow": optional(ref("NetFlow")),
        "other_config": STRINGS,
        "ports": many(ref("Port")),
        "protocols": many(words(*(f"OpenFlow{v}" for v in range(10, 16)))),
        "rstp_enable": one(_BOOL),
        "sflow": optional(ref("sFlow")),
        "stp_enable": one(_BOOL),
    },
    {"datapath_id": optional(_STR), "datapath_version": one(_STR), "rstp_status": STRINGS, "status": STRINGS},
    key="name",
    unique=("name",),
    frozen="name",
)

_PORT = table(
    "Port",
    {
        "bond_active_slave": optional(_STR),
        "bond_downdelay": one(integer()),
        "bond_fake_iface": one(_BOOL),
        "bond_mode": optional(words("balance-tcp", "balance-slb", "active-backup")),
        "bond_updelay": one(integer()),
        "cvlans": _VLANS,
        "fake_bridge": one(_BOOL),
        "interfaces": many(ref("Interface"), low=1),
        "lacp": optional(words("active", "passive", "off")),
        "mac": optional(_STR),
        "name": one(_STR),
        "other_config": STRINGS,
        "protected": one(_BOOL),
        "qos": optional(ref("QoS")),
        "tag": optional(integer(0, 4095)),
        "trunks": _VLANS,
        "vlan_mode": optional(words("trunk", "access", "native-tagged", "native-untagged", "dot1q-tunnel")),
    },
    {"rstp_statistics": _COUNTS, "rstp_status": STRINGS, "statistics": _COUNTS, "status": STRINGS},
    key="name",
    unique=("name",),
    frozen="name",
)

_INTERFACE = table(
    "Interface",
    {
        "bfd": STRINGS,
        "cfm_mpid": optional(integer()),
        "ingress_policing_burst": one(integer(0)),
        "ingress_policing_kpkts_burst": one(integer(0)),
        "ingress_policing_kpkts_rate": one(integer(0)),
        "ingress_policing_rate": one(integer(0)),
        "lldp": STRINGS,
        "mac": optional(_STR),
        "mtu_request": optional(integer(1)),
        "name": one(_STR),
        "ofport_request": optional(integer(1, 65279)),
        "options": STRINGS,
        "other_config": STRINGS,
        "type": one(_STR),
    },
    {
        "admin_state": optional(words("up", "down")),
        "bfd_status": STRINGS,
        "cfm_fault": optional(_BOOL),
        "cfm_fault_status": many(_STR),
        "cfm_flap_count": optional(integer()),
        "cfm_health": optional(integer(0, 100)),
        "cfm_remote_mpids": many(integer()),
        "cfm_remote_opstate": optional(words("up", "down")),
        "duplex": optional(words("half", "full")),
        "error": optional(_STR),
        "ifindex": optional(_U32),
        "lacp_current": optional(_BOOL),
        "link_resets": optional(integer()),
        "link_speed": optional(integer()),
        "link_state": optional(words("up", "down")),
        "mac_in_use": optional(_STR),
        "mtu": optional(integer()),
        "ofport": optional(integer()),
        "statistics": _COUNTS,
        "status": STRINGS,
    },
    key="name",
    unique=("name",),
    frozen="name",
)

_CONTROLLER = table(
    "Controller",
    {
        "connection_mode": optional(words("in-band", "out-of-band")),
        "controller_burst_limit": optional(integer(25)),
        "controller_queue_size": optional(integer(1, 512)),
        "controller_rate_limit": optional(integer(100)),
        "enable_async_messages": optional(_BOOL),
        "inactivity_probe": optional(integer()),
        "local_gateway": optional(_STR),
        "local_ip": optional(_STR),
        "local_netmask": optional(_STR),
        "max_backoff": optional(integer(1000)),
        "other_config": STRINGS,
        "target": one(_STR),
        "type": optional(words("primary", "service")),
    },
    {"is_connected": one(_BOOL), "role": optional(words("other", "master", "slave")), "status": STRINGS},
    via=("Bridge", "controller"),
)

_MANAGER = table(
    "Manager",
    {
        "connection_mode": optional(words("in-band", "out-of-band")),
        "inactivity_probe": optional(integer()),
        "max_backoff": optional(integer(1000)),
        "other_config": STRINGS,
        "target": one(_STR),
    },
    {"is_connected": one(_BOOL), "status": STRINGS},
    key="target",
    unique=("target",),
)

_SSL = table(
    "SSL",
    {
        "bootstrap_ca_cert": one(_BOOL),
        "ca_cert": one(_STR),
        "certificate": one(_STR),
        "private_key": one(_STR),
    },
    single=True,
)

_QOS = table(
    "QoS",
    {"other_config": STRINGS, "queues": mapping(_U32, ref("Queue")), "type": one(_STR)},
    root=True,
    via=("Port", "qos"),
)

_QUEUE = table("Queue", {"dscp": optional(integer(0, 63)), "other_config": STRINGS}, root=True)

_MIRROR = table(
    "Mirror",
    {
        "name": one(_STR),
        "output_port": optional(weak_ref("Port")),
        "output_vlan": optional(integer(1, 4095)),
        "select_all": one(_BOOL),
        "select_dst_port": many(weak_ref("Port")),
        "select_src_port": many(weak_ref("Port")),
        "select_vlan": _VLANS,
        "snaplen": optional(integer(14, 65535)),
    },
    {"statistics": _COUNTS},
    key="name",
)

_FLOW_TABLE = table(
    "Flow_Table",
    {
        "flow_limit": optional(integer(0)),
        "groups": many(_STR),
        "name": optional(_STR),
        "overflow_policy": optional(words("refuse", "evict")),
        "prefixes": many(_STR, high=3),
    },
    key="name",
)

_NETFLOW = table(
    "NetFlow",
    {
        "active_timeout": one(integer(-1)),
        "add_id_to_interface": one(_BOOL),
        "engine_id": optional(integer(0, 255)),
        "engine_type": optional(integer(0, 255)),
        "targets": many(_STR, low=1),
    },
    via=("Bridge", "netflow"),
)

_SFLOW = table(
    "sFlow",
    {
        "agent": optional(_STR),
        "header": optional(integer()),
        "polling": optional(integer()),
        "sampling": optional(integer()),
        "targets": many(_STR, low=1),
    },
    via=("Bridge", "sflow"),
)

_IPFIX = table(
    "IPFIX",
    {
        "cache_active_timeout": optional(integer(0, 4200)),
        "cache_max_flows": optional(_U32),
        "obs_domain_id": optional(_U32),
        "obs_point_id": optional(_U32),
        "other_config": STRINGS,
        "sampling": optional(integer(1, (1 << 32) - 1)),
        "targets": many(_STR),
    },
    via=("Bridge", "ipfix"),
)

_COLLECTORS = table(
    "Flow_Sample_Collector_Set",
    {"bridge": one(ref("Bridge")), "id": one(_U32), "ipfix": optional(ref("IPFIX"))},
    root=True,
    key="id",
    unique=("id", "bridge"),
)

_DATAPATH = table(
    "Datapath",
    {"ct_zones": mapping(integer(0, 65535), ref("CT_Zone"))},
    {"capabilities": STRINGS, "datapath_version": one(_STR)},
)

_CT_ZONE = table("CT_Zone", {"timeout_policy": optional(ref("CT_Timeout_Policy"))})

_CT_TIMEOUT_POLICY = table("CT_Timeout_Policy", {"timeouts": mapping(_TIMEOUTS, _U32)})

_AUTO_ATTACH = table(
    "AutoAttach",
    {
        "mappings": mapping(integer(0, (1 << 24) - 1), integer(0, 4095)),
        "system_description": one(_STR),
        "system_name": one(_STR),
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
TABLES: dict[str, Table] = {entry.name: entry for entry in _ALL}
