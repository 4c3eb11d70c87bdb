"""The ONF's extension 230 for 1.3 (bundles), by bytes, so that they may be wrong; Ryu reads the answers."""

import struct

import pytest
from conformance_world import eth, flow, out, states

pytestmark = [pytest.mark.interop, pytest.mark.root]
FRAME = eth(0x88B5)
ONF = 0x4F4E4600
OPEN, CLOSE, COMMIT, DISCARD = 0, 2, 4, 6
ATOMIC_ORDERED = 3
CODES = ("UNKNOWN", "EPERM", "BAD_ID", "BUNDLE_EXIST", "BUNDLE_CLOSED", "OUT_OF_BUNDLES", "BAD_TYPE", "BAD_FLAGS",
         "MSG_BAD_LEN", "MSG_BAD_XID", "MSG_UNSUP", "MSG_CONFLICT", "MSG_TOO_MANY", "MSG_FAILED", "TIMEOUT")  # fmt: skip


def message(kind, body, xid=9):
    return struct.pack("!BBHI", 4, kind, 8 + len(body), xid) + body


def control(kind, bundle=1, flags=ATOMIC_ORDERED, xid=9):
    return message(4, struct.pack("!IIIHH", ONF, 2300, bundle, kind, flags), xid)


def add(inner, bundle=1, flags=ATOMIC_ORDERED, xid=9):
    return message(4, struct.pack("!IIIxxH", ONF, 2301, bundle, flags) + inner, xid)


def flow_mod(port, output, command=0, xid=9, table=0):
    match = struct.pack("!HHHBBI4x", 1, 12, 0x8000, 0, 4, port)
    todo = struct.pack("!HH4xHHIH6x", 4, 24, 0, 16, output, 0xFFFF)
    fixed = struct.pack(
        "!QQBBHHHIIIHxx", 0, 0, table, command, 0, 0, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    )
    return message(14, fixed + match + todo, xid)


def outcome(of, data):
    """What came back: reply types of bundle-control, names of errors."""
    names = []
    for told in of.ryu.raw(data):
        fields = told.fields
        if told.kind == "OFPErrorMsg":
            names.append(CODES[fields["exp_type"] - 2300] if fields["type"] == 0xFFFF else fields["name"])
        elif told.kind == "ONFBundleCtrlMsg":
            names.append(fields["type"])
    return names


@states("ext-230", "The messages of a bundle are carried out at commit, not before.")
def test_ext_230_commit(of):
    assert outcome(of, control(OPEN) + add(flow_mod(1, 2)) + add(flow_mod(2, 3))) == [1]
    assert of.body("p.OFPFlowStatsRequest(dp)") == []
    assert outcome(of, control(COMMIT)) == [5]
    assert len(of.body("p.OFPFlowStatsRequest(dp)")) == 2
    assert of.packet(FRAME) == {2: [FRAME]}


@states(
    "ext-230", "A bundle that fails changes nothing and answers with the error of its message and MSG_FAILED."
)
def test_ext_230_all_or_nothing(of):
    of.ok(flow("in_port=1", out(3)))
    bundle = (
        control(OPEN)
        + add(flow_mod(1, 2, xid=3), xid=3)
        + add(flow_mod(2, 0, xid=4), xid=4)
        + control(COMMIT, xid=5)
    )
    assert outcome(of, bundle) == [1, "OFPBAC_BAD_OUT_PORT", "MSG_FAILED"]
    assert of.packet(FRAME) == {3: [FRAME]}
    assert len(of.body("p.OFPFlowStatsRequest(dp)")) == 1


@states("ext-230", "A discarded bundle changes nothing.")
def test_ext_230_discard(of):
    assert outcome(of, control(OPEN) + add(flow_mod(1, 2)) + control(DISCARD)) == [1, 7]
    assert of.body("p.OFPFlowStatsRequest(dp)") == []


@states("ext-230", "Nothing can be added to a closed bundle; it can be committed.")
def test_ext_230_close(of):
    assert outcome(of, control(OPEN) + add(flow_mod(1, 2)) + control(CLOSE)) == [1, 3]
    assert outcome(of, add(flow_mod(2, 2))) == ["BUNDLE_CLOSED"]
    outcome(of, control(DISCARD))
    assert outcome(of, control(OPEN) + add(flow_mod(1, 2)) + control(CLOSE) + control(COMMIT)) == [1, 3, 5]
    assert of.packet(FRAME) == {2: [FRAME]}


WRONG = {
    "BAD_ID": control(COMMIT, bundle=77),
    "BUNDLE_EXIST": control(OPEN, bundle=5) + control(OPEN, bundle=5),
    "BAD_TYPE": control(55, bundle=6),
    "MSG_UNSUP": control(OPEN, bundle=8) + add(message(2, b""), bundle=8),
    "MSG_BAD_XID": control(OPEN, bundle=9) + add(flow_mod(1, 2, xid=1), bundle=9, xid=2),
    "BAD_FLAGS": control(OPEN, bundle=10, flags=0x100),
}


@states("ext-230", "Faults of bundles have their codes.")
@pytest.mark.parametrize("code", WRONG)
def test_ext_230_faults(of, code):
    assert outcome(of, WRONG[code])[-1] == code
    for bundle in (5, 6, 8, 9, 10):
        of.ryu.raw(control(DISCARD, bundle=bundle))
