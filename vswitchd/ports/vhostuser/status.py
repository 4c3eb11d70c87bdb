"""What a vhost-user port tells: column `status` of Interface and the metrics, from one look at its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.features import Virtio, mask, names, protocol_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.ports.vhostuser.device import CoreDevice
    from vswitchd.ports.vhostuser.state import State

HELP = {
    "vs_vhost_connected": "1 while a guest's front end is connected.",
    "vs_vhost_connection_age_seconds": "How long the front end has been connected.",
    "vs_vhost_reconnects_total": "How often a front end connected again.",
    "vs_vhost_feature_info": "A device feature that was negotiated; always 1.",
    "vs_vhost_protocol_feature_info": "A protocol feature that was negotiated; always 1.",
    "vs_vhost_memory_regions": "Regions of guest memory that are mapped.",
    "vs_vhost_memory_bytes": "Guest memory that is mapped.",
    "vs_vhost_memory_faults_total": "How often a front end's memory went away under the switch.",
    "vs_vhost_iotlb_entries": "Translations of a guest behind a vIOMMU that the switch knows.",
    "vs_vhost_iotlb_hits_total": "Lookups that found a translation, without those that a ring remembered.",
    "vs_vhost_iotlb_misses_total": "Lookups that found none: the front end is asked, once per page.",
    "vs_vhost_iotlb_pending": "Pages that the front end was asked for and has not answered.",
    "vs_vhost_iotlb_updates_total": "Translations that the front end sent.",
    "vs_vhost_iotlb_invalidations_total": "Times that the front end took translations back.",
    "vs_vhost_iotlb_evictions_total": "Translations that gave way to others in a full cache.",
    "vs_vhost_inflight_recorded": "1 while it is recorded where rings stand, by the front end or in files of ours.",
    "vs_vhost_migration_postcopy": "1 while memory comes page by page: the guest was migrated here by post-copy.",
    "vs_vhost_migration_logging": "1 while written pages are logged: the guest is being migrated.",
    "vs_vhost_retries_total": "How often sending to a full ring was tried again.",
    "vs_vhost_ring_enabled": "1 while a ring is started and enabled.",
    "vs_vhost_ring_size": "Descriptors of a ring that runs.",
    "vs_vhost_ring_available": "Chains of a ring that wait for the switch.",
    "vs_vhost_ring_held": "Packets of a ring that wait for a translation.",
    "vs_vhost_ring_used_ratio": "Chains of a ring that wait for the switch, of its size.",
    "vs_vhost_ring_chains_total": "Chains taken from a ring and given back.",
    "vs_vhost_ring_full_total": "How often the guest had given no receive buffers.",
    "vs_vhost_kicks_total": "Notifications of the guest, sent or suppressed at its wish.",
    "vs_vhost_refused_total": "Chains that were given back unused, by what is wrong with them.",
}
"""The metrics: name -> meaning."""
OFFLOADS = mask(
    *(bit for bit in Virtio if any(word in bit.name for word in ("CSUM", "TSO", "UFO", "USO", "ECN")))
)
_MINUTE = 60
_IOTLB_STATUS = ("entries", "hits", "misses", "pending")
_IOTLB_COUNTERS = ("hits", "misses", "updates", "invalidations", "evictions")
Metric = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class View:
    """A port as it is now."""

    server: bool
    address: str
    device: CoreDevice
    state: State | None
    """What the front-end negotiated; None: there is no front-end."""
    age: float
    """Seconds since it connected."""
    connects: int
    rings: int
    """Rings up to the highest that ever ran: those have counters."""
    faults: int
    """Mappings of guest memory that went away under the switch (faults.py)."""
    own_records: int = 0
    """Rings whose place is recorded in a file of ours (recovery.py)."""
    pid: int | None = None
    """The front-end's process, where it can be told."""
    error: str = ""
    """What is wrong with the options; the port runs with those that it had before."""


