"""What a controller sends: our messages beside the expressions with which Ryu builds them."""

from vswitchd.ofproto import actions as a
from vswitchd.ofproto import instructions as i
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto import structures as s
from vswitchd.ofproto.constants import OFPTT_ALL
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.tablefeatures import TableFeatures, TableProperty

MAC = 0x020000000001
IPV4 = Match.named(in_port=1, eth_type=0x0800, ip_proto=6, ipv4_src=(0x0A000000, 0xFF000000), tcp_dst=80)
RYU_IPV4 = 'parser.OFPMatch(in_port=1,eth_type=0x800,ip_proto=6,ipv4_src=("10.0.0.0","255.0.0.0"),tcp_dst=80)'
IPV6 = Match.named(
    eth_dst=(MAC & ~1, 0xFFFFFFFFFFFE),
    eth_type=0x86DD,
    vlan_vid=0x1005,
    ipv6_dst=0xFE80 << 112 | 1,
    ip_proto=58,
    icmpv6_type=135,
    ipv6_nd_target=1,
    metadata=(5, 0xFF),
    tunnel_id=7,
    ipv6_flabel=3,
)
RYU_IPV6 = """parser.OFPMatch(eth_dst=("02:00:00:00:00:00","ff:ff:ff:ff:ff:fe"),eth_type=0x86dd,
vlan_vid=0x1005,ipv6_dst="fe80::1",ip_proto=58,icmpv6_type=135,ipv6_nd_target="::1",metadata=(5,0xff),tunnel_id=7,ipv6_flabel=3)"""
ACTIONS = (
    a.Output(2, 100),
    a.CopyTtlOut(),
    a.CopyTtlIn(),
    a.SetMplsTtl(9),
    a.DecMplsTtl(),
    a.PushVlan(0x8100),
    a.PopVlan(),
    a.PushMpls(0x8847),
    a.PopMpls(0x0800),
    a.SetQueue(5),
    a.Group(6),
    a.SetNwTtl(7),
    a.DecNwTtl(),
    a.SetField(field("eth_dst"), MAC),
    a.SetField(field("vlan_vid"), 0x1005),
    a.SetField(field("tcp_src"), 99),
    a.SetField(field("ipv6_src"), 1),
    a.PushPbb(0x88E7),
    a.PopPbb(),
)
RYU_ACTIONS = """[parser.OFPActionOutput(2,100),parser.OFPActionCopyTtlOut(),parser.OFPActionCopyTtlIn(),
parser.OFPActionSetMplsTtl(9),parser.OFPActionDecMplsTtl(),parser.OFPActionPushVlan(0x8100),parser.OFPActionPopVlan(),
parser.OFPActionPushMpls(0x8847),parser.OFPActionPopMpls(0x800),parser.OFPActionSetQueue(5),parser.OFPActionGroup(6),
parser.OFPActionSetNwTtl(7),parser.OFPActionDecNwTtl(),parser.OFPActionSetField(eth_dst="02:00:00:00:00:01"),
parser.OFPActionSetField(vlan_vid=0x1005),parser.OFPActionSetField(tcp_src=99),parser.OFPActionSetField(ipv6_src="::1"),
parser.OFPActionPushPbb(0x88e7),parser.OFPActionPopPbb()]"""
OUT = (a.Output(2, 65535),)
BUCKET = s.Bucket(1, 2, 3, OUT)
RYU_OUT = "[parser.OFPActionOutput(2,65535)]"
# Ryu leaves the length in an OXM id at 0.
TABLE = TableFeatures(
    1,
    "t",
    2,
    3,
    0,
    9,
    (
        TableProperty(0, (1, 4)),
        TableProperty(2, (2, 3)),
        TableProperty(4, (0, 25)),
        TableProperty(8, (0x80000000, 0x80000A00)),
    ),
)
RYU_TABLE = """parser.OFPTableFeaturesStats(1,b"t",2,3,0,9,[
parser.OFPTableFeaturePropInstructions(0,instruction_ids=[parser.OFPInstructionId(1),parser.OFPInstructionId(4)]),
parser.OFPTableFeaturePropNextTables(2,table_ids=[2,3]),
parser.OFPTableFeaturePropActions(4,action_ids=[parser.OFPActionId(0),parser.OFPActionId(25)]),
parser.OFPTableFeaturePropOxm(8,oxm_ids=[parser.OFPOxmId("in_port"),parser.OFPOxmId("eth_type")])])"""

