"""OpenFlow 1.3.5, 5.6, 5.7, 6.5 to 6.7 by Ryu's hands: groups and meters."""

import pytest
from conformance_world import eth, flow, goto, out, states

pytestmark = [pytest.mark.interop, pytest.mark.root]
FRAME = eth(0x88B5)
PUSH = "p.OFPActionPushVlan()"
TAGGED = FRAME[:12] + bytes.fromhex("81000000") + FRAME[12:]


def bucket(actions, **more):
    fields = "".join(f"{name}={value}, " for name, value in more.items())
    return f"p.OFPBucket({fields}actions=[{actions}])"


def group(number, kind, *buckets, command="ADD"):
    return f"p.OFPGroupMod(dp, o.OFPGC_{command}, o.OFPGT_{kind}, {number}, [{', '.join(buckets)}])"


def to(number):
    return f"p.OFPActionGroup({number})"


def band(rate, burst=0):
    return f"p.OFPMeterBandDrop({rate}, {burst})"


def meter(number, *bands, command="ADD", flags="o.OFPMF_KBPS | o.OFPMF_STATS"):
    return f"p.OFPMeterMod(dp, o.OFPMC_{command}, {flags}, {number}, [{', '.join(bands)}])"


@states("5.6.1", "An all group runs every bucket, each on a copy of its own.")
def test_5_6_1_all(of):
    of.ok(group(1, "ALL", bucket(f"{PUSH}, {out(2)}"), bucket(out(3))), flow(actions=to(1)))
    assert of.packet(FRAME) == {2: [TAGGED], 3: [FRAME]}


@states("5.6.1", "A bucket of an all group that outputs to the input port sends nothing; OFPP_IN_PORT does.")
def test_5_6_1_all_not_back(of):
    of.ok(group(1, "ALL", bucket(out(1)), bucket(out(2))), flow(actions=to(1)))
    assert of.packet(FRAME) == {2: [FRAME]}
    of.ok(group(1, "ALL", bucket(out("o.OFPP_IN_PORT")), command="MODIFY"))
    assert of.packet(FRAME) == {1: [FRAME]}


@states("5.6.1", "An indirect group has one bucket and runs it.")
def test_5_6_1_indirect(of):
    of.ok(group(1, "INDIRECT", bucket(out(3))), flow(actions=to(1)))
    assert of.packet(FRAME) == {3: [FRAME]}


@states("5.6.1", "A select group runs one bucket for each packet, the same for packets of one flow.")
def test_5_6_1_select(of):
    of.ok(group(1, "SELECT", bucket(out(2), weight=1), bucket(out(3), weight=1)), flow(actions=to(1)))
    seen = [of.packet(FRAME) for _ in range(4)]
    assert seen[0] in ({2: [FRAME]}, {3: [FRAME]})
    assert seen == [seen[0]] * 4


@states(
    "5.6.1",
    "A fast failover group runs the first live bucket; the next one takes over when its port goes down.",
)
def test_5_6_1_fast_failover(of):
    of.ok(group(1, "FF", bucket(out(2), watch_port=2), bucket(out(3), watch_port=3)), flow(actions=to(1)))
    assert of.packet(FRAME) == {2: [FRAME]}
    of.port_down(2, down=True)
    assert of.packet(FRAME) == {3: [FRAME]}
    of.port_down(3, down=True)
    assert of.packet(FRAME) == {}
    of.port_down(2, down=False)
    of.port_down(3, down=False)
    assert of.packet(FRAME) == {2: [FRAME]}


@states("5.6.1", "A bucket may watch a group, which is live while one of its buckets is.")
def test_5_6_1_watch_group(of):
    of.ok(group(2, "FF", bucket(out(2), watch_port=2)))
    of.ok(group(1, "FF", bucket(to(2), watch_group=2), bucket(out(3), watch_port=3)), flow(actions=to(1)))
    assert of.packet(FRAME) == {2: [FRAME]}
    of.port_down(2, down=True)
    assert of.packet(FRAME) == {3: [FRAME]}
    of.port_down(2, down=False)


