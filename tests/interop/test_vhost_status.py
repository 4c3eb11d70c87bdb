"""What an operator is told of a vhost-user port: `vsctl get Interface X status` and the metrics page, by the running daemon."""

import contextlib
import os
import re
import socket
import urllib.request

import pytest
from fakes import front_end as fe
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch, parse_metrics, total
from peers.wait import until

from vswitchd.ports.vhostuser import status as told
from vswitchd.ports.vhostuser.features import Protocol, Virtio, mask

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR, PORT = "xvs0", "v1"
TAKEN = fe.MODERN | mask(Virtio.ACCESS_PLATFORM, Virtio.EVENT_IDX, Virtio.CSUM)
PROTOCOL = fe.ALL_PROTOCOL | mask(Protocol.LOG_SHMFD, Protocol.BACKEND_REQ)
FRAME = bytes.fromhex("ffffffffffff0200000000010800") + bytes(50)


@pytest.fixture(autouse=True)
def alone():
    """The bridge's tap is in a network namespace of its own."""
    need.need_root()
    with namespace():
        run(["ip", "link", "set", "lo", "up"])
        yield


@contextlib.contextmanager
def guest_behind_iommu(path):
    """A guest whose rings wait for translations; `serve` brings them."""
    sock = socket.socket(socket.AF_UNIX)
    front = fe.FrontEnd(sock, features=TAKEN, protocol=PROTOCOL)
    with contextlib.closing(front):
        sock.connect(str(path))
        front.start()
        front.open_channel()
        front.map_guest()
        yield front


def serve(switch, front, **wanted):
    """Answer what the switch asks for until column `status` has these."""

    def right():
        front.serve_misses()
        seen = facts(switch)
        return all(seen.get(key) == value for key, value in wanted.items())

    until(right, f"status shows {wanted}")
    return facts(switch)


def facts(switch):
    """Column `status` as vsctl prints it: {key=value, key="value", ...}."""
    text = switch.vsctl("get", "Interface", PORT, "status")
    assert text[0] + text[-1] == "{}"
    found = re.findall(r'([\w-]+|"[^"]*")=("(?:[^"\\]|\\.)*"|[^,}]*)', text)
    return {key.strip('"'): value.strip('"') for key, value in found}


def shows(switch, **wanted):
    """Wait until column `status` has these: it follows the port, but not in the same instant."""

    def right():
        seen = facts(switch)
        return all(seen.get(key) == value for key, value in wanted.items())

    until(right, f"status shows {wanted}, not {facts(switch)}")
    return facts(switch)


def test_all_that_an_operator_asks_for(place):
    with Switch(place / "s") as switch:
        switch.add_bridge(BR)
        path = switch.add_vhost(BR, PORT, 1)
        shows(switch, mode="server", status="disconnected", reconnects="0", socket=str(path))
        with guest_behind_iommu(path):
            shows(switch, status="connected", reconnects="0", num_of_vrings="0", iotlb_pending="4")
        shows(switch, status="disconnected")
        with guest_behind_iommu(path) as front:
            seen = serve(switch, front, status="connected", reconnects="1", num_of_vrings="2")
            check_negotiated(seen, front)
            check_rings(switch, front)
            check_migration(switch, front)
            check_page(switch)
        gone = shows(switch, status="disconnected", reconnects="1")
        assert not {"feature_names", "vring_0_size", "memory_regions", "iotlb_hits"} & set(gone)
        metrics = switch.metrics()
        assert total(metrics, "vs_vhost_connected", port=PORT) == 0
        assert total(metrics, "vs_vhost_iotlb_misses_total", port=PORT) > 0, "counters do not go back"


def check_negotiated(seen, front):
    names = set(seen["feature_names"].split())
    assert {"version_1", "mrg_rxbuf", "access_platform", "event_idx", "csum"} <= names
    assert int(seen["features"], 16) == front.features
    assert {"mq", "reply_ack", "backend_req", "log_shmfd"} <= set(seen["protocol_feature_names"].split())
    assert seen["offloads"] == "csum"
    assert (seen["memory_regions"], seen["memory_bytes"]) == ("1", str(front.guest.regions[0].size))
    assert seen["migration"] == "none"
    assert 0 <= int(seen["connection_age"]) < 300


def check_rings(switch, front):
    """Size, how much of it waits, notifications; hits and misses of the translation cache."""
    rx, tx = front.rings[0], front.rings[1]
    before = total(switch.metrics(), "vs_vhost_ring_chains_total", port=PORT, ring="1")
    front.guest.alloc(2 * fe.PAGE)  # the frames lie in pages that nobody has asked for
    for _ in range(8):
        tx.send(FRAME)
        os.eventfd_write(front.events[1][0], 1)
    for _ in range(5):
        rx.post(2000)

    def taken():
        front.serve_misses()
        return total(switch.metrics(), "vs_vhost_ring_chains_total", port=PORT, ring="1") == before + 8

    until(taken, "the switch has taken what the guest sent")
    metrics = switch.metrics()
    assert total(metrics, "vs_vhost_ring_size", port=PORT, ring="0") == rx.size
    assert total(metrics, "vs_vhost_ring_available", port=PORT, ring="0") == 5
    assert total(metrics, "vs_vhost_ring_used_ratio", port=PORT, ring="0") == 5 / rx.size
    calls = total(metrics, "vs_vhost_kicks_total", port=PORT, ring="1", state="sent")
    assert calls >= 1
    assert total(metrics, "vs_vhost_iotlb_misses_total", port=PORT) > 0
    assert total(metrics, "vs_vhost_iotlb_entries", port=PORT) > 0
    seen = serve(
        switch,
        front,
        vring_0_size=str(rx.size),
        vring_0_available="5",
        vring_1_available="0",
        iotlb_pending="0",
    )
    assert int(seen["vring_1_notifications"]) >= 1
    assert int(seen["iotlb_misses"]) > 0
    assert int(seen["iotlb_hits"]) > 0
    assert int(seen["iotlb_entries"]) > 0


def check_migration(switch, front):
    front.set_log()
    front.start_logging()
    serve(switch, front, migration="logging", num_of_vrings="2")
    assert total(switch.metrics(), "vs_vhost_migration_logging", port=PORT) == 1
    front.stop_logging()
    serve(switch, front, migration="none", num_of_vrings="2")
    assert total(switch.metrics(), "vs_vhost_migration_logging", port=PORT) == 0


def check_page(switch):
    """Each metric of ours that is on the page has its meaning there and belongs to a port."""
    with urllib.request.urlopen(f"http://{switch.metrics_address()}/metrics", timeout=60) as answer:
        page = answer.read().decode()
    present = {name for name in parse_metrics(page) if name.startswith("vs_vhost_")}
    assert {name for name in told.HELP if "iotlb" in name} <= present
    for name in present:
        base = name.removesuffix("_total")
        assert re.search(rf"^# HELP {base}(_total)? \S", page, re.MULTILINE), name
        assert re.search(rf"^# TYPE {base}(_total)? (counter|gauge)$", page, re.MULTILINE), name
        assert all(labels.get("port") for labels, _ in parse_metrics(page)[name]), name
