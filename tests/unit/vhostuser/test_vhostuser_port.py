"""The port types over real sockets: both modes, reconnects, a second front-end, status and metrics."""

import asyncio
import socket
import stat
import struct

import pytest
from fakes import front_end as fe
from vhostuser_world import bounce, check_echo, run, until

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortError, types
from vswitchd.ports.vhostuser import CLIENT, SERVER, sockets
from vswitchd.ports.vhostuser.features import DEFAULT
from vswitchd.ports.vhostuser.messages import Request


def test_both_types_are_registered():
    assert {SERVER, CLIENT} <= set(types())


def test_server_mode(tmp_path):
    async def main(world):
        port = world.port()
        assert not port.status().link_up
        front = await world.front()
        status = port.status()
        assert status.link_up
        assert lib.vs_port_link(port.handle) == 1
        assert status.info["mode"] == "server"
        assert status.info["status"] == "connected"
        assert status.info["socket"] == str(tmp_path / "vh0")
        assert status.info["num_of_vrings"] == "2"
        assert status.info["vring_1_size"] == "256"
        assert status.info["numa"] == "0"
        assert "mrg_rxbuf" in status.info["feature_names"]
        check_echo(front, port)
        assert world.changes
        assert port.status().metrics["vs_vhost_kicks_total", (("ring", "1"), ("state", "sent"))] == 1

    run(tmp_path, main)
    assert not (tmp_path / "vh0").exists()


def test_client_mode_tries_until_there_is_a_server(tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "FIRST_WAIT", 0.01)

    async def main(world):
        port = world.port(type_=CLIENT, options={"vhost_server_path": str(tmp_path / "fe.sock")})
        await asyncio.sleep(0)
        assert port.status().info["mode"] == "client"
        assert port.status().info["status"] == "disconnected"
        server = world.listen()
        for turn in range(3):
            sock, _ = await asyncio.to_thread(server.accept)
            front = await world.front(sock=sock)
            check_echo(front, port)
            assert port.status().metrics["vs_vhost_reconnects_total", ()] == turn
            sock.close()
            await until(lambda: not port.status().link_up)

    run(tmp_path, main)


def test_server_outlives_front_ends(tmp_path):
    async def main(world):
        port = world.port()
        for turn in range(20):
            front = await world.front()
            check_echo(front, port)
            world.fronts.remove(front)
            front.close()
            await until(lambda: port.status().info["status"] == "disconnected")
            assert not port.status().link_up
            assert port.status().metrics["vs_vhost_reconnects_total", ()] == turn

    run(tmp_path, main)


def test_front_end_lost_in_every_state(tmp_path):
    """The connection ends after each message of the set-up, cleanly or in the middle of it."""

    async def main(world):
        port = world.port()
        front = fe.FrontEnd(socket.socket(socket.AF_UNIX))
        steps = list(fe.set_up(front.guest, front.rings, front.features, front.events))
        count = 0
        for last in range(len(steps)):
            for cut in (0, 5):
                front.sock.close()
                front.sock = socket.socket(socket.AF_UNIX)
                front.sock.connect(str(tmp_path / "vh0"))
                for data, fds in steps[:last]:
                    front.send(data, fds)
                data, fds = steps[last]
                front.send(data[: len(data) - cut], fds)
                front.sock.close()
                count += 1
                await until(lambda n=count: port._connects == n and port._connection is None)
        front.close()
        check_echo(await world.front(), port)

    run(tmp_path, main)


def test_second_front_end_is_refused(tmp_path):
    async def main(world):
        port = world.port()
        first = await world.front()
        with pytest.raises((ConnectionError, BrokenPipeError)):
            await world.front()
        check_echo(first, port)

    run(tmp_path, main)


def test_bad_message_costs_that_connection_only(tmp_path):
    async def main(world):
        port, other = world.port(), world.port("vh1")
        front, peer = await world.front(), await world.front("vh1")
        front.send(fe.message(Request.SET_VRING_NUM, fe.state(0, 3)))
        await until(lambda: not port.status().link_up)
        check_echo(peer, other)
        check_echo(await world.front(), port)

    run(tmp_path, main)


