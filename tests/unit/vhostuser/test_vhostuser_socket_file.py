"""The socket of a server port: who may connect from its first moment on, abstract names, and other people's files."""

import asyncio
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from vhostuser_world import check_echo, run

from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.vhostuser import SERVER, socket_file
from vswitchd.ports.vhostuser.socket_file import Access, BoundSocket

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def bind(tmp_path):
    made = []

    def make(access=socket_file.ANYBODY, address=None):
        made.append(BoundSocket("vh0", address or str(tmp_path / "vh0"), access))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert not (tmp_path / "vh0").exists()


def facts(path):
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.mark.parametrize("mode", [0o000, 0o600, 0o660, 0o777])
@pytest.mark.parametrize("umask", [0o022, 0o777, 0o000])
def test_the_mode_is_as_asked_whatever_the_umask(bind, tmp_path, mode, umask):
    before = os.umask(umask)
    try:
        bind(Access(mode))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert facts(tmp_path / "vh0")[0] == mode


def test_without_a_wish_the_umask_says(bind, tmp_path):
    before = os.umask(0o027)
    try:
        bind()
    finally:
        os.umask(before)
    assert facts(tmp_path / "vh0")[0] == 0o750


def test_nobody_connects_before_it_is_as_asked(bind, tmp_path, monkeypatch):
    """The mode is there from the first moment, owner and group before the first connection can be made."""
    path, seen = tmp_path / "vh0", []
    real = BoundSocket.set_access

    def spy(self, access):
        seen.append(facts(path)[0])
        real(self, access)
        with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(str(path))

    monkeypatch.setattr(BoundSocket, "set_access", spy)
    bind(Access(0o640))
    assert seen == [0o640]
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))


@as_root
def test_owner_and_group(bind, tmp_path):
    bind(Access(0o660, 12345, 54321))
    assert facts(tmp_path / "vh0") == (0o660, 12345, 54321)


@as_root
def test_access_changes_in_place_and_back(bind, tmp_path, monkeypatch):
    before = os.umask(0o022)
    try:
        bound = bind(Access(0o666))
    finally:
        os.umask(before)
    path, steps = tmp_path / "vh0", []
    real = os.chown

    def spy(*args):
        steps.append(facts(path)[0])
        real(*args)

    monkeypatch.setattr(os, "chown", spy)
    bound.set_access(Access(0o640, -1, 54321))
    assert facts(path) == (0o640, 0, 54321)
    assert steps == [0o640], "the new group must not have the old rights"
    bound.set_access(Access(0o660, 12345))
    assert facts(path) == (0o660, 12345, os.getegid())
    assert steps[1:] == [0o640], "the old owner must not have the new rights"
    bound.set_access(socket_file.ANYBODY)
    assert facts(path) == (0o755, 0, os.getegid())


@as_root
def test_a_link_in_its_place_is_not_followed(bind, tmp_path):
    """Only the file that was bound changes its owner, wherever it is by now."""
    victim = tmp_path / "victim"
    victim.write_text("")
    victim.chmod(0o600)
    bound = bind()
    (tmp_path / "vh0").rename(tmp_path / "moved")
    (tmp_path / "vh0").symlink_to(victim)
    bound.set_access(Access(0o666, 12345))
    assert facts(victim) == (0o600, 0, os.getegid())
    assert facts(tmp_path / "moved")[:2] == (0o666, 12345)
    bound.close()
    assert (tmp_path / "vh0").is_symlink()
    (tmp_path / "vh0").unlink()


def test_a_file_that_was_swapped_at_once_is_found_out(bind, tmp_path, monkeypatch):
    path, real = tmp_path / "vh0", os.open

    def swapped(name, *args, **how):
        if name == str(path) and path.exists():
            path.unlink()
            path.symlink_to("/etc/passwd")
        return real(name, *args, **how)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(PortError, match="somebody replaced"):
        bind(Access(0o666))
    assert path.is_symlink()
    path.unlink()


@pytest.mark.parametrize("what", ["link", "file", "directory"])
def test_only_sockets_are_replaced(bind, tmp_path, what):
    path = tmp_path / "vh0"
    if what == "link":
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(tmp_path / "stale"))
        stale.close()
        path.symlink_to(tmp_path / "stale")
    elif what == "file":
        path.write_text("precious")
    else:
        path.mkdir()
    with pytest.raises(PortError, match="exists and is no socket"):
        bind()
    assert path.is_symlink() or path.is_file() or path.is_dir()
    path.rmdir() if what == "directory" else path.unlink()


def test_a_full_backlog_is_somebody_who_listens(bind, tmp_path):
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(tmp_path / "vh0"))
    other.listen(0)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    try:
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(tmp_path / "vh0"))
        with pytest.raises(PortError, match="another program listens"):
            bind()
    finally:
        for one in (other, *waiting):
            one.close()
        (tmp_path / "vh0").unlink()


@as_root
def test_who_may_not_give_it_away_is_told(bind):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        os.seteuid(65534)
        try:
            with pytest.raises(PortError, match=r"no permission to give socket .* to that owner or group"):
                bind(Access(uid=0), f"{place}/vh0")
        finally:
            os.seteuid(0)
        assert os.listdir(place) == []


def test_abstract_names(bind):
    bind(address="@vs-test-vh0")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect("\0vs-test-vh0")
    with pytest.raises(PortError, match="another program listens on @vs-test-vh0"):
        bind(address="@vs-test-vh0")


@pytest.mark.parametrize("address", ["", "@", "a\0b", "@a\0b"])
def test_impossible_addresses(address):
    with pytest.raises(PortError, match="empty or holds a NUL"):
        socket_file.check_address("vh0", address)


def test_the_longest_abstract_name(bind):
    bind(address="@" + "x" * 106)
    with pytest.raises(PortError, match="too long"):
        bind(address="@" + "x" * 107)


@as_root
def test_a_port_changes_it_while_connected(tmp_path):
    async def main(world):
        port = world.port(options={"socket_mode": "0600"})
        front = await world.front()
        assert facts(tmp_path / "vh0")[0] == 0o600
        assert port.reconfigure(PortConfig("vh0", SERVER, {"socket-mode": "0666", "socket-group": "54321"}))
        assert facts(tmp_path / "vh0") == (0o666, 0, 54321)
        check_echo(front, port)

    run(tmp_path, main)


def test_abstract_ports_in_both_modes(tmp_path):
    async def main(world):
        port = world.port(options={"vhost_socket": "@vs-test-server"})
        sock = socket.socket(socket.AF_UNIX)
        sock.connect("\0vs-test-server")
        check_echo(await world.front(sock=sock), port)
        assert port.status().info["socket"] == "@vs-test-server"
        server = socket.socket(socket.AF_UNIX)
        world.servers.append(server)
        server.bind("\0vs-test-client")
        server.listen(1)
        server.settimeout(10)
        client = world.port("vh1", "dpdkvhostuserclient", options={"vhost_server_path": "@vs-test-client"})
        sock, _ = await asyncio.to_thread(server.accept)
        check_echo(await world.front(sock=sock), client)

    run(tmp_path, main)