@states("5.6", "A group without buckets drops the packet.")
def test_5_6_no_bucket(of):
    of.ok(group(1, "ALL"), flow(actions=to(1)))
    assert of.packet(FRAME) == {}


@states("5.6", "The actions of a bucket are executed as an action set.")
def test_5_6_bucket_is_a_set(of):
    of.ok(group(1, "ALL", bucket(f"{out(2)}, {PUSH}")), flow(actions=to(1)))
    assert of.packet(FRAME) == {2: [TAGGED]}


@states("5.6", "What a bucket changes does not stay with the packet behind the group.")
def test_5_6_buckets_change_copies(of):
    of.ok(group(1, "ALL", bucket(f"{PUSH}, {out(2)}")), flow(actions=f"{to(1)}, {out(3)}"))
    assert of.packet(FRAME) == {2: [TAGGED], 3: [FRAME]}


@states("5.6", "Groups may be chained.")
def test_5_6_chained(of):
    of.ok(
        group(2, "INDIRECT", bucket(out(3))),
        group(1, "ALL", bucket(to(2)), bucket(out(2))),
        flow(actions=to(1)),
    )
    assert of.packet(FRAME) == {2: [FRAME], 3: [FRAME]}


@states(
    "5.8",
    "A group counts flow entries and groups that use it, packets, bytes; each bucket packets and bytes.",
)
def test_5_8_group_counters(of):
    of.ok(group(1, "ALL", bucket(out(2)), bucket(out(3))), flow(actions=to(1)), flow("in_port=2", to(1)))
    of.packet(FRAME)
    (stats,) = of.body("p.OFPGroupStatsRequest(dp, 0, 1)")
    size = len(FRAME)
    assert (stats["ref_count"], stats["packet_count"], stats["byte_count"]) == (2, 1, size)
    buckets = [b["OFPBucketCounter"] for b in stats["bucket_stats"]]
    assert buckets == [{"packet_count": 1, "byte_count": size}] * 2


REFUSED_GROUPS = [
    ("OFPGMFC_GROUP_EXISTS", "an add of a group that exists", [group(1, "ALL"), group(1, "ALL")]),
    ("OFPGMFC_UNKNOWN_GROUP", "a modify of one that does not", [group(1, "ALL", command="MODIFY")]),
    ("OFPGMFC_INVALID_GROUP", "a number above OFPG_MAX", [group("0xffffff01", "ALL")]),
    ("OFPGMFC_INVALID_GROUP", "a weight in a group that does not select", [group(1, "ALL", bucket("", weight=2))]),
    ("OFPGMFC_LOOP", "a group that sends to itself", [group(1, "ALL"), group(1, "ALL", bucket(to(1)), command="MODIFY")]),
    ("OFPGMFC_BAD_TYPE", "an unknown type", ["p.OFPGroupMod(dp, o.OFPGC_ADD, 9, 1, [])"]),
    ("OFPGMFC_BAD_COMMAND", "an unknown command", ["p.OFPGroupMod(dp, 9, 0, 1, [])"]),
]  # fmt: skip


@states("6.7", "Group-mods that cannot be carried out are refused with the code of their fault.")
@pytest.mark.parametrize(("code", "_what", "mods"), REFUSED_GROUPS)
def test_6_7_refused_groups(of, code, _what, mods):
    of.ok(*mods[:-1])
    assert of.error(mods[-1]) == code


@states("6.7", "A loop through other groups is refused: OFPGMFC_LOOP.")
def test_6_7_loop(of):
    of.ok(group(1, "ALL"), group(2, "ALL", bucket(to(1))), group(3, "ALL", bucket(to(2))))
    assert of.error(group(1, "ALL", bucket(to(3)), command="MODIFY")) == "OFPGMFC_LOOP"


@states("6.7", "A group that another one uses is not deleted: OFPGMFC_CHAINED_GROUP.")
def test_6_7_chained_group(of):
    of.ok(group(1, "ALL"), group(2, "ALL", bucket(to(1))))
    assert of.error(group(1, "ALL", command="DELETE")) == "OFPGMFC_CHAINED_GROUP"


