"""What requests of the oracle's tests have in them that is to be refused."""

from __future__ import annotations

from tests.fakes import oracle_model as o

WRONG_ACTIONS: list[tuple] = [
    ("group", 77),
    ("output", 0xFF01, o.WHOLE),
    ("output", o.TABLE, o.WHOLE),
    ("push_vlan", 0x0800),
    ("set_field", "in_port", 1),
    ("set_field", "vlan_vid", 5),
    ("set_field", "ip_dscp", 64),
    ("push_mpls", 0x0800),
    ("push_pbb", 0x8100),
    ("output", 0, o.WHOLE),
    ("set_field", "metadata", 1),
]

# Fields without what they need, masks and values that they cannot have.
BAD_MATCHES: list[o.Match] = [
    {"udp_src": (1, 0xFFFF)},
    {"vlan_pcp": (1, 7)},
    {"ip_dscp": (1, 0x3F)},
    {"eth_type": (0x800, 0xFF00)},
    {"eth_dst": (3, 1)},
    {"mpls_bos": (2, 1)},
    {"arp_op": (1, 0xFFFF)},
    {"in_phy_port": (1, 0xFFFFFFFF)},
    {"vlan_vid": (0x3000, 0x3000)},
]