AGGREGATE = f"parser.OFPAggregateStatsRequest(dp,0,1,2,3,4,5,{RYU_IPV6})"
# What the controller builds: our message and Ryu's expression.
BUILT = [
    (m.Hello(), "parser.OFPHello(dp)"),
    (m.EchoRequest(b"abc"), 'parser.OFPEchoRequest(dp,b"abc")'),
    (m.EchoReply(b"abc"), 'parser.OFPEchoReply(dp,b"abc")'),
    (m.Error(1, 6, b"abc"), 'parser.OFPErrorMsg(dp,1,6,b"abc")'),
    (m.Experimenter(1, 2, b"abc"), 'parser.OFPExperimenter(dp,1,2,b"abc")'),
    (m.FeaturesRequest(), "parser.OFPFeaturesRequest(dp)"),
    (m.GetConfigRequest(), "parser.OFPGetConfigRequest(dp)"),
    (m.SetConfig(1, 99), "parser.OFPSetConfig(dp,1,99)"),
    (
        m.PacketOut(0xFFFFFFFF, 3, ACTIONS, b"xyz"),
        f'parser.OFPPacketOut(dp,0xffffffff,3,{RYU_ACTIONS},b"xyz")',
    ),
    (
        m.FlowMod(
            1,
            2,
            3,
            0,
            5,
            6,
            7,
            8,
            9,
            10,
            3,
            IPV4,
            (
                i.Meter(3),
                i.ApplyActions(ACTIONS),
                i.ClearActions(),
                i.WriteActions(OUT),
                i.WriteMetadata(5, 7),
                i.GotoTable(9),
            ),
        ),
        f"""parser.OFPFlowMod(dp,1,2,3,0,5,6,7,8,9,10,3,{RYU_IPV4},[parser.OFPInstructionMeter(3),
        parser.OFPInstructionActions(4,{RYU_ACTIONS}),parser.OFPInstructionActions(5,[]),
        parser.OFPInstructionActions(3,{RYU_OUT}),parser.OFPInstructionWriteMetadata(5,7),
        parser.OFPInstructionGotoTable(9)])""",
    ),
    (
        m.FlowMod(command=3, table_id=OFPTT_ALL, priority=1, match=IPV6),
        f"""parser.OFPFlowMod(dp,command=3,table_id=255,priority=1,match={RYU_IPV6},out_port=ofp.OFPP_ANY,
     out_group=ofp.OFPG_ANY,buffer_id=0xffffffff)""",
    ),
    (
        m.GroupMod(0, 1, 5, (BUCKET, BUCKET)),
        f"parser.OFPGroupMod(dp,0,1,5,[parser.OFPBucket(1,2,3,{RYU_OUT}) for _ in range(2)])",
    ),
    (m.PortMod(3, b"\2\0\0\0\0\1", 1, 5, 7), 'parser.OFPPortMod(dp,3,"02:00:00:00:00:01",1,5,7)'),
    (m.TableMod(3, 1), "parser.OFPTableMod(dp,3,1)"),
    (
        m.MeterMod(0, 1, 5, (s.DropBand(10, 20), s.DscpRemarkBand(30, 40, 2))),
        "parser.OFPMeterMod(dp,0,1,5,[parser.OFPMeterBandDrop(10,20),parser.OFPMeterBandDscpRemark(30,40,2)])",
    ),
    (m.BarrierRequest(), "parser.OFPBarrierRequest(dp)"),
    (m.QueueGetConfigRequest(7), "parser.OFPQueueGetConfigRequest(dp,7)"),
    (m.RoleRequest(2, 99), "parser.OFPRoleRequest(dp,2,99)"),
    (m.GetAsyncRequest(), "parser.OFPGetAsyncRequest(dp)"),
    (m.SetAsync(1, 2, 3, 4, 5, 6), "parser.OFPSetAsync(dp,[1,2],[3,4],[5,6])"),
    (mp.DescRequest(), "parser.OFPDescStatsRequest(dp,0)"),
    (mp.FlowStatsRequest(1, 2, 3, 4, 5, IPV4), f"parser.OFPFlowStatsRequest(dp,0,1,2,3,4,5,{RYU_IPV4})"),
    (mp.AggregateStatsRequest(1, 2, 3, 4, 5, IPV6), AGGREGATE),
    (mp.TableStatsRequest(), "parser.OFPTableStatsRequest(dp,0)"),
    (mp.PortStatsRequest(4), "parser.OFPPortStatsRequest(dp,0,4)"),
    (mp.QueueStatsRequest(4, 5), "parser.OFPQueueStatsRequest(dp,0,4,5)"),
    (mp.GroupStatsRequest(4), "parser.OFPGroupStatsRequest(dp,0,4)"),
    (mp.GroupDescRequest(), "parser.OFPGroupDescStatsRequest(dp,0)"),
    (mp.GroupFeaturesRequest(), "parser.OFPGroupFeaturesStatsRequest(dp,0)"),
    (mp.MeterStatsRequest(4), "parser.OFPMeterStatsRequest(dp,0,4)"),
    (mp.MeterConfigRequest(4), "parser.OFPMeterConfigStatsRequest(dp,0,4)"),
    (mp.MeterFeaturesRequest(), "parser.OFPMeterFeaturesStatsRequest(dp,0)"),
    (mp.TableFeaturesRequest((TABLE,), 1), f"parser.OFPTableFeaturesStatsRequest(dp,1,[{RYU_TABLE}])"),
    (mp.PortDescRequest(), "parser.OFPPortDescStatsRequest(dp,0)"),
    (mp.ExperimenterMultipartRequest(1, 2, b"abc"), 'parser.OFPExperimenterStatsRequest(dp,0,1,2,b"abc")'),
]
