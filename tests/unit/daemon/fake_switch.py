"""A datapath, ports and an OpenFlow side of plain Python, for the tests of the daemon's own logic."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

from vswitchd.bridge_ofports import OfPortFile
from vswitchd.bridge_openflow import OpenFlowState
from vswitchd.config.store import Store
from vswitchd.datapath.dp import CoreStats
from vswitchd.datapath.qos import QueueStats
from vswitchd.ports import base
from vswitchd.reconcile import Reconciler
from vswitchd.reconcile_cores import CorePolicy

LOCAL = 0xFFFFFFFE


@dataclass
class FakeCounters:
    rx_packets: int = 0
    rx_bytes: int = 0
    rx_forwarded: int = 0
    tx_offered: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    rx_drops: dict = field(default_factory=dict)
    tx_drops: dict = field(default_factory=dict)


@dataclass(eq=False)
class FakeHandle:
    name: str
    bridge: str
    ofport: int
    index: int
    link: bool | None = None
    vlan: tuple | None = None
    peer: "FakeHandle | None" = None
    count: FakeCounters = field(default_factory=FakeCounters)
    qos: object = None
    policing: tuple = (0, 0)

    def counters(self):
        return self.count

    def set_qos(self, qos):
        self.qos = qos

    def queues(self):
        return {queue.id: queue for queue in self.qos.queues} if self.qos else {}

    def queue_stats(self, queue):
        return QueueStats(7, 700, 2, 1, 60 + queue)

    def waiting(self):
        return len(self.queues())

    def set_policing(self, rate, burst):
        self.policing = (rate, burst)

    def set_link(self, up):
        self.link = up

    def set_vlan(self, mode, tag, trunks):
        self.vlan = (mode, tag, tuple(trunks))

    def set_patch_peer(self, other):
        self.peer = other


class FakeBridge:
    def __init__(self, name):
        self.name = name
        self.index = 7
        self.fdb_limits = None
        self.bpdu = None
        self.flushed = 0
        self.entries = [(1, 0, "02:00:00:00:00:01", 7)]

    def set_fdb(self, limit, ageing):
        self.fdb_limits = (limit, ageing)

    def set_forward_bpdu(self, on):
        self.bpdu = on

    def fdb(self):
        return self.entries

    def fdb_flush(self):
        self.flushed += 1
        self.entries = []

    def fdb_stats(self):
        return {"entries": len(self.entries), "learned": 5, "expired": 1, "evicted": 2, "moved": 3}

    def stats(self):
        return {"version": 1, "n_rules": 3, "n_masks": 2, "n_ports": 1}

    def table_stats(self):
        return {0: (10, 9)}


class FakeDatapath:
    cycles_per_us = 1000

    def __init__(self):
        self.bridges = []
        self.attached = {}
        self.pins = {}
        self.cpus = []
        self.sleep = "unset"
        self.woken = 0
        self.harvested = 0
        self.refuse = set()

    def create_bridge(self, name):
        bridge = FakeBridge(name)
        self.bridges.append(bridge)
        return bridge

    def delete_bridge(self, bridge):
        self.bridges.remove(bridge)

    def attach(self, handle, bridge, ofport, name=""):
        result = FakeHandle(handle, bridge.name, ofport, len(self.attached) + 1)
        self.attached[handle] = result
        return result

    def detach(self, port):
        del self.attached[port.name]

    def assign_rxqs(self, pins):
        self.pins = pins

    def wake(self):
        self.woken += 1

    def harvest(self):
        self.harvested += 1

    def set_cores(self, cpus):
        self.cpus = cpus

    def cores(self):
        return self.cpus

    def set_idle_sleep(self, us):
        self.sleep = us

    def core_stats(self):
        return [
            CoreStats(
                core=1,
                cpu=cpu,
                n_rxq=1,
                busy_cycles=600_000,
                idle_cycles=300_000,
                asleep_cycles=100_000,
                iterations=100,
                busy_iterations=40,
                sleeps=2,
                rx_packets=1000,
                batches=50,
                emc_hits=990,
                emc_misses=10,
                emc_used=9,
                emc_size=1024,
                emc_inserted=10,
                emc_evicted=1,
                programs=3,
                programs_refused=0,
                tx_packets=900,
                tx_batches=45,
                punt_packets=4,
                punt_refused=1,
                deaf_queues=0,
                max_gap_cycles=5000,
            )
            for cpu in self.cpus
        ]

    def rxq_stats(self):
        return [
            SimpleNamespace(port=h.name, rxq=0, cpu=self.cpus[0], pinned=False, cycles=250_000, packets=700)
            for h in self.attached.values()
        ]


class FakePort:
    """A port of type "fake": options:fail makes it refuse, options:live can be changed in place."""

    def __init__(self, config, env):
        if "fail" in config.options:
            raise base.PortError(config.options["fail"])
        self.config = config
        self.env = env
        self.handle = config.name
        self.stopped = False
        self.now = base.PortStatus(
            link_up=True, mac=config.mac or "02:aa:00:00:00:01", info={"mode": "server"}
        )

    def status(self):
        return self.now

    def set_link(self, up):
        self.now = replace(self.now, link_up=up)
        self.env.changed(self)

    def reconfigure(self, config):
        same = {k: v for k, v in config.options.items() if k != "live"}
        if same != {k: v for k, v in self.config.options.items() if k != "live"}:
            return False
        self.config = config
        return True

    def stop(self):
        self.stopped = True


class FakeOpenFlow:
    def __init__(self, bridge):
        self.bridge = bridge
        self.events = []
        self.spec = None
        self.closed = False

    def configure(self, spec, ssl):
        self.spec = spec

    def port_added(self, port):
        self.events.append(("added", port.name))

    def port_changed(self, port):
        self.events.append(("changed", port.name))

    def port_removed(self, port):
        self.events.append(("removed", port.name))

    def punt(self, punt):
        self.events.append(("punt", punt.data))

    def tick(self):
        self.events.append(("tick",))

    def controllers(self):
        return []

    def state(self):
        return OpenFlowState({0: 3}, 1, 2, fail_open=False)

    def close(self):
        self.closed = True


class Bench:
    """A reconciler over a real store and the fakes. Use inside a running loop."""

    def __init__(self, directory: Path, allowed=(0, 1, 2, 3)):
        self.store = Store.open(str(directory / "config.db"))
        self.datapath = FakeDatapath()
        self.bound: list[list[int]] = []
        env = base.PortEnv(
            loop=asyncio.get_running_loop(),
            run_dir=directory,
            changed=lambda port: self.reconciler.port_changed(port),  # noqa: PLW0108 - made below
        )
        self.reconciler = Reconciler(
            self.store,
            self.datapath,
            env,
            OfPortFile(directory / "ofports.json"),
            cores=CorePolicy(allowed, self.bound.append),
            openflow=FakeOpenFlow,
        )

    def bridge(self, name, *ports, **columns):
        """Add a bridge; each port is (name, {interface columns}, {port columns})."""

        def change(txn):
            uuids = [self._port(txn, name, {"type": ("internal",)}, {})]
            uuids += [self._port(txn, *port) for port in ports]
            row = txn.insert("Bridge", {"name": (name,), "ports": tuple(sorted(uuids)), **columns})
            root = txn.view.root
            txn.update(root, {"bridges": tuple(sorted([*root["bridges"], row.uuid]))})

        self.store.transact(change, bump=True)

    @staticmethod
    def _port(txn, name, interface, port=None):
        row = txn.insert("Interface", {"name": (name,), "type": ("fake",), **interface})
        return txn.insert("Port", {"name": (name,), "interfaces": (row.uuid,), **(port or {})}).uuid

    def add_port(self, bridge, name, interface=None, port=None):
        def change(txn):
            row = txn.view.by_name("Bridge", bridge)
            uuid = self._port(txn, name, interface or {}, port)
            txn.update(row, {"ports": tuple(sorted([*row["ports"], uuid]))})

        self.store.transact(change, bump=True)

    def del_port(self, bridge, name):
        def change(txn):
            row = txn.view.by_name("Bridge", bridge)
            gone = txn.view.by_name("Port", name).uuid
            txn.update(row, {"ports": tuple(u for u in row["ports"] if u != gone)})

        self.store.transact(change, bump=True)

    def set(self, table, name, **columns):
        def change(txn):
            row = txn.view.root if table == "Open_vSwitch" else txn.view.by_name(table, name)
            txn.update(row, columns)

        self.store.transact(change, bump=True)

    def interface(self, name):
        return self.store.snapshot().by_name("Interface", name)

    def driver(self, name):
        return next(p.driver for _, p in self.reconciler.ports() if p.name == name)


def numbers(bench):
    return {h.name: h.ofport for h in bench.datapath.attached.values()}
