"""Whether the header that an action needs is promised by the match and the actions before (7.2.5)."""

import pytest

from vswitchd.ofproto import actions as act
from vswitchd.ofproto.action_checks import check_actions_consistent
from vswitchd.ofproto.errors import OFPBAC, OFError
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.oxm import Match

IP = {"eth_type": 0x800}
VLAN = {"vlan_vid": 0x1001}
MPLS = {"eth_type": 0x8847}
ICMPV6 = {"eth_type": 0x86DD, "ip_proto": 58}
SET_TARGET = act.SetField(field("ipv6_nd_target"), 1)
PUSH = act.PushVlan(0x8100)
PUSH_MPLS = act.PushMpls(0x8847)


def put(name, value=1):
    return act.SetField(field(name), value)


@pytest.mark.parametrize(
    ("match", "actions", "fine"),
    [
        ({}, [PUSH, act.PopVlan()], True),
        ({}, [PUSH, act.PopVlan(), act.PopVlan()], False),
        (VLAN, [act.PopVlan(), act.PopVlan()], True),
        (VLAN, [act.PopVlan(), put("vlan_pcp")], True),
        (VLAN, [PUSH_MPLS, act.PopVlan()], False),
        ({}, [PUSH_MPLS, act.SetMplsTtl(3), put("mpls_tc"), act.DecMplsTtl()], True),
        ({}, [put("mpls_tc")], False),
        (IP, [PUSH_MPLS, act.DecNwTtl()], False),
        (IP, [PUSH_MPLS, act.PopMpls(0x800), act.DecNwTtl()], True),
        (MPLS, [act.PopMpls(0x800), put("tcp_dst")], False),
        (MPLS, [act.PopMpls(0x800), put("ipv4_dst")], True),
        (MPLS, [act.PopMpls(0x8100), act.PopVlan(), act.DecNwTtl()], True),
        (MPLS, [act.PopMpls(0x806), put("arp_op"), put("ip_dscp")], False),
        (MPLS, [act.SetNwTtl(1)], False),
        (IP, [act.PopMpls(0x800)], False),
        (IP, [act.DecMplsTtl()], False),
        (IP, [act.PopPbb()], False),
        ({}, [act.PushPbb(0x88E7), put("pbb_isid"), act.PopPbb(), act.PopVlan(), put("udp_dst")], True),
        (ICMPV6, [put("icmpv6_type", 135), SET_TARGET], True),
        (ICMPV6, [put("icmpv6_type", 134), SET_TARGET], False),
        (ICMPV6, [SET_TARGET], False),
        ({}, [act.CopyTtlOut(), act.CopyTtlIn(), act.SetQueue(1), act.Group(1)], True),
    ],
)
def test_actions(match, actions, fine):
    if fine:
        check_actions_consistent(Match.named(**match), tuple(actions))
        return
    with pytest.raises(OFError) as refused:
        check_actions_consistent(Match.named(**match), tuple(actions))
    assert refused.value.code == OFPBAC.MATCH_INCONSISTENT
