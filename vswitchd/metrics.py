"""The metrics: names, labels and types of all that Prometheus sees, collected from counters at each scrape.

Base units, `_total` only for counters. Labels are ports, queues, cores, bridges, reasons: sets whose size the
operator knows, never flows or addresses. Reasons that never dropped anything are left out. Who a port belongs
to stands on one `vs_port_info` series, to be joined in PromQL (`group_left`).
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.samples import Sample

from vswitchd.cores import numa_of
from vswitchd.ports.vfio import nic_status as vfio
from vswitchd.ports.vhostuser import status as vhostuser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from vswitchd.bridge import LiveBridge, LivePort
    from vswitchd.daemon import Daemon
    from vswitchd.datapath import dp
    from vswitchd.ports import base

DRIVER_HELP = {
    **vfio.HELP,
    **vhostuser.HELP,
    "vs_kernel_rx_dropped_total": "Packets that the kernel dropped before the switch read them.",
}
Family = GaugeMetricFamily | CounterMetricFamily


class Families:
    """Metric families of one scrape, by name; a family exists once something was added to it."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def counter(self, name: str, text: str, value: float, **labels: str) -> None:
        """Add a sample to a counter; `name` ends in _total."""
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = CounterMetricFamily(name, text, labels=list(labels))
        family.samples.append(Sample(name, labels, value))  # as add_metric does it, by way of lists

    def gauge(self, name: str, text: str, value: float, **labels: str) -> None:
        """Add a sample to a gauge."""
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = GaugeMetricFamily(name, text, labels=list(labels))
        family.samples.append(Sample(name, labels, value))

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())


class Collector:
    """prometheus_client's collector of one daemon. `collect` runs on the control thread, reading counters."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the families are known only when there are ports and cores."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return every family with its samples."""
        out = Families()
        self._process(out)
        self._daemon.datapath.harvest()
        for name, bridge in sorted(self._daemon.reconciler.bridges.items()):
            for port in sorted(bridge.ports.values(), key=lambda p: p.name):
                _port(out, bridge, port, self._owner(port))
            _bridge(out, bridge)
            self._controllers(out, name)
        for core in self._daemon.datapath.core_stats():
            _core(out, core, self._daemon.datapath.cycles_per_us)
        for queue in self._daemon.datapath.rxq_stats():
            labels = {"port": queue.port, "queue": str(queue.rxq), "core": str(queue.cpu)}
            out.counter("vs_rxq_cycles_total", "Cycles spent on a receive queue.", queue.cycles, **labels)
            out.counter("vs_rxq_packets_total", "Packets of a receive queue.", queue.packets, **labels)
        return list(out)

    def _process(self, out: Families) -> None:
        daemon = self._daemon
        info = {"version": daemon.version, "python": platform.python_version(), "cpu": platform.machine()}
        out.gauge("vs_build_info", "What runs here; always 1.", 1, **info)
        out.gauge("vs_up", "1 once the stored configuration runs.", float(daemon.ready()))
        out.gauge("vs_start_time_seconds", "When the daemon started, since the epoch.", daemon.started)
        text = "Number of the configuration that runs and of the one that is stored."
        out.gauge("vs_config_generation", text, daemon.store.cur_cfg, state="applied")
        out.gauge("vs_config_generation", text, daemon.store.next_cfg, state="wanted")
        seconds = daemon.reconciler.apply_seconds
        out.gauge("vs_config_apply_seconds", "How long the newest configuration took to apply.", seconds)

    def _owner(self, port: LivePort) -> dict[str, str]:
        row = self._daemon.store.snapshot().get("Interface", port.spec.uuid)
        ids = row["external_ids"] if row is not None else {}
        return {"vm": ids.get("vm-uuid", ids.get("vm-id", "")), "owner": ids.get("iface-id", "")}

    def _controllers(self, out: Families, bridge: str) -> None:
        state = self._daemon.reconciler.openflow[bridge].state()
        for table, count in state.flows.items():
            text = "Flow entries in a table."
            out.gauge("vs_flow_entries", text, count, bridge=bridge, table=str(table))
        out.gauge("vs_groups", "Groups.", state.groups, bridge=bridge)
        out.gauge(
            "vs_fail_open", "1 while NORMAL stands in for lost controllers.", state.fail_open, bridge=bridge
        )
        text = "Packets that came up for controllers."
        out.counter("vs_packet_in_total", text, state.packet_ins, bridge=bridge)
        for controller in self._daemon.reconciler.openflow[bridge].controllers():
            labels = {"bridge": bridge, "target": controller.target}
            text = "1 while the OpenFlow connection stands."
            out.gauge("vs_controller_connected", text, controller.connected, **labels)
            text = "Packet-ins that a controller did not take."
            out.counter("vs_packet_in_dropped_total", text, controller.dropped, **labels)
            text = "Role of a controller; always 1."
            out.gauge("vs_controller_role", text, 1, **labels, role=controller.role or "none")


