"""Where things live: --state, the environment, the defaults; directories and paths that cannot be used."""

import os

import pytest

from vswitchd import paths
from vswitchd.errors import PathError


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("VS_STATE", "VS_RUNDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_precedence(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert paths.find() == ("/run/vswitchd", "/var/lib/vswitchd", "/var/log/vswitchd")
    monkeypatch.setenv("VS_RUNDIR", "/r")
    assert paths.find().db_sock == "/r/db.sock"
    assert paths.find().config_db == "/var/lib/vswitchd/config.db"
    monkeypatch.setenv("VS_STATE", "/s")
    assert paths.find() == ("/r", "/s", "/s")
    assert paths.find("/o") == ("/o", "/o", "/o")
    monkeypatch.delenv("VS_RUNDIR")
    assert paths.find() == ("/s", "/s", "/s")
    assert paths.find().mgmt_sock("br0") == "/s/br0.mgmt"
    assert paths.find().vhost_sock("vhu0") == "/s/vhu0"


def test_without_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.find().run == "/tmp/vswitchd-1234/vswitchd"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1234")
    assert paths.find().run == "/run/user/1234/vswitchd"
    assert paths.find().state == "/home/me/.local/state/vswitchd"


def test_directories_are_made_private(tmp_path):
    made = paths.make_directory(str(tmp_path / "a" / "b"))
    assert [os.stat(p).st_mode & 0o777 for p in (made, str(tmp_path / "a"))] == [0o700, 0o700]
    assert paths.make_directory(made) == made


def test_directories_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "x", "/proc/nothing/here"):
        with pytest.raises(PathError, match="--state"):
            paths.make_directory(str(bad))
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    mine = tmp_path / "theirs"
    mine.mkdir()
    if os.stat(mine).st_uid != 0:
        with pytest.raises(PathError, match="belongs to another user"):
            paths.make_directory(str(mine))


@pytest.mark.parametrize("path", ["", "a\0b", "/" + "x" * 107, "/" + "ü" * 60])
def test_bad_socket_paths(path):
    with pytest.raises(PathError):
        paths.check_socket_path(path)


def test_the_longest_socket_path():
    assert paths.check_socket_path("/" + "x" * 106)
