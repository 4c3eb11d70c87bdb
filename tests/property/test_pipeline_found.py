"""What the oracle found once, as plain operations: the switch and the oracle agree on each of them."""

from __future__ import annotations

import pytest

from tests.fakes import oracle_case
from tests.fakes import oracle_model as o
from tests.fakes.oracle_packet import checksums

OUT = ("output", 2, o.WHOLE)
IPV4 = bytes.fromhex("020000000002020000000001 0800 4500002000070000401100000a0000010a000002")
UDP = checksums(IPV4 + bytes.fromhex("0050005100 0cffff 64617461"))


def flow(**instructions: object) -> tuple:
    return "request", o.FlowMod("add", instructions=instructions)


def group(*actions: tuple) -> tuple:
    return "request", o.GroupMod("add", 1, "indirect", (o.Bucket(actions),))


PACKET = ("packets", 1, (UDP, UDP))
FOUND = {
    "tcp_src is no field of a UDP packet": [flow(write=[("set_field", "tcp_src", 443), OUT]), PACKET],
    "icmpv6_type is none of an ICMP packet": [
        flow(write=[("set_field", "icmpv6_type", 1), OUT]),
        ("packets", 1, (checksums(UDP[:23] + b"\x01" + UDP[24:34] + b"\x08\0\0\0\0\1\0\2data"),)),
    ],
    "a packet that ends early is not counted behind": [
        flow(apply=[("pop_mpls", 0x800)], goto=1),
        ("request", o.FlowMod("add", 1, instructions={"apply": [OUT]})),
        group(("pop_vlan",), OUT),
        ("request", o.FlowMod("modify", instructions={"write": [("group", 1)], "goto": 1})),
        PACKET,
    ],
    "lookups of an empty table count": [PACKET],
    "a bucket is an action set": [
        group(OUT, ("push_vlan", 0x8100), ("output", 3, o.WHOLE)),
        flow(apply=[("group", 1)]),
        PACKET,
    ],
    "a bucket's tunnel id in its packet-in, and not in the next one's": [
        (
            "request",
            o.GroupMod(
                "add",
                2,
                buckets=(
                    o.Bucket((("set_field", "tunnel_id", 5), ("output", o.CONTROLLER, 20))),
                    o.Bucket((("output", o.CONTROLLER, 30),)),
                ),
            ),
        ),
        flow(apply=[("set_field", "tunnel_id", 6), ("group", 2), ("output", o.CONTROLLER, 40)]),
        PACKET,
    ],
    "statistics of a flow with a field of an experimenter": [
        (
            "request",
            o.FlowMod(
                "add",
                match={
                    "eth_type": (0x800, 0xFFFF),
                    "ip_proto": (6, 0xFF),
                    "tcp_flags": (2, 0xFFF if exact else 3),
                },
            ),
        )
        for exact in (True, False)
    ],
    "no cookie from a bucket": [
        group(("output", o.CONTROLLER, 20)),
        flow(metadata=(1, 1), goto=1),
        ("request", o.FlowMod("add", 1, cookie=5, instructions={"write": [("group", 1)]})),
        PACKET,
    ],
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("seed", [1, 4])
def test_agree(name: str, seed: int) -> None:
    found = oracle_case.failure(seed, ops=[*FOUND[name], ("statistics",)])
    assert found is None, found[0]
