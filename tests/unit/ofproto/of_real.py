"""The agent over the real datapath with test ports, packets and all; `real` of conftest.py gives one."""

from pathlib import Path

from of_peer import port

from vswitchd.datapath import dp
from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ports.base import PortConfig, PortEnv
from vswitchd.ports.kernel.virtual import TestPort


class Real:
    """A bridge with three test ports and an agent; the clock is the datapath's and the test's."""

    def __init__(self, loop):
        self.ms = 1_000_000
        self.datapath = dp.Datapath(manual=True)
        self.datapath.set_time_ms(self.ms)
        self.bridge = self.datapath.create_bridge("br0")
        self.agent = Agent(self.bridge, self.datapath, self.clock, Identity(1))
        env = PortEnv(loop, Path("/nonexistent"), lambda _port: None)
        self.ports = {}
        for number in (1, 2, 3):
            test_port = TestPort(PortConfig(f"p{number}", "test"), env)
            handle = self.datapath.attach(test_port.handle, self.bridge, number, f"p{number}")
            self.ports[number] = test_port
            self.agent.add_port(port(number), handle)
        self.datapath.rebalance()

    def clock(self):
        return self.ms / 1000

    def sleep(self, seconds):
        self.ms += int(seconds * 1000)
        self.datapath.set_time_ms(self.ms)

    def send(self, frame, number=1):
        """Feed a frame; {port: frames} of what came out."""
        assert self.ports[number].feed(frame)
        self.poll()
        return self.out()

    def poll(self):
        for _ in range(3):
            self.datapath.poll()
        for punt in self.datapath.take_punts():
            self.agent.punt(punt)

    def out(self):
        found = {}
        for number, test_port in self.ports.items():
            while (frame := test_port.take()) is not None:
                found.setdefault(number, []).append(frame)
        return found

    def tick(self):
        self.poll()
        while self.datapath.housekeeping():
            self.poll()
        self.agent.tick()
