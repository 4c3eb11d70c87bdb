"""How long ovs-ofctl and vsofctl take to add, change, show and delete many flows, and how long others wait meanwhile.

    python tests/bench/openflow_cli.py [NUMBER]      default 100000

A line a command: seconds, flows a second, processor seconds of the switch, and the longest that a second controller waited for the
answer to an echo, sent every 5 ms. ovs-ofctl waits for a barrier after each flow that is in no bundle: so many round trips.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from peers.switch import Switch, free_tcp_port

from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPT
from vswitchd.ofproto.messages import EchoRequest, Hello

FLOWS = "FLOWS"
COMMANDS = [
    *(("ovs-ofctl", "-O", f"OpenFlow1{minor}", *words) for minor in (0, 3) for words in (
        ("add-flows", FLOWS), ("dump-flows",), ("del-flows", "udp"))),
    ("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "add-flows", FLOWS),
    ("ovs-ofctl", "-O", "OpenFlow13", "mod-flows", "udp,actions=output:3"),
    ("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "replace-flows", FLOWS),
    ("ovs-ofctl", "-O", "OpenFlow13", "del-flows"),
    ("vsofctl", "add-flows", FLOWS), ("vsofctl", "dump-flows"), ("vsofctl", "replace-flows", FLOWS), ("vsofctl", "del-flows"),
    ("vsofctl", "--bundle", "add-flows", FLOWS),
]  # fmt: skip


class Echo(threading.Thread):
    """A controller that does nothing but to ask whether the switch is there."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.socket.sendall(encode(Hello(frozenset({4})), 1))
        self.until(OFPT.HELLO)
        self.worst = 0.0

    def until(self, kind):
        while True:
            head = self.file.read(8)
            self.file.read(int.from_bytes(head[2:4], "big") - 8)
            if head[1] == kind:
                return

    def run(self):
        with contextlib.suppress(OSError):  # the switch ends first
            self.ask()

    def ask(self):
        while True:
            start = time.monotonic()
            self.socket.sendall(encode(EchoRequest(), 5))
            self.until(OFPT.ECHO_REPLY)
            self.worst = max(self.worst, time.monotonic() - start)
            time.sleep(0.005)


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def words_of(command, switch, flows):
    """The command line; the bridge is behind the command's name."""
    words = [str(flows) if word == FLOWS else word for word in command]
    at = next(i for i, word in enumerate(words) if word.endswith("-flows")) + 1
    if words[0] == "ovs-ofctl":
        return [*words[:at], f"unix:{switch.run_dir}/br0.mgmt", *words[at:]]
    program = [sys.executable, "-m", "ctl.vsofctl", f"--db=unix:{switch.run_dir}/db.sock"]
    return [*program, *words[1:at], "br0", *words[at:]]


def main():
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    port = free_tcp_port()
    with tempfile.TemporaryDirectory() as place, Switch(Path(place) / "s") as switch:
        switch.add_bridge("br0", secure=True)
        switch.vsctl("set-controller", "br0", f"ptcp:{port}:127.0.0.1")
        flows = Path(place) / "flows"
        flows.write_text("".join(
            f"priority=100,udp,nw_dst=10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255},actions=output:1\n" for i in range(number)
        ))  # fmt: skip
        echo = Echo(port)
        echo.start()
        for command in COMMANDS:
            used, start, echo.worst = processor_seconds(switch.child.pid), time.monotonic(), 0.0
            subprocess.run(words_of(command, switch, flows), stdout=subprocess.DEVNULL, check=True)
            seconds = time.monotonic() - start
            used = processor_seconds(switch.child.pid) - used
            rate, wait = number / seconds, 1000 * echo.worst
            print(
                f"{' '.join(command):55} {seconds:7.2f} s {rate:9.0f} /s {used:6.2f} CPU s, echo {wait:4.0f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