def _port(out: Families, bridge: LiveBridge, port: LivePort, owner: dict[str, str]) -> None:
    info = {
        "port": port.name,
        "bridge": bridge.name,
        "type": port.spec.config.type,
        "ofport": str(port.number),
    }
    socket = port.last.info.get("socket", "")
    out.gauge(
        "vs_port_info", "A configured port and whose it is; always 1.", 1, **info, socket=socket, **owner
    )
    running = port.driver is not None
    out.gauge("vs_port_error", "1 where a port could not be made.", float(not running), port=port.name)
    up = running and port.last.link_up and port.last.admin_up
    out.gauge("vs_port_up", "1 while a port's link is up.", float(up), port=port.name)
    if port.handle is None:
        return
    out.gauge(
        "vs_port_mtu_bytes",
        "Largest packet a port takes, without the link header.",
        port.last.mtu,
        port=port.name,
    )
    out.counter(
        "vs_port_link_changes_total", "How often a link went up or down.", port.link_resets, port=port.name
    )
    counters = port.handle.counters()
    for name, text, value in (
        ("receive_packets", "Packets received, dropped ones included.", counters.rx_packets),
        ("receive_bytes", "Bytes received, dropped ones included.", counters.rx_bytes),
        ("forwarded_packets", "Received packets that went on to at least one port.", counters.rx_forwarded),
        ("offered_packets", "Copies handed to a port for sending.", counters.tx_offered),
        ("transmit_packets", "Packets sent.", counters.tx_packets),
        ("transmit_bytes", "Bytes sent.", counters.tx_bytes),
    ):
        out.counter(f"vs_port_{name}_total", text, value, port=port.name)
    for direction, drops in (("receive", counters.rx_drops), ("transmit", counters.tx_drops)):
        for reason, count in sorted(drops.items()):
            if count:
                labels = {"port": port.name, "direction": direction, "reason": reason}
                out.counter("vs_port_drops_total", "Packets dropped.", count, **labels)
    _queues(out, port.name, port.handle)
    _driver(out, port.name, port.last)


def _queues(out: Families, port: str, handle: dp.PortHandle) -> None:
    queues = handle.queues()
    if queues or handle.waiting():
        text = "Packets that wait in queues of a port; they are not offered to it yet."
        out.gauge("vs_port_waiting_packets", text, handle.waiting(), port=port)
    for number in queues:
        stats, labels = handle.queue_stats(number), {"port": port, "queue": str(number)}
        out.counter("vs_queue_packets_total", "Packets that left a queue.", stats.packets, **labels)
        out.counter("vs_queue_bytes_total", "Bytes that left a queue.", stats.bytes, **labels)
        text = "Packets that a full queue dropped."
        out.counter("vs_queue_dropped_packets_total", text, stats.dropped, **labels)
        out.gauge("vs_queue_waiting_packets", "Packets in a queue.", stats.waiting_packets, **labels)
        out.gauge("vs_queue_waiting_bytes", "Bytes in a queue.", stats.waiting_bytes, **labels)


