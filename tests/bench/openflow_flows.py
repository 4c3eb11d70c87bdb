"""Flow entries a second through the agent into the datapath, and memory per entry.

    python tests/bench/openflow_flows.py [NUMBER]      default 100000

Processor time of everything but the socket: flow-mods as bytes, 500 to a batch, UDP 5-tuples over two outputs; then a dump, a sum, a
delete of all.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vswitchd.datapath import dp
from vswitchd.ofproto import channel  # noqa: F401  # registers all handlers
from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.connection import Connection, Request
from vswitchd.ofproto.constants import OFPFC
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.messages import FlowMod, Hello
from vswitchd.ofproto.multipart import AggregateStatsRequest, FlowStatsRequest
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.session import Session

BATCH = 500
PAGE = 4096


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def flow_mod(i):
    match = Match.named(eth_type=0x800, ip_proto=17, ipv4_src=0x0A000000 + i, udp_src=i & 0xFFFF, udp_dst=53)
    return encode(FlowMod(priority=5, match=match, instructions=(ApplyActions((Output(1 + i % 2),)),)), i)


class Bench:
    def __init__(self):
        self.datapath = dp.Datapath(manual=True)
        self.agent = Agent(self.datapath.create_bridge("br0"), self.datapath, time.monotonic, Identity(1))
        self.connection = Connection(time.monotonic)
        self.session = Session(self.connection, "bench", primary=True)
        self.agent.sessions.append(self.session)
        self.connection.receive(encode(Hello(frozenset({4})), 1))
        self.connection.next()
        self.connection.take_output()

    def feed(self, data):
        self.connection.receive(data)
        while True:
            if self.agent.run_flow_mods(self.session):
                continue
            event = self.connection.next()
            if event is None:
                break
            for _ in self.agent.request(self.session, event) or ():
                pass
        self.agent.commit()

    def ask(self, message):
        """Bytes of the answer."""
        return sum(map(len, self.agent.request(self.session, Request(1, message, b"")) or ()))


def timed(what, number, action):
    start = time.process_time()
    result = action()
    seconds = time.process_time() - start
    print(f"{what:10} {seconds:8.2f} s {number / seconds:10.0f} /s")
    return result


def main():
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    batches = [
        b"".join(flow_mod(i) for i in range(at, min(at + BATCH, number))) for at in range(0, number, BATCH)
    ]
    bench = Bench()
    before = resident()
    timed("add", number, lambda: [bench.feed(batch) for batch in batches])
    print(f"{'memory':10} {(resident() - before) / number:8.0f} bytes per entry, Python and C")
    assert len(bench.agent.flows.tables) == number
    timed("dump", number, lambda: bench.ask(FlowStatsRequest()))
    timed("aggregate", number, lambda: bench.ask(AggregateStatsRequest()))
    timed("delete", number, lambda: bench.feed(encode(FlowMod(command=OFPFC.DELETE, table_id=0xFF), 1)))
    assert len(bench.agent.flows.tables) == 0


if __name__ == "__main__":
    main()
