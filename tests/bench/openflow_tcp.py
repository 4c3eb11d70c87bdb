"""Flow-mods a second that the whole switch takes from one controller over TCP, and its memory per flow entry.

    python tests/bench/openflow_tcp.py [NUMBER] [RULES]      default 1000000, dst: `udp,nw_dst=A.B.C.D`, or nat: and a set-field each

Adds, each flow's counters in one dump, strict deletions one by one; each ends with a barrier. The clock is the wall's, with a
sender in this process (bytes made before), so both share the machine's cores.
"""

import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from peers.switch import Switch, free_tcp_port

from vswitchd.ofproto.actions import Output, SetField
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPFC, OFPMPF, OFPT
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.messages import BarrierRequest, FlowMod, Hello
from vswitchd.ofproto.multipart import FlowStatsRequest
from vswitchd.ofproto.oxm import Match

PLACE = b"\x0a\xfd\x00\x00"
BATCH = 10_000


def flow_mods(number, rules, command):
    """Flow-mods as bytes, in batches: one is encoded, the address is put into copies of it."""
    rewrite = (SetField(BY_NAME["ipv4_src"], 0x0AFD0000),) if rules == "nat" else ()
    match = Match.named(eth_type=0x800, ip_proto=17, ipv4_dst=0x0AFD0000)
    todo = (ApplyActions((*rewrite, Output(1))),) if command == OFPFC.ADD else ()
    parts = encode(FlowMod(command=int(command), priority=100, match=match, instructions=todo), 7).split(
        PLACE
    )
    batches = []
    for at in range(0, number, BATCH):
        addresses = [(0x0AFD0000 + i).to_bytes(4, "big") for i in range(at, min(at + BATCH, number))]
        batches.append(b"".join([address.join(parts) for address in addresses]))
    return batches


class Controller:
    """A blocking connection that reads whole messages."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.socket.sendall(encode(Hello(frozenset({4})), 1))
        self.until(OFPT.HELLO)

    def until(self, kind):
        """Read up to a message of this type; its bytes. An error ends the program."""
        while True:
            head = self.file.read(8)
            body = self.file.read(int.from_bytes(head[2:4], "big") - 8)
            if head[1] == OFPT.ERROR:
                sys.exit(f"refused: type and code {body[:4].hex()}")
            if head[1] == kind:
                return body

    def send(self, batches):
        for batch in batches:
            self.socket.sendall(batch)
        self.socket.sendall(encode(BarrierRequest(), 2))
        self.until(OFPT.BARRIER_REPLY)

    def dump(self):
        self.socket.sendall(encode(FlowStatsRequest(), 3))
        while int.from_bytes(self.until(OFPT.MULTIPART_REPLY)[2:4], "big") & OFPMPF.MORE:
            pass


def status(pid, name):
    """Bytes of a line of /proc/PID/status."""
    (line,) = (row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith(name))
    return int(line.split()[1]) * 1024


def main():
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rules = sys.argv[2] if len(sys.argv) > 2 else "dst"
    adds, deletes = (flow_mods(number, rules, command) for command in (OFPFC.ADD, OFPFC.DELETE_STRICT))
    port = free_tcp_port()
    with tempfile.TemporaryDirectory() as place, Switch(Path(place) / "s") as switch:
        switch.add_bridge("br0", secure=True)
        switch.vsctl("set-controller", "br0", f"ptcp:{port}:127.0.0.1")
        controller = Controller(port)
        before = status(switch.child.pid, "VmRSS")
        for what, action in (
            ("add", lambda: controller.send(adds)),
            ("dump", controller.dump),
            ("delete", lambda: controller.send(deletes)),
        ):
            start = time.monotonic()
            action()
            seconds = time.monotonic() - start
            print(f"{what:8} {seconds:8.2f} s {number / seconds:10.0f} /s", flush=True)
            if what == "add":
                grown = (status(switch.child.pid, "VmRSS") - before) / number
                print(
                    f"{'memory':8} {grown:8.0f} bytes per entry of the daemon's resident memory", flush=True
                )


if __name__ == "__main__":
    main()
