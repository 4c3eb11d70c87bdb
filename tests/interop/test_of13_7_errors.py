"""OpenFlow 1.3.5, 7.1, 7.2 and 7.4.4: messages that are wrong in themselves, and the error that each deserves."""

import struct

import pytest
from conformance_world import flow, out, states, write

pytestmark = [pytest.mark.interop, pytest.mark.root]


def message(kind, body, *, version=4, length=None, xid=9):
    return struct.pack("!BBHI", version, kind, 8 + len(body) if length is None else length, xid) + body


def oxm(number, value, mask=b"", *, length=None, oxm_class=0x8000):
    size = len(value + mask) if length is None else length
    return struct.pack("!HBB", oxm_class, number << 1 | bool(mask), size) + value + mask


def match(*fields, kind=1, length=None):
    body = b"".join(fields)
    head = struct.pack("!HH", kind, 4 + len(body) if length is None else length)
    return (head + body).ljust((4 + len(body) + 7) // 8 * 8, b"\0")


def instructions(*items):
    return b"".join(items)


def inst(kind, body=b"", length=None):
    return struct.pack("!HH", kind, 4 + len(body) if length is None else length) + body


def apply(*actions):
    return inst(4, bytes(4) + b"".join(actions))


def action(kind, body, length=None):
    return struct.pack("!HH", kind, 4 + len(body) if length is None else length) + body


OUTPUT = action(0, struct.pack("!IH6x", 2, 0xFFFF))


def flow_mod(fields=b"", todo=b"", *, command=0, table=0, flags=0):
    head = struct.pack(
        "!QQBBHHHIIIHxx", 0, 0, table, command, 0, 0, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, flags
    )
    return message(14, head + (fields or match()) + todo)


def set_field(tlv):
    body = tlv.ljust((len(tlv) + 4 + 7) // 8 * 8 - 4, b"\0")
    return action(25, body)


ETH_IP = oxm(5, b"\x08\0")
PROTO_TCP = oxm(10, b"\6")
BAD = {
    # 7.1
    "OFPBRC_BAD_VERSION: a version that was not agreed": message(20, b"", version=5),
    "OFPBRC_BAD_TYPE: an unknown type": message(77, b""),
    "OFPBRC_BAD_TYPE: a message that only switches send": message(6, bytes(24)),
    "OFPBRC_BAD_LEN: longer than its type": message(5, bytes(8)),
    "OFPBRC_BAD_LEN: shorter than its type": message(9, b""),
    "OFPBRC_BAD_LEN: a flow-mod without its fixed part": message(14, bytes(20)),
    "OFPBRC_BAD_LEN: a multipart request without its fixed part": message(18, bytes(4)),
    "OFPBRC_BAD_MULTIPART: an unknown kind of request": message(18, bytes.fromhex("0077000000000000")),
    # 7.2.3
    "OFPBMC_BAD_TYPE: a match of an unknown type": flow_mod(match(kind=7)),
    "OFPBMC_BAD_LEN: a match longer than the message": flow_mod(match(length=400)),
    "OFPBMC_BAD_LEN: a match shorter than its head": flow_mod(match(length=2)),
    "OFPBMC_BAD_LEN: a field of another length": flow_mod(match(oxm(5, b"\x08\0\0"))),
    "OFPBMC_BAD_LEN: a field that ends behind the match": flow_mod(match(oxm(5, b"\x08\0", length=9))),
    "OFPBMC_BAD_FIELD: an unknown field": flow_mod(match(oxm(99, b"\0\0"))),
    "OFPBMC_BAD_FIELD: an unknown class": flow_mod(match(oxm(1, b"\0\0\0\1", oxm_class=0x7777))),
    "OFPBMC_BAD_VALUE: a value out of range": flow_mod(match(ETH_IP, oxm(8, b"\x40"))),
    "OFPBMC_BAD_VALUE: a VLAN number of 14 bits": flow_mod(match(oxm(6, b"\x20\5"))),
    "OFPBMC_BAD_MASK: a mask where none may be": flow_mod(match(oxm(5, b"\x08\0", b"\xff\0"))),
    "OFPBMC_BAD_WILDCARDS: a value with bits outside its mask": flow_mod(match(ETH_IP, oxm(11, b"\1\2\3\4", b"\xff\0\0\0"))),
    "OFPBMC_BAD_PREREQ: a field without what it needs": flow_mod(match(oxm(11, b"\1\2\3\4"))),
    "OFPBMC_BAD_PREREQ: ports of another protocol": flow_mod(match(ETH_IP, oxm(10, b"\x11"), oxm(14, b"\0\x50"))),
    "OFPBMC_BAD_PREREQ: what it needs comes too late": flow_mod(match(PROTO_TCP, ETH_IP)),
    "OFPBMC_BAD_PREREQ: in_phy_port without in_port": flow_mod(match(oxm(1, b"\0\0\0\1"))),
    "OFPBMC_BAD_PREREQ: a VLAN priority without a VLAN": flow_mod(match(oxm(7, b"\1"))),
    "OFPBMC_DUP_FIELD: a field twice": flow_mod(match(ETH_IP, ETH_IP)),
    # 7.2.4
    "OFPBIC_UNKNOWN_INST: an unknown instruction": flow_mod(todo=inst(77, bytes(4))),
    "OFPBIC_BAD_LEN: an instruction of another length": flow_mod(todo=inst(1, bytes(12))),
    "OFPBIC_BAD_LEN: an instruction that ends behind the message": flow_mod(todo=inst(4, bytes(4), length=80)),
    "OFPBIC_BAD_LEN: an instruction of length 0": flow_mod(todo=inst(4, bytes(4), length=0)),
    "OFPBIC_BAD_EXPERIMENTER: an unknown experimenter": flow_mod(todo=inst(0xFFFF, struct.pack("!I", 7))),
    "OFPBIC_BAD_TABLE_ID: goto-table backwards": flow_mod(todo=inst(1, bytes(4)), table=3),
    # 7.2.5
    "OFPBAC_BAD_TYPE: an unknown action": flow_mod(todo=apply(action(88, bytes(4)))),
    "OFPBAC_BAD_LEN: an action of another length": flow_mod(todo=apply(action(0, bytes(4)))),
    "OFPBAC_BAD_LEN: an action that ends behind its list": flow_mod(todo=apply(action(0, bytes(12), length=64))),
    "OFPBAC_BAD_LEN: an action of length 0": flow_mod(todo=apply(action(0, bytes(12), length=0))),
    "OFPBAC_BAD_LEN: an action whose length is no multiple of 8": flow_mod(todo=apply(action(0, bytes(12), length=12))),
    "OFPBAC_BAD_EXPERIMENTER: an unknown experimenter": flow_mod(todo=apply(action(0xFFFF, struct.pack("!I", 7)))),
    "OFPBAC_BAD_OUT_PORT: output to port 0": flow_mod(todo=apply(action(0, struct.pack("!IH6x", 0, 0)))),
    "OFPBAC_BAD_OUT_GROUP: an unknown group": flow_mod(todo=apply(action(22, struct.pack("!I", 7)))),
    "OFPBAC_BAD_ARGUMENT: a tag of an impossible type": flow_mod(todo=apply(action(17, struct.pack("!H2x", 0x1234)))),
    "OFPBAC_BAD_SET_TYPE: a set-field of an unknown field": flow_mod(todo=apply(set_field(oxm(99, b"\0\0")))),
    "OFPBAC_BAD_SET_TYPE: a set-field of the input port": flow_mod(todo=apply(set_field(oxm(0, b"\0\0\0\1")))),
    "OFPBAC_BAD_SET_TYPE: a set-field of metadata": flow_mod(todo=apply(set_field(oxm(2, bytes(8))))),
    "OFPBAC_BAD_SET_LEN: a set-field of another length": flow_mod(todo=apply(set_field(oxm(3, bytes(5))))),
    "OFPBAC_BAD_SET_ARGUMENT: a set-field with a mask": flow_mod(todo=apply(set_field(oxm(3, bytes(6), b"\xff" * 6)))),
    "OFPBAC_BAD_SET_ARGUMENT: a value out of range": flow_mod(match(ETH_IP), apply(set_field(oxm(8, b"\x40")))),
    "OFPBAC_MATCH_INCONSISTENT: a set-field without its header": flow_mod(todo=apply(set_field(oxm(11, bytes(4))))),
    # 7.3
    "OFPFMFC_BAD_COMMAND: an unknown command": flow_mod(command=7),
    "OFPFMFC_BAD_FLAGS: an unknown flag": flow_mod(flags=0x4000),
    "OFPFMFC_BAD_TABLE_ID: a table that is not there": flow_mod(table=254),
    "OFPGMFC_BAD_BUCKET: a bucket of length 0": message(15, struct.pack("!HBxI", 0, 0, 1) + bytes(16)),
    "OFPRRFC_BAD_ROLE: an unknown role": message(24, struct.pack("!I4xQ", 9, 0)),
    "OFPBRC_BAD_EXPERIMENTER: an unknown experimenter": message(4, struct.pack("!II", 0x123456, 1)),
    "OFPMMFC_BAD_BAND: a band of an unknown type": message(29, struct.pack("!HHI", 0, 1, 1) + struct.pack("!HHIII", 9, 16, 1, 1, 0)),
}  # fmt: skip
SECTIONS = {
    "BMC": "7.2.3", "BIC": "7.2.4", "BAC": "7.2.5", "BRC": "7.1", "FMFC": "7.3.4.1", "GMFC": "7.3.4.2", "RRFC": "7.3.9",
    "MMFC": "7.3.4.4",
}  # fmt: skip


@states("7.4.4", "Each fault has its error: the type and code of the place where the message is wrong.")
@pytest.mark.parametrize("fault", BAD)
def test_7_4_4_each_fault_has_its_error(request, of, fault):
    code = fault.partition(":")[0]
    section = SECTIONS[code[3:].partition("_")[0]]
    request.node.user_properties[:] = [("statement", (section, f"Refused with {fault}.", request.node.name))]
    errors = of.ryu.raw(BAD[fault])
    assert [(e.kind, e.xid, e.fields["name"]) for e in errors] == [("OFPErrorMsg", 9, code)]
    assert of.body("p.OFPFlowStatsRequest(dp)") == []


@states(
    "7.2.5", "Of more actions than the switch can do in a list OFPBAC_TOO_MANY is told, and nothing is done."
)
def test_7_2_5_too_many(of):
    assert of.error(flow(actions=", ".join([out(2)] * 2000))) == "OFPBAC_TOO_MANY"
    assert of.error(flow(instructions=f"[{write(', '.join([out(2)] * 2000))}]")) == "OFPBAC_TOO_MANY"
