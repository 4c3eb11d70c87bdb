"""What a controller of OpenFlow 1.0 sends: our messages beside the expressions with which Ryu builds them."""

from vswitchd.ofproto import actions as a
from vswitchd.ofproto import actions10 as a10
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.constants import OFPP, OFPTT_ALL
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.messages10 import Vendor, VendorStatsRequest
from vswitchd.ofproto.oxm import Match

ACTIONS = (
    a.Output(2, 100),
    a.Output(int(OFPP.FLOOD), 0),
    a10.SetVlanVid(5),
    a10.SetVlanPcp(3),
    a10.StripVlan(),
    a10.SetDlSrc(0x020000000001),
    a10.SetDlDst(0x020000000002),
    a10.SetNwSrc(0x0A000001),
    a10.SetNwDst(0x0A000002),
    a10.SetNwTos(0x20),
    a10.SetTpSrc(80),
    a10.SetTpDst(81),
    a10.Enqueue(3, 7),
)
RYU_ACTIONS = """[parser.OFPActionOutput(2,100),parser.OFPActionOutput(ofp.OFPP_FLOOD,0),parser.OFPActionVlanVid(5),
parser.OFPActionVlanPcp(3),parser.OFPActionStripVlan(),parser.OFPActionSetDlSrc("02:00:00:00:00:01"),
parser.OFPActionSetDlDst("02:00:00:00:00:02"),parser.OFPActionSetNwSrc("10.0.0.1"),parser.OFPActionSetNwDst("10.0.0.2"),
parser.OFPActionSetNwTos(0x20),parser.OFPActionSetTpSrc(80),parser.OFPActionSetTpDst(81),parser.OFPActionEnqueue(3,7)]"""
TCP = Match.named(
    in_port=1, eth_src=0x020000000001, eth_dst=0x020000000002, vlan_vid=0x1005, vlan_pcp=3, eth_type=0x800, ip_dscp=8,
    ip_proto=6, ipv4_src=(0x0A000000, 0xFF000000), ipv4_dst=0x0A000001, tcp_src=1, tcp_dst=80,
)  # fmt: skip
RYU_TCP = """parser.OFPMatch(in_port=1,dl_src="02:00:00:00:00:01",dl_dst="02:00:00:00:00:02",dl_vlan=5,dl_vlan_pcp=3,
dl_type=0x800,nw_tos=0x20,nw_proto=6,nw_src="10.0.0.0",nw_src_mask=8,nw_dst="10.0.0.1",tp_src=1,tp_dst=80)"""
ARP = Match.named(eth_type=0x806, vlan_vid=0, arp_op=1, arp_tpa=0x0A000001)
RYU_ARP = 'parser.OFPMatch(dl_type=0x806,dl_vlan=0xffff,nw_proto=1,nw_dst="10.0.0.1")'
APPLY = (ApplyActions(ACTIONS),)

BUILT_10 = [
    (m.Hello(version=1), "parser.OFPHello(dp)"),
    (m.EchoRequest(b"abc"), 'parser.OFPEchoRequest(dp,b"abc")'),
    (m.EchoReply(b"abc"), 'parser.OFPEchoReply(dp,b"abc")'),
    (m.Error(1, 6, b"abc"), 'parser.OFPErrorMsg(dp,1,6,b"abc")'),
    (Vendor(0x2320, b"\0\0\0\x0f\1" + bytes(7)), "parser.NXTFlowModTableId(dp,1)"),
    (m.RoleRequest(2), "parser.NXTRoleRequest(dp,1)"),
    (m.FeaturesRequest(), "parser.OFPFeaturesRequest(dp)"),
    (m.GetConfigRequest(), "parser.OFPGetConfigRequest(dp)"),
    (m.SetConfig(1, 99), "parser.OFPSetConfig(dp,1,99)"),
    (
        m.PacketOut(0xFFFFFFFF, 3, ACTIONS, b"xyz"),
        f'parser.OFPPacketOut(dp,0xffffffff,3,{RYU_ACTIONS},b"xyz")',
    ),
    (m.PacketOut(7, int(OFPP.ANY), (), b""), "parser.OFPPacketOut(dp,7,ofp.OFPP_NONE,[])"),
    (
        m.FlowMod(9, 0, 0, 0, 5, 6, 7, 8, int(OFPP.ANY), match=TCP, flags=1, instructions=APPLY),
        f"parser.OFPFlowMod(dp,{RYU_TCP},9,0,5,6,7,8,ofp.OFPP_NONE,1,{RYU_ACTIONS})",
    ),
    (
        m.FlowMod(9, command=3, table_id=OFPTT_ALL, out_port=int(OFPP.LOCAL), priority=7, match=ARP),
        f"parser.OFPFlowMod(dp,{RYU_ARP},9,3,priority=7,out_port=ofp.OFPP_LOCAL)",
    ),
    (m.FlowMod(match=Match()), "parser.OFPFlowMod(dp,parser.OFPMatch(),0,0)"),
    (
        m.PortMod(3, b"\2\0\0\0\0\1", 16, 17, 1 << 11),
        'parser.OFPPortMod(dp,3,"02:00:00:00:00:01",16,17,1<<7)',
    ),
    (m.BarrierRequest(), "parser.OFPBarrierRequest(dp)"),
    (m.QueueGetConfigRequest(7), "parser.OFPQueueGetConfigRequest(dp,7)"),
    (mp.DescRequest(), "parser.OFPDescStatsRequest(dp,0)"),
    (mp.FlowStatsRequest(1, 2, match=TCP), f"parser.OFPFlowStatsRequest(dp,0,{RYU_TCP},1,2)"),
    (mp.FlowStatsRequest(match=ARP), f"parser.OFPFlowStatsRequest(dp,0,{RYU_ARP},0xff,ofp.OFPP_NONE)"),
    (mp.AggregateStatsRequest(1, 2, match=ARP), f"parser.OFPAggregateStatsRequest(dp,0,{RYU_ARP},1,2)"),
    (mp.TableStatsRequest(), "parser.OFPTableStatsRequest(dp,0)"),
    (mp.PortStatsRequest(), "parser.OFPPortStatsRequest(dp,0,ofp.OFPP_NONE)"),
    (mp.QueueStatsRequest(), "parser.OFPQueueStatsRequest(dp,0,ofp.OFPP_ALL,ofp.OFPQ_ALL)"),
    (VendorStatsRequest(5, b"abcd"), 'parser.OFPVendorStatsRequest(dp,0,5,b"abcd")'),
]
