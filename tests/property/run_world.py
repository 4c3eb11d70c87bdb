"""A switch with packets that has one controller, and all that can be seen of it: for tests that compare two."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "ofproto"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.switchbox import SwitchBox
from of_peer import Clock, Peer, port

from vswitchd.ofproto.agent import Agent, Identity


class World:
    """A switch with packets, whose only controller is `peer`; `runs`: what it may take."""

    def __init__(self, *, runs, version=4):
        self.clock = Clock()
        self.box = SwitchBox(2)
        self.bridge = self.box.bridge
        self.agent = Agent(self.box.bridge, self.box.dp, self.clock, Identity(0xABC, "br0"))
        for number, handle in self.box.ports.items():
            self.agent.add_port(port(number), handle)
        self.taken = 0
        self._take, self._runs = self.agent.run.take, runs
        self.agent.run.take = self._counted
        self.wrapped = 0
        self._unwrap, self.agent.run.unwrap = self.agent.run.unwrap, self._counted_unwrap
        self.peer = Peer(self, version=version)

    def _counted_unwrap(self, envelope, data, version, most):
        found = self._unwrap(envelope, data, version, min(most, self._runs)) if self._runs else (0, 0, b"")
        self.wrapped += found[0]
        return found

    def _counted(self, data, version, most=256):
        size = self._take(data, version, min(most, self._runs)) if self._runs else 0
        self.taken += bool(size)
        return size

    def entries(self):
        tables = self.agent.flows.tables
        return {(table, shape, key): entry for table, subs in enumerate(tables.tables)
                for shape, sub in subs.items() for key, entry in sub.entries.items()}  # fmt: skip

    def state(self):
        store = self.agent.flows
        found = {key: (e.cookie, e.flags, e.idle, e.hard, e.created, e.used, e.timer, e.program.whole,
                       e.program.outputs, e.reason, e.packets)
                 for key, e in self.entries().items()}  # fmt: skip
        users = [{n: {(e.table, e.shape, e.key) for e in all_} for n, all_ in kind.items()}
                 for kind in (store.group_users, store.meter_users)]  # fmt: skip
        priorities = [
            {shape: sub.priorities for shape, sub in table.items()} for table in store.tables.tables
        ]
        stats = self.bridge.stats()
        return (
            found,
            users,
            priorities,
            store.tables.counts,
            stats["n_rules"],
            stats["n_masks"],
            self.bridge.used_mask(),
        )

    def way(self, frame):
        """What happens to a frame; rules by their entries."""
        names = {entry.rule: key for key, entry in self.entries().items()}
        trace = self.bridge.trace(frame, 1)
        return [event._replace(rule=0) for event in trace.events], [
            names.get(event.rule) for event in trace.events
        ]

    def close(self):
        self.box.dp.close()
