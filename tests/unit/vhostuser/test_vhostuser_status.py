"""What a port tells of itself: column `status`, the metrics, and when the daemon is told to look."""

import asyncio
import os
from types import SimpleNamespace

from fakes import front_end as fe
from vhostuser_world import bounce, check_echo, run, until

from vswitchd import metrics
from vswitchd.ports.vhostuser import status
from vswitchd.ports.vhostuser.features import Virtio, mask
from vswitchd.ports.vhostuser.memory import Gpa, Region, Uva
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.state import Inflight, Memory, Postcopy, State

CONNECTED = {
    "features",
    "feature_names",
    "offloads",
    "protocol_features",
    "protocol_feature_names",
    "memory_regions",
    "memory_bytes",
    "migration",
    "inflight",
    "connection_age",
}


class Rings:
    """Stands for a device without rings."""

    sizes, guest_mtu = {}, None
    stats = SimpleNamespace(entries=3, hits=50, misses=4, pending=1, updates=5, invalidations=6, evictions=7)

    @classmethod
    def iotlb(cls):
        return cls.stats


def view(state=None, **how):
    facts = {
        "server": True,
        "address": "/x",
        "device": Rings,
        "state": state,
        "age": 0.0,
        "connects": 1,
        "rings": 0,
    }
    return status.View(**{**facts, "faults": 0, **how})


def test_without_a_front_end(tmp_path):
    async def main(world):
        seen = world.port().status()
        assert seen.info == {
            "driver_name": "vhost-user",
            "mode": "server",
            "status": "disconnected",
            "socket": str(tmp_path / "vh0"),
            "reconnects": "0",
            "num_of_vrings": "0",
            "numa": "0",
        }
        assert seen.metrics["vs_vhost_connected", ()] == 0
        assert {name for name, _ in seen.metrics} == {
            "vs_vhost_connected",
            "vs_vhost_reconnects_total",
            "vs_vhost_retries_total",
            "vs_vhost_memory_faults_total",
        }

    run(tmp_path, main)