@states("6.7", "A bucket that sends to a group that does not exist is refused: OFPBAC_BAD_OUT_GROUP.")
def test_6_7_unknown_chained_group(of):
    assert of.error(group(1, "ALL", bucket(to(9)))) == "OFPBAC_BAD_OUT_GROUP"


@states("6.7", "Deleting a group that does not exist is no error; OFPG_ALL deletes all.")
def test_6_7_delete(of):
    of.ok(group(1, "ALL"), group(2, "SELECT", bucket(out(2), weight=1)), group(9, "ALL", command="DELETE"))
    of.ok(group("o.OFPG_ALL", "ALL", command="DELETE"))
    assert of.body("p.OFPGroupDescStatsRequest(dp, 0)") == []


@states("6.7", "A modify replaces type and buckets; the flow entries go on with it.")
def test_6_7_modify(of):
    of.ok(group(1, "ALL", bucket(out(2))), flow(actions=to(1)))
    of.ok(group(1, "INDIRECT", bucket(out(3)), command="MODIFY"))
    assert of.packet(FRAME) == {3: [FRAME]}


@states("6.7", "A flow entry that uses an unknown group is refused: OFPBAC_BAD_OUT_GROUP.")
def test_6_7_flow_with_unknown_group(of):
    assert of.error(flow(actions=to(7))) == "OFPBAC_BAD_OUT_GROUP"


@states("7.3.5.8", "Group descriptions give back type, number and buckets.")
def test_7_3_5_8_group_desc(of):
    of.ok(group(4, "SELECT", bucket(out(2), weight=3), bucket(f"{PUSH}, {out(3)}", weight=5)))
    (desc,) = of.body("p.OFPGroupDescStatsRequest(dp, 0)")
    buckets = [b["OFPBucket"] for b in desc["buckets"]]
    assert (desc["type"], desc["group_id"]) == (1, 4)
    assert [(b["weight"], len(b["actions"])) for b in buckets] == [(3, 1), (5, 2)]


@states("7.3.5.9", "Group features name types, capabilities, limits and actions.")
def test_7_3_5_9_group_features(of):
    features = of.one("p.OFPGroupFeaturesStatsRequest(dp, 0)")["body"]["OFPGroupFeaturesStats"]
    assert features["types"] == 0b1111
    assert all(maximum >= 1000 for maximum in features["max_groups"])
    assert len(features["actions"]) == 4


@states("5.7", "A packet over the rate of a drop band is dropped, and counted by meter and band.")
def test_5_7_drop_band(of):
    of.ok(meter(1, band(1, 1), flags="o.OFPMF_PKTPS | o.OFPMF_BURST | o.OFPMF_STATS"))
    of.ok(flow(instructions=f"[p.OFPInstructionMeter(1), {goto(1)}]"), flow(actions=out(2), table_id=1))
    sent = sum(len(of.packet(FRAME).get(2, [])) for _ in range(50))
    (stats,) = of.body("p.OFPMeterStatsRequest(dp, 0, 1)")
    (dropped,) = (b["OFPMeterBandStats"]["packet_band_count"] for b in stats["band_stats"])
    assert (stats["packet_in_count"], stats["byte_in_count"]) == (50, 50 * len(FRAME))
    assert sent + dropped == 50
    assert 1 <= sent < 50


@states("5.7", "Packets under the rate pass; the meter counts them and the flow entries that use it.")
def test_5_7_under_the_rate(of):
    of.ok(meter(1, band(1000000)), flow(instructions=f"[p.OFPInstructionMeter(1), {goto(1)}]"))
    of.ok(flow(actions=out(2), table_id=1))
    assert of.packet(FRAME) == {2: [FRAME]}
    (stats,) = of.body("p.OFPMeterStatsRequest(dp, 0, 1)")
    assert (stats["flow_count"], stats["packet_in_count"]) == (1, 1)


