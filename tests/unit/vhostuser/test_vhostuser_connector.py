"""Client mode's patience: how long it waits between attempts, on a loop whose time is turned by hand."""

import socket

import pytest

from vswitchd.ports.vhostuser import sockets
from vswitchd.ports.vhostuser.sockets import Connector


class Loop:
    """Takes timers and runs the next one when told."""

    def __init__(self):
        self.waits, self.todo = [], []

    def call_soon(self, what):
        return self.call_later(0, what)

    def call_later(self, wait, what):
        timer = Timer(self, what)
        self.waits.append(wait)
        self.todo.append(timer)
        return timer

    def turn(self, times=1):
        for _ in range(times):
            (timer,) = self.todo
            self.todo.clear()
            timer.what()


class Timer:
    def __init__(self, loop, what):
        self.loop, self.what = loop, what

    def cancel(self):
        if self in self.loop.todo:
            self.loop.todo.remove(self)


@pytest.fixture
def loop(monkeypatch):
    made = Loop()
    monkeypatch.setattr(sockets.asyncio, "get_running_loop", lambda: made)
    return made


@pytest.fixture
def server(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "fe"))
        yield sock


def test_waits_double_up_to_the_cap(loop, tmp_path, caplog):
    caplog.set_level("INFO")
    Connector("vh0", str(tmp_path / "fe"), pytest.fail, longest=4.0)
    loop.turn(9)
    assert loop.waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0, 4.0]
    said = [r.message for r in caplog.records]
    assert said == [f"vh0: cannot connect to {tmp_path / 'fe'} yet: No such file or directory"]


def test_another_reason_is_said(loop, tmp_path, caplog):
    caplog.set_level("INFO")
    Connector("vh0", str(tmp_path / "fe"), pytest.fail, longest=4.0)
    loop.turn(2)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "fe"))
    loop.turn(2)
    assert [r.message.rpartition(": ")[2] for r in caplog.records] == [
        "No such file or directory",
        "Connection refused",
    ]


@pytest.mark.parametrize(("longest", "waits"), [(0.1, [0.1, 0.1, 0.1]), (0.3, [0.1, 0.2, 0.3])])
def test_the_cap_is_the_port_s(loop, tmp_path, longest, waits):
    Connector("vh0", str(tmp_path / "fe"), pytest.fail, longest=longest)
    loop.turn(3)
    assert loop.waits == [0, *waits]


def test_the_cap_changes_while_it_waits(loop, tmp_path):
    connector = Connector("vh0", str(tmp_path / "fe"), pytest.fail, longest=4.0)
    loop.turn(3)
    connector.longest = 0.5
    loop.turn(3)
    assert loop.waits == [0, 0.1, 0.2, 0.4, 0.5, 0.5, 0.5]


def test_a_connection_of_use_starts_anew(loop, server, tmp_path):
    server.listen(10)
    got = []
    connector = Connector("vh0", str(tmp_path / "fe"), got.append, longest=4.0)
    for _ in range(4):
        loop.turn()
        got.pop().close()
        connector.disconnected(useful=True)
    assert loop.waits == [0, 0.1, 0.1, 0.1, 0.1]


def test_a_connection_that_led_to_nothing_counts_as_a_failure(loop, server, tmp_path):
    """Whoever accepts and hangs up at once is not called ten times a second."""
    server.listen(10)
    got = []
    connector = Connector("vh0", str(tmp_path / "fe"), got.append, longest=0.4)
    for _ in range(4):
        loop.turn()
        got.pop().close()
        connector.disconnected(useful=False)
    assert loop.waits == [0, 0.1, 0.2, 0.4, 0.4]


def test_nothing_is_tried_after_the_end(loop, server, tmp_path):
    """The port closes its socket first and its connection then, which is a disconnection too."""
    server.listen(10)
    got = []
    connector = Connector("vh0", str(tmp_path / "fe"), got.append, longest=4.0)
    loop.turn()
    connector.close()
    got.pop().close()
    connector.disconnected(useful=True)
    assert loop.todo == []