def info(view: View) -> dict[str, str]:
    """Return column `status`. Key `error` is what column `error` shows."""
    sizes = view.device.sizes
    facts = {
        "driver_name": "vhost-user",
        "mode": "server" if view.server else "client",
        "status": "disconnected" if view.state is None else "connected",
        "socket": view.address,
        "reconnects": str(max(0, view.connects - 1)),
        "num_of_vrings": str(len(sizes)),
        "numa": "0",
    }
    if view.error:
        facts["error"] = view.error
    if view.state is not None:
        facts |= _negotiated(view.state)
        facts["inflight"] = _recorded(view.state, view)
        if view.pid is not None:
            facts["pid"] = str(view.pid)
        # Coarse: a row that changes every second costs the daemon and everybody who watches it.
        age = int(view.age)
        facts["connection_age"] = str(age - age % (_MINUTE if age >= _MINUTE else _MINUTE // 6))
        if view.state.negotiated(Virtio.ACCESS_PLATFORM):
            iotlb = view.device.iotlb()
            facts |= {f"iotlb_{name}": str(getattr(iotlb, name)) for name in _IOTLB_STATUS}
    if view.device.guest_mtu is not None:
        facts["guest_mtu"] = str(view.device.guest_mtu)
    for index, size in sorted(sizes.items()):
        ring = view.device.info(index)
        facts[f"vring_{index}_size"] = str(size)
        facts[f"vring_{index}_available"] = str(ring.available)
        facts[f"vring_{index}_notifications"] = str(ring.stats.kicks_sent)
        if ring.broken:
            facts[ring_error(index)] = reason(ring.broken)
    return facts


def ring_error(index: int) -> str:
    """Return the key of column `status` under which it stands why a ring broke."""
    return f"vring_{index}_error"


def outline(state: State) -> tuple[object, ...]:
    """Return what the rest is made of: equal as long as that does not change. Asked after each burst of messages."""
    regions = None if state.memory is None else state.memory.regions
    return (state.features, state.protocol, regions, state.inflight is None, state.postcopy is None)


def _migration(state: State) -> str:
    if state.postcopy is not None:
        return "post-copy"
    return "logging" if state.negotiated(Virtio.LOG_ALL) else "none"


def _recorded(state: State, view: View) -> str:
    """Who keeps the record of where the rings stand, for the time after a crash of ours."""
    if state.inflight is not None:
        return "front-end"
    return "own" if view.own_records else "none"


def _negotiated(state: State) -> dict[str, str]:
    facts = {"migration": _migration(state)}
    if state.features is not None:
        facts["features"] = f"{state.features:#018x}"
        facts["feature_names"] = names(state.features)
        facts["offloads"] = names(state.features & OFFLOADS) or "none"
    if state.protocol:
        facts["protocol_features"] = f"{state.protocol:#018x}"
        facts["protocol_feature_names"] = protocol_names(state.protocol)
    if state.memory is not None:
        facts["memory_regions"] = str(len(state.memory.regions))
        facts["memory_bytes"] = str(sum(region.size for region in state.memory.regions))
    return facts


def metrics(view: View) -> Iterator[tuple[Metric, float]]:
    """Return the metrics; those of rings have a label `ring`."""
    state = view.state
    yield ("vs_vhost_connected", ()), float(state is not None)
    yield ("vs_vhost_reconnects_total", ()), float(max(0, view.connects - 1))
    yield ("vs_vhost_memory_faults_total", ()), float(view.faults)
    if state is not None:
        yield ("vs_vhost_connection_age_seconds", ()), view.age
        regions = () if state.memory is None else state.memory.regions
        yield ("vs_vhost_memory_regions", ()), float(len(regions))
        yield ("vs_vhost_memory_bytes", ()), float(sum(region.size for region in regions))
        yield ("vs_vhost_migration_logging", ()), float(state.negotiated(Virtio.LOG_ALL))
        yield ("vs_vhost_migration_postcopy", ()), float(state.postcopy is not None)
        yield ("vs_vhost_inflight_recorded", ()), float(_recorded(state, view) != "none")
        for feature in names(state.features or 0).split():
            yield ("vs_vhost_feature_info", (("feature", feature),)), 1.0
        for feature in protocol_names(state.protocol).split():
            yield ("vs_vhost_protocol_feature_info", (("feature", feature),)), 1.0
    behind_iommu = state is not None and state.negotiated(Virtio.ACCESS_PLATFORM)
    yield from _iotlb(view.device.iotlb(), used=behind_iommu)
    retries = 0
    for index in range(view.rings):
        ring = view.device.info(index)
        retries += ring.stats.retries
        yield from _ring(index, ring, enabled=index in view.device.sizes)
    yield ("vs_vhost_retries_total", ()), float(retries)


def _iotlb(stats: Any, *, used: bool) -> Iterator[tuple[Metric, float]]:
    if used or stats.misses:  # counters do not go away with the guest
        yield ("vs_vhost_iotlb_entries", ()), float(stats.entries)
        yield ("vs_vhost_iotlb_pending", ()), float(stats.pending)
        for name in _IOTLB_COUNTERS:
            yield (f"vs_vhost_iotlb_{name}_total", ()), float(getattr(stats, name))


def _ring(index: int, ring: Any, *, enabled: bool) -> Iterator[tuple[Metric, float]]:
    label = ("ring", str(index))
    stats = ring.stats
    yield ("vs_vhost_ring_enabled", (label,)), float(enabled)
    if ring.size:
        yield ("vs_vhost_ring_size", (label,)), float(ring.size)
        yield ("vs_vhost_ring_available", (label,)), float(ring.available)
        yield ("vs_vhost_ring_used_ratio", (label,)), ring.available / ring.size
        yield ("vs_vhost_ring_held", (label,)), float(ring.held)
    yield ("vs_vhost_ring_chains_total", (label,)), float(stats.chains)
    yield ("vs_vhost_kicks_total", (label, ("state", "sent"))), float(stats.kicks_sent)
    yield ("vs_vhost_kicks_total", (label, ("state", "suppressed"))), float(stats.kicks_suppressed)
    if index % 2 == 0:
        yield ("vs_vhost_ring_full_total", (label,)), float(stats.full)
    for error in range(1, lib.VS_N_CHAIN_ERRORS):
        if stats.refused[error]:
            yield ("vs_vhost_refused_total", (label, ("reason", reason(error)))), float(stats.refused[error])


def reason(error: int) -> str:
    """Return the name of an enum vs_chain_error."""
    return str(ffi.string(lib.vs_chain_error_label(error)).decode())