def _driver(out: Families, name: str, status: base.PortStatus) -> None:
    for (metric, labels), value in sorted(status.metrics.items()):
        text = DRIVER_HELP.get(metric, "Of the port's driver.")
        add = out.counter if metric.endswith("_total") else out.gauge
        add(metric, text, value, port=name, **dict(labels))


def _bridge(out: Families, bridge: LiveBridge) -> None:
    name = bridge.name
    for table, stats in sorted(bridge.dp.table_stats().items()):
        labels = {"bridge": name, "table": str(table)}
        lookups, matches = stats
        out.counter("vs_table_lookups_total", "Walks through a flow table.", lookups, **labels)
        out.counter("vs_table_matches_total", "Walks that matched a flow.", matches, **labels)
    fdb = bridge.dp.fdb_stats()
    out.gauge("vs_mac_entries", "Learned MAC addresses.", fdb["entries"], bridge=name)
    out.gauge(
        "vs_mac_limit", "Most MAC addresses that may be learned.", bridge.spec.mac_table_size, bridge=name
    )
    shape = bridge.dp.stats()
    text = "Different masks among the flows: what a walk of the tables costs."
    out.gauge("vs_classifier_masks", text, shape["n_masks"], bridge=name)
    out.gauge("vs_classifier_rules", "Rules in the datapath.", shape["n_rules"], bridge=name)
    out.gauge("vs_bridge_ports", "Configured ports.", len(bridge.ports), bridge=name)


def _core(out: Families, core: dp.CoreStats, cycles_per_us: int) -> None:
    cpu = str(core.cpu)
    for state, cycles in (
        ("busy", core.busy_cycles),
        ("idle", core.idle_cycles),
        ("sleep", core.asleep_cycles),
    ):
        labels = {"core": cpu, "numa": str(numa_of(core.cpu)), "state": state}
        out.counter("vs_core_cycles_total", "Cycles of a polling core.", cycles, **labels)
    for name, text, value in (
        ("vs_core_packets_total", "Packets received by a core.", core.rx_packets),
        ("vs_core_batches_total", "Batches received by a core.", core.batches),
        ("vs_core_iterations_total", "Rounds over all receive queues.", core.iterations),
        ("vs_core_sleeps_total", "How often a core went to sleep.", core.sleeps),
        ("vs_core_transmit_packets_total", "Packets sent by a core.", core.tx_packets),
        ("vs_punt_packets_total", "Packets put into the ring to the controllers.", core.punt_packets),
        (
            "vs_punt_dropped_total",
            "Packets that the ring to the controllers had no room for.",
            core.punt_refused,
        ),
        ("vs_lookup_miss_total", "Packets whose program was not in the cache.", core.emc_misses),
        ("vs_cache_insertions_total", "Programs put into the cache.", core.emc_inserted),
        ("vs_cache_evictions_total", "Programs pushed out of the cache.", core.emc_evicted),
    ):
        out.counter(name, text, value, core=cpu)
    for layer, value in (("cache", core.emc_hits), ("classifier", core.emc_misses)):
        out.counter(
            "vs_lookup_hits_total",
            "Packets by the layer that found their program.",
            value,
            core=cpu,
            layer=layer,
        )
    seconds = core.max_gap_cycles / cycles_per_us / 1e6
    out.gauge(
        "vs_core_longest_round_seconds",
        "Longest round since the start: how late a packet can be.",
        seconds,
        core=cpu,
    )
    out.gauge(
        "vs_core_deaf_queues",
        "Receive queues that cannot wake the core: their descriptor was refused.",
        core.deaf_queues,
        core=cpu,
    )
    out.gauge("vs_programs", "Programs that cache entries of a core share.", core.programs, core=cpu)
    out.gauge("vs_cache_size", "Entries that the exact-match cache has room for.", core.emc_size, core=cpu)
    out.gauge("vs_cache_entries", "Entries of the exact-match cache in use.", core.emc_used, core=cpu)


def registry(daemon: Daemon) -> CollectorRegistry:
    """Return the registry of one daemon."""
    result = CollectorRegistry(auto_describe=False)
    result.register(Collector(daemon))
    return result
