"""Ports whose front-end cut its memory: the control thread itself finds out, and only the port concerned is closed."""

import logging
import os

from vhostuser_world import check_echo, run, until

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.memory import Gpa, Region, Uva
from vswitchd.ports.vhostuser.payloads import InflightArea, LogArea

FAULTS = ("vs_vhost_memory_faults_total", ())


def test_the_control_thread_looks_at_a_ring(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def main(world):
        ports = [world.port(name) for name in ("vh0", "vh1")]
        bad, good = [await world.front(name) for name in ("vh0", "vh1")]
        os.ftruncate(bad.guest.regions[0].fd, 0)
        for _ in range(2):
            assert ports[0].status().info["status"] == "connected"  # reads the available index, twice zeros
        await until(lambda: ports[0].status().info["status"] == "disconnected")
        assert bad.sock.recv(1) == b""
        assert [r.message for r in caplog.records if "truncated" in r.message] == [
            "vh0: the front-end truncated its memory file, or nothing is left to back it; closing the connection"
        ]
        assert [port.status().metrics[FAULTS] for port in ports] == [1, 0]
        check_echo(good, ports[1])
        again = await world.front("vh0")
        check_echo(again, ports[0])
        assert ports[0].status().metrics[FAULTS] == 1
        assert ports[1].status().info["status"] == "connected"

    run(tmp_path, main)


def test_a_port_that_is_stopped_before_it_is_told(tmp_path):
    async def main(world):
        ports = [world.port(name) for name in ("vh0", "vh1")]
        bad, good = [await world.front(name) for name in ("vh0", "vh1")]
        os.ftruncate(bad.guest.regions[0].fd, 0)
        ports[0].status()
        world.ports.remove(ports[0])
        ports[0].stop()
        lib.vs_synchronize()
        lib.vs_port_destroy(ports[0].handle)
        os.ftruncate(good.guest.regions[0].fd, 0)  # the other goes on looking
        ports[1].status()
        await until(lambda: ports[1].status().info["status"] == "disconnected")

    run(tmp_path, main)


def test_memory_that_is_cut_while_rings_stop(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        front.rings[1].send(bytes(60))
        os.ftruncate(front.guest.regions[0].fd, 0)
        front.sock.close()
        await until(lambda: port.status().info["status"] == "disconnected")
        check_echo(await world.front(), port)

    run(tmp_path, main)


def test_every_kind_of_memory_has_its_owner():
    """Guest memory, migration log and record of chains in flight: whoever touches one that was cut, the port is told."""
    handle = lib.vs_vhost_new(b"v")
    device = CoreDevice("v", handle)
    fd = os.memfd_create("guest")
    os.ftruncate(fd, 1 << 20)
    memory = device.map(Region(Gpa(0), Uva(0x7F0000000000), 1 << 20, 0), fd)
    dirty = device.map_log(LogArea(1 << 20, 0), fd)
    record = device.map_inflight(InflightArea(1 << 20, 0, 2, 256), fd, 0)
    os.ftruncate(fd, 0)
    assert lib.vs_guarded_faults(handle) == 0
    for mapping in (memory, lib.vs_dirty_log_map(dirty), record.mapping):
        assert lib.vs_guest_map_host(mapping)[4096] == 0
        assert lib.vs_guarded_faults(handle) == 1
    device.unmap(memory)
    device.free_log(dirty)
    device.free_inflight(record)
    assert lib.vs_guarded_faults(ffi.NULL) == 0
    lib.vs_port_destroy(handle)
    os.close(fd)