def test_too_many_descriptors_in_one_message(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        front.send(fe.message(Request.SET_OWNER), [front.events[0][0]] * 200)
        await until(lambda: not port.status().link_up)

    run(tmp_path, main)


def test_a_front_end_that_reads_no_answers(tmp_path):
    """Its answers pile up in the socket, not in our memory, and other ports go on."""

    async def main(world):
        port, other = world.port(), world.port("vh1")
        front, peer = await world.front(), await world.front("vh1")
        front.sock.setblocking(False)
        question = fe.message(Request.GET_FEATURES) * 100
        with pytest.raises(BlockingIOError):
            while True:
                front.sock.send(question)
                for _ in range(5):
                    await asyncio.sleep(0)
        assert len(port._connection._unsent) <= 64 * 20
        check_echo(peer, other)

    run(tmp_path, main)


def test_queues_follow_the_guest(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front(pairs=4)
        assert lib.vs_port_n_rxq(port.handle) == 4
        check_echo(front, port)
        for index in (2, 3, 4, 5, 6, 7):
            await asyncio.to_thread(front.send, fe.message(Request.SET_VRING_ENABLE, fe.state(index, 0)))
        await asyncio.to_thread(front.ask, Request.GET_FEATURES)
        assert lib.vs_port_n_rxq(port.handle) == 4  # what the guest sends there is still to be dropped
        assert port.status().info["num_of_vrings"] == "2"
        for index in (3, 5, 7):
            await asyncio.to_thread(front.stop, index)
        assert lib.vs_port_n_rxq(port.handle) == 1
        assert port.status().metrics["vs_vhost_ring_enabled", (("ring", "7"),)] == 0

    run(tmp_path, main)


def test_corrupt_ring_is_logged_once(tmp_path, caplog):
    async def main(world):
        port = world.port()
        front = await world.front()
        front.rings[1].publish(9999)
        assert bounce(port) == 0
        for _ in range(3):
            port.status()
        assert [r.message for r in caplog.records if "corrupt" in r.message] == [
            "vh0: ring 1 is corrupt (avail_index) and stopped"
        ]

    run(tmp_path, main)


def test_metrics(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        check_echo(front, port)
        front.rings[0].post(2000)
        front.rings[1].chain([(1 << 40, 100)])
        assert bounce(port) == 0
        metrics = port.status().metrics
        ring = {i: ("ring", str(i)) for i in (0, 1)}
        assert metrics["vs_vhost_connected", ()] == 1
        assert metrics["vs_vhost_retries_total", ()] == 0
        assert metrics["vs_vhost_ring_enabled", (ring[0],)] == 1
        assert metrics["vs_vhost_ring_used_ratio", (ring[0],)] == 1 / 256
        assert metrics["vs_vhost_ring_used_ratio", (ring[1],)] == 0
        assert metrics["vs_vhost_ring_full_total", (ring[0],)] == 0
        assert metrics["vs_vhost_kicks_total", (ring[1], ("state", "sent"))] == 2
        assert metrics["vs_vhost_refused_total", (ring[1], ("reason", "address"))] == 1
        assert metrics["vs_vhost_feature_info", (("feature", "version_1"),)] == 1

    run(tmp_path, main)


def test_stop_while_connected(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        port.stop()
        assert not port.status().link_up
        with pytest.raises((ConnectionError, BrokenPipeError)):
            await asyncio.to_thread(front.ask, Request.GET_FEATURES)
        assert not (tmp_path / "vh0").exists()

    run(tmp_path, main)


def test_reconfigure(tmp_path):
    async def main(world):
        port = world.port()
        front = await world.front()
        assert port.reconfigure(PortConfig("vh0", SERVER, {"tx-retries-max": "0"}, mtu_request=1000))
        assert port.status().mtu == 1000
        front.rings[0].post(4000)
        front.rings[1].send(bytes(1100))
        assert bounce(port) == 1
        assert front.rings[0].received() == []  # longer than the MTU
        check_echo(front, port)
        assert not port.reconfigure(PortConfig("vh0", CLIENT, {"vhost-server-path": "/x"}))
        assert not port.reconfigure(PortConfig("vh0", SERVER, {"vhost-socket": "/x"}))

    run(tmp_path, main)


def test_a_mistake_does_not_unplug_the_guest(tmp_path, caplog):
    """It is told, the port runs on as before, and the next good word counts."""
    text = "port vh0: options:tx-retries-max=33 is not a number from 0 to 32"

    async def main(world):
        port = world.port(options={"socket_mode": "0640"})
        front = await world.front()
        wrong = {"tx-retries-max": "33", "socket-mode": "0666", "features-off": "in_order"}
        assert port.reconfigure(PortConfig("vh0", SERVER, wrong, mtu_request=1000))
        assert port.status().info["error"] == text
        assert [r.message for r in caplog.records] == [f"{text}; the port runs on as before"]
        assert port.status().mtu == 1000
        assert stat.S_IMODE((tmp_path / "vh0").stat().st_mode) == 0o640
        assert port._options.offer == DEFAULT
        check_echo(front, port)
        assert port.reconfigure(PortConfig("vh0", SERVER, {"socket-mode": "0666"}))
        assert "error" not in port.status().info
        assert stat.S_IMODE((tmp_path / "vh0").stat().st_mode) == 0o666
        check_echo(front, port)

    run(tmp_path, main)


def test_a_mistake_in_a_new_port(tmp_path):
    async def main(world):
        with pytest.raises(PortError, match=r"port vh0: options:tx-retries-max=33 is not a number"):
            world.port(options={"tx_retries_max": "33"})

    run(tmp_path, main)
    assert list(tmp_path.iterdir()) == []


def test_header_of_answers(tmp_path):
    async def main(world):
        world.port()
        front = await world.front()
        answer = await asyncio.to_thread(front.ask, Request.GET_VRING_BASE, fe.state(1, 0))
        assert struct.unpack("=II", answer) == (1, 0)

    run(tmp_path, main)


def test_a_ring_that_starts_again_is_told_of(tmp_path):
    """A new ring asks for no kick, so whoever sleeps has to be woken for it: also where nothing else has changed."""

    async def main(world):
        port = world.port()
        front = await world.front()
        await until(lambda: port.status().link_up)
        world.changes.clear()
        table = fe.memory(front.guest)
        await asyncio.to_thread(
            front.send,
            fe.message(Request.SET_MEM_TABLE, table),
            [region.fd for region in front.guest.regions],
        )
        await asyncio.to_thread(front.sync)
        await until(lambda: world.changes == [port])

    run(tmp_path, main)
