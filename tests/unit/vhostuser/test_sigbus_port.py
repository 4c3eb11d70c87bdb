"""Ports whose front-end cut its memory: the control thread itself finds out, and only the port concerned is closed."""

import logging
import os

from vhostuser_world import check_echo, run, until

from vswitchd.datapath.dp import lib

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
