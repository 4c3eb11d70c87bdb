"""News for systemd (sd_notify(3)): whoever does not read them does not stop the daemon."""

import socket

from vswitchd import daemon


def test_a_reader_that_sleeps_is_not_waited_for(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "notify"))
        reader.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon.notify("READY=1")
        for _ in range(2000):  # more than any queue of datagrams holds (net.unix.max_dgram_qlen)
            daemon.notify("WATCHDOG=1")
        assert reader.recv(100) == b"READY=1"
