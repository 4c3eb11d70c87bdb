"""Twenty tables as a virtual network controller makes them (OVN's logical switch): security, lists, balancing, delivery."""

from vswitchd.ofproto.actions import Output, SetField
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.messages import FlowMod

from .flowmods import ARP, IP, TCP, UDP, Values, prefix, rule
from .frames import mac

TABLES = 20
PORTS = 32
"""Logical ports; the first two are real."""
NETWORK = 1
_OUT, _IN, _NET = 0, 16, 32
_OUT_MASK, _IN_MASK, _NET_MASK = 0xFFFF << _OUT, 0xFFFF << _IN, 0xFFFF << _NET
(
    ADMISSION, SOURCE_MAC, SOURCE_IP, SOURCE_ARP, PRE_ACL, PRE_BALANCE, PRE_STATE, ACL_FROM, MARK, BALANCE, STATE, ARP_ANSWER, DHCP,
    DNS, LOOK_UP, OUT_PRE, ACL_TO, OUT_MARK, OUT_SECURITY, DELIVERY,
) = range(TABLES)  # fmt: skip
_LISTED = 50
"""Entries of each access list and of the balancer."""


def address(port: int) -> int:
    """The /16 of a logical port: 10.PORT.0.0."""
    return 10 << 24 | port << 16


def ethernet(port: int) -> int:
    """The address of a logical port's guest, as the generator has it."""
    return int.from_bytes(mac(port), "big")


def _net() -> Values:
    return {"metadata": (NETWORK << _NET, _NET_MASK)}


def _from(port: int) -> Values:
    return {"metadata": (NETWORK << _NET | port << _IN, _NET_MASK | _IN_MASK)}


def _to(port: int) -> Values:
    return {"metadata": (NETWORK << _NET | port << _OUT, _NET_MASK | _OUT_MASK)}


def _access(table: int, first: int) -> list[FlowMod]:
    """Refuse a port each to some networks, allow some services, then the rest."""
    rules = []
    for at in range(_LISTED):
        source = prefix(172 << 24 | 16 << 16 | at << 8, 24)
        match = _net() | {"eth_type": IP, "ip_proto": TCP, "ipv4_src": source, "tcp_dst": first + at}
        rules.append(rule(match, priority=2000 + at, table=table))
    for port in (22, 80, 443):
        match = _net() | {"eth_type": IP, "ip_proto": TCP, "tcp_dst": port}
        rules.append(rule(match, priority=1500, table=table, goto=table + 1))
    return rules


def _ingress(port: int) -> list[FlowMod]:
    source, network = {"eth_src": ethernet(port)}, prefix(address(port), 16)
    return [
        rule(_from(port) | source, priority=50, table=SOURCE_MAC, goto=SOURCE_IP),
        rule(
            _from(port) | source | {"eth_type": IP, "ipv4_src": network},
            priority=90,
            table=SOURCE_IP,
            goto=SOURCE_ARP,
        ),
        rule(_from(port) | {"eth_type": IP}, priority=80, table=SOURCE_IP),
        rule(
            _from(port) | {"eth_type": ARP, "arp_spa": network}, priority=90, table=SOURCE_ARP, goto=PRE_ACL
        ),
        rule(_from(port) | {"eth_type": ARP}, priority=80, table=SOURCE_ARP),
    ]


def _egress(port: int) -> list[FlowMod]:
    target = {"eth_dst": ethernet(port)}
    out = port << _OUT, _OUT_MASK
    return [
        rule(_net() | target, priority=50, table=LOOK_UP, metadata=out, goto=OUT_PRE),
        rule(_to(port) | target | {"eth_type": IP}, priority=90, table=OUT_SECURITY, goto=DELIVERY),
        rule(_to(port), priority=80, table=OUT_SECURITY),
    ]


def _balancer() -> list[FlowMod]:
    rules = []
    for at in range(_LISTED):
        match = _net() | {"eth_type": IP, "ip_proto": TCP, "ipv4_dst": 0xC0A8_0000 + at, "tcp_dst": 80}
        backend = SetField(BY_NAME["ipv4_dst"], address(2) + at)
        rules.append(rule(match, backend, priority=120, table=BALANCE, goto=STATE))
    return rules


def pipeline() -> list[FlowMod]:
    """All entries."""
    multicast = 1 << 40, 1 << 40
    rules = [
        rule(_net() | {"eth_src": multicast}, priority=100, table=SOURCE_MAC),
        rule(_net() | {"eth_type": IP}, priority=100, table=PRE_ACL, goto=PRE_BALANCE),
        rule(
            _net() | {"eth_type": IP, "ip_proto": UDP, "udp_src": 68, "udp_dst": 67}, priority=100, table=DHCP
        ),
        rule(_net() | {"eth_type": IP, "ip_proto": UDP, "udp_dst": 53}, priority=100, table=DNS),
        *_access(ACL_FROM, 1000),
        *_access(ACL_TO, 2000),
        *_balancer(),
    ]
    for port in (1, 2):
        both = NETWORK << _NET | port << _IN, _NET_MASK | _IN_MASK
        rules.append(rule({"in_port": port}, table=ADMISSION, metadata=both, goto=SOURCE_MAC))
        rules.append(rule(_to(port), Output(port), table=DELIVERY))
    for port in range(1, PORTS + 1):
        rules += [*_ingress(port), *_egress(port)]
    through = (
        SOURCE_ARP,
        PRE_ACL,
        PRE_BALANCE,
        PRE_STATE,
        ACL_FROM,
        MARK,
        BALANCE,
        STATE,
        ARP_ANSWER,
        DHCP,
        DNS,
        OUT_PRE,
        ACL_TO,
        OUT_MARK,
    )
    return [*rules, *(rule({}, priority=0, table=table, goto=table + 1) for table in through)]