@states("5.9", "The meter instruction acts before apply-actions.")
def test_5_9_meter_first(of):
    of.ok(meter(1, band(1, 1), flags="o.OFPMF_PKTPS | o.OFPMF_BURST"))
    act = f"p.OFPInstructionActions(o.OFPIT_APPLY_ACTIONS, [{out(2)}])"
    of.ok(flow(instructions=f"[{act}, p.OFPInstructionMeter(1)]"))
    assert sum(len(of.packet(FRAME).get(2, [])) for _ in range(30)) < 30


REFUSED_METERS = [
    ("OFPMMFC_METER_EXISTS", [meter(1, band(9)), meter(1, band(9))]),
    ("OFPMMFC_UNKNOWN_METER", [meter(1, band(9), command="MODIFY")]),
    ("OFPMMFC_INVALID_METER", [meter("0", band(9))]),
    ("OFPMMFC_INVALID_METER", [meter("o.OFPM_MAX + 1", band(9))]),
    ("OFPMMFC_BAD_COMMAND", ["p.OFPMeterMod(dp, 9, o.OFPMF_KBPS, 1, [])"]),
    ("OFPMMFC_BAD_FLAGS", [meter(1, band(9), flags="o.OFPMF_KBPS | o.OFPMF_PKTPS")]),
    ("OFPMMFC_BAD_FLAGS", [meter(1, band(9), flags="0x100")]),
    ("OFPMMFC_BAD_RATE", [meter(1, band(0))]),
]


@states("6.5", "Meter-mods that cannot be carried out are refused with the code of their fault.")
@pytest.mark.parametrize(("code", "mods"), REFUSED_METERS)
def test_6_5_refused_meters(of, code, mods):
    of.ok(*mods[:-1])
    assert of.error(mods[-1]) == code


@states("6.5", "Deleting a meter deletes the flow entries that use it; deleting an unknown one is no error.")
def test_6_5_delete_takes_flows(of):
    of.ok(
        meter(1, band(9)),
        flow(instructions=f"[p.OFPInstructionMeter(1), {goto(1)}]", flags="o.OFPFF_SEND_FLOW_REM"),
    )
    of.ok(flow("in_port=2", out(2)), meter(1, command="DELETE"), meter(7, command="DELETE"))
    (entry,) = of.body("p.OFPFlowStatsRequest(dp)")
    assert entry["match"]["OFPMatch"]["oxm_fields"][0]["OXMTlv"]["value"] == 2
    assert of.told("OFPFlowRemoved")["reason"] == 2


@states("6.4", "A flow entry with an unknown meter is refused: OFPMMFC_UNKNOWN_METER.")
def test_6_4_unknown_meter(of):
    assert of.error(flow(instructions=f"[p.OFPInstructionMeter(5), {goto(1)}]")) == "OFPMMFC_UNKNOWN_METER"


@states("7.3.5.13", "Meter configurations give back flags and bands.")
def test_7_3_5_13_meter_config(of):
    of.ok(
        meter(
            3, band(1000, 50), "p.OFPMeterBandDscpRemark(2000, 60, 1)", flags="o.OFPMF_KBPS | o.OFPMF_BURST"
        )
    )
    (config,) = of.body("p.OFPMeterConfigStatsRequest(dp, 0, 3)")
    bands = [next(iter(b.values())) for b in config["bands"]]
    assert config["meter_id"] == 3
    assert [(b["type"], b["rate"], b["burst_size"]) for b in bands] == [(1, 1000, 50), (2, 2000, 60)]
    assert bands[1]["prec_level"] == 1


@states("7.3.5.14", "Meter features name the largest number, band types, capabilities and limits.")
def test_7_3_5_14_meter_features(of):
    features = of.body("p.OFPMeterFeaturesStatsRequest(dp, 0)")[0]
    assert features["max_meter"] >= 1000
    assert features["band_types"] == 0b110
    assert features["capabilities"] & 0b11 == 0b11
    assert features["max_bands"] >= 2