def test_with_a_front_end(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        check_echo(front, port)
        front.rings[0].post(2000)
        info, numbers = port.status().info, port.status().metrics
        assert set(info) >= CONNECTED
        assert info["connection_age"] == "0"
        assert info["reconnects"] == "0"
        assert info["feature_names"].split() == [
            "mrg_rxbuf",
            "indirect_desc",
            "protocol_features",
            "version_1",
        ]
        assert info["protocol_feature_names"].startswith("mq reply_ack net_mtu reset_device ")
        assert info["offloads"] == "none"
        assert info["migration"] == "none"
        assert info["pid"] == str(os.getpid())
        size = sum(r.size for r in front.guest.regions)
        assert (info["memory_regions"], info["memory_bytes"]) == (str(len(front.guest.regions)), str(size))
        assert (info["vring_0_size"], info["vring_0_available"], info["vring_0_notifications"]) == (
            "256",
            "1",
            "1",
        )
        assert "vring_0_error" not in info
        ring = ("ring", "0")
        assert numbers["vs_vhost_ring_size", (ring,)] == 256
        assert numbers["vs_vhost_ring_available", (ring,)] == 1
        assert numbers["vs_vhost_ring_chains_total", (ring,)] == 1
        assert numbers["vs_vhost_memory_regions", ()] == len(front.guest.regions)
        assert numbers["vs_vhost_memory_bytes", ()] == size
        assert numbers["vs_vhost_protocol_feature_info", (("feature", "status"),)] == 1
        assert 0 < numbers["vs_vhost_connection_age_seconds", ()] < 60

    run(tmp_path, main)


def test_a_broken_ring_says_why(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        front.rings[1].publish(9999)
        assert bounce(port) == 0
        assert port.status().info["vring_1_error"] == "avail_index"

    run(tmp_path, main)


def test_reconnects_are_counted(tmp_path):
    async def main(world):
        port = world.port()
        for turn in range(3):
            front = await world.front()
            assert port.status().info["reconnects"] == str(turn)
            world.fronts.remove(front)
            front.close()
            await until(lambda: port.status().info["status"] == "disconnected")
        assert not CONNECTED & set(port.status().info)

    run(tmp_path, main)


def test_migration_and_offloads():
    state = State(features=mask(Virtio.LOG_ALL, Virtio.CSUM, Virtio.HOST_TSO4, Virtio.MQ))
    info = status.info(view(state))
    assert info["migration"] == "logging"
    assert info["offloads"] == "csum host_tso4"
    assert dict(status.metrics(view(state)))["vs_vhost_migration_logging", ()] == 1


def test_post_copy_is_told_before_logging():
    state = State(features=mask(Virtio.LOG_ALL), postcopy=Postcopy(-1))
    assert status.info(view(state))["migration"] == "post-copy"
    assert dict(status.metrics(view(state)))["vs_vhost_migration_postcopy", ()] == 1
    assert status.outline(state) != status.outline(State(features=mask(Virtio.LOG_ALL)))


def test_iotlb_of_a_guest_that_has_one():
    state = State(features=mask(Virtio.ACCESS_PLATFORM))
    info = status.info(view(state))
    names = ("entries", "hits", "misses", "pending")
    assert [info[f"iotlb_{name}"] for name in names] == ["3", "50", "4", "1"]
    numbers = {
        name.removeprefix("vs_vhost_iotlb_"): value for (name, _), value in status.metrics(view(state))
    }
    assert {name: numbers[name] for name in ("entries", "pending", "hits_total", "evictions_total")} == {
        "entries": 3,
        "pending": 1,
        "hits_total": 50,
        "evictions_total": 7,
    }
    assert "iotlb_entries" not in status.info(view(State(features=0)))
    gone = {name for name, _ in dict(status.metrics(view(None)))}
    assert "vs_vhost_iotlb_misses_total" in gone, "counters do not go away with the guest"


def test_who_records_chains_in_flight():
    assert status.info(view(State()))["inflight"] == "none"
    own = view(State(), own_records=1)
    assert status.info(own)["inflight"] == "own"
    assert dict(status.metrics(own))["vs_vhost_inflight_recorded", ()] == 1
    assert dict(status.metrics(view(State())))["vs_vhost_inflight_recorded", ()] == 0
    state = State(inflight=Inflight(2, 256, None))
    assert status.info(view(state))["inflight"] == "front-end"
    assert dict(status.metrics(view(state)))["vs_vhost_inflight_recorded", ()] == 1


def test_a_packed_ring_has_a_record_of_ours(tmp_path):
    async def main(world):
        port = world.port()
        await world.front(features=fe.MODERN | 1 << Virtio.RING_PACKED)
        assert port.status().info["inflight"] == "own"

    run(tmp_path, main)


def test_ages_are_coarse_in_the_row_and_exact_in_the_metrics():
    """Else each row of an idle port would change every second."""
    ages = [0.4, 59.9, 60, 119.9, 7261]
    shown = [status.info(view(State(), age=age))["connection_age"] for age in ages]
    assert shown == ["0", "50", "60", "60", "7260"]
    exact = [dict(status.metrics(view(State(), age=a)))["vs_vhost_connection_age_seconds", ()] for a in ages]
    assert exact == ages


def test_memory_is_summed():
    regions = tuple(Region(Gpa(i << 30), Uva(i << 30), 1 << 20, 0) for i in range(3))
    info = status.info(view(State(memory=Memory(regions, (), None))))
    assert (info["memory_regions"], info["memory_bytes"]) == ("3", str(3 << 20))


def test_every_metric_has_its_meaning_on_the_page(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front(pairs=2)
        check_echo(front, port)
        front.rings[1].chain([(1 << 40, 100)])
        bounce(port)
        told = {name for name, _ in port.status().metrics}
        assert told == {name for name in status.HELP if "iotlb" not in name}
        assert told <= set(metrics.DRIVER_HELP)

    run(tmp_path, main)


def test_the_daemon_is_told_of_changes_alone(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        told = len(world.changes)
        assert told
        for _ in range(3):
            await asyncio.to_thread(front.ask, Request.GET_FEATURES)
        assert len(world.changes) == told, "a question changes nothing"
        for message in (
            fe.message(Request.NET_SET_MTU, fe.u64(9000)),
            fe.message(Request.SET_FEATURES, fe.u64(front.features & ~(1 << Virtio.MRG_RXBUF))),
            fe.message(Request.SET_VRING_ENABLE, fe.state(0, 0)),
        ):
            front.send(message)
            await asyncio.to_thread(front.ask, Request.GET_FEATURES)
            assert len(world.changes) > told
            told = len(world.changes)
        assert port.status().info["guest_mtu"] == "9000"

    run(tmp_path, main)
