"""Messages per second of the OpenFlow codec: the numbers in vswitchd/ofproto/README.md."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vswitchd.ofproto.actions import DecNwTtl, Output
from vswitchd.ofproto.codec import decode, encode, encode_parts
from vswitchd.ofproto.instructions import ApplyActions, GotoTable
from vswitchd.ofproto.messages import FlowMod, PacketIn, PacketOut
from vswitchd.ofproto.multipart import FlowStatsReply
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.stats import FlowStats

MATCH = Match.named(
    in_port=1,
    eth_type=0x0800,
    eth_dst=0x020000000001,
    ip_proto=6,
    ipv4_dst=(0x0A000000, 0xFF000000),
    tcp_dst=80,
)
INSTRUCTIONS = (ApplyActions((DecNwTtl(), Output(2))), GotoTable(3))


def rate(call, count, rounds=5):
    """Calls per second of processor time, the best of some rounds."""
    best = 0.0
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(count):
            call()
        best = max(best, count / (time.process_time() - start))
    return best


def main():
    for msg in (
        FlowMod(match=MATCH, instructions=INSTRUCTIONS),
        PacketIn(total_len=64, match=Match.named(in_port=3), data=bytes(64)),
        PacketOut(in_port=3, actions=(Output(2),), data=bytes(64)),
    ):
        wire = encode(msg, 1)
        decoded, encoded = rate(lambda w=wire: decode(w), 5000), rate(lambda m=msg: encode(m, 1), 5000)
        print(f"{type(msg).__name__:10} decode {decoded:10,.0f}/s  encode {encoded:10,.0f}/s")
    entries = (FlowStats(match=MATCH, instructions=INSTRUCTIONS),) * 1000
    wires = list(encode_parts(FlowStatsReply(), 1, entries=entries))
    decoded = 1000 * rate(lambda: [decode(wire) for wire in wires], 2)
    encoded = 1000 * rate(lambda: list(encode_parts(FlowStatsReply(), 1, entries=entries)), 2)
    print(f"{'FlowStats':10} decode {decoded:10,.0f}/s  encode {encoded:10,.0f}/s")


if __name__ == "__main__":
    main()
