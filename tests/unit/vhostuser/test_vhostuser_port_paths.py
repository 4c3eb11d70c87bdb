"""The paths of the port types' sockets: which are refused, replaced or left alone."""

import os
import socket
import tempfile
from pathlib import Path

import pytest
from vhostuser_world import check_echo, run

from vswitchd.ports.base import PortError
from vswitchd.ports.vhostuser import CLIENT


def refusal(tmp_path, **how):
    async def main(world):
        with pytest.raises(PortError) as caught:
            world.port(**how)
        main.text = str(caught.value)

    run(tmp_path, main)
    return main.text


def test_paths_are_checked(tmp_path):
    assert "is too long" in refusal(tmp_path, name="n" * 108)
    assert "at most 107" in refusal(tmp_path, type_=CLIENT, options={"vhost_server_path": "/" + "x" * 107})
    assert "needs options:vhost-server-path" in refusal(tmp_path, type_=CLIENT)
    assert "holds no '/'" in refusal(tmp_path, name="../x")
    (tmp_path / "vh0").write_text("precious")
    assert "exists and is no socket" in refusal(tmp_path)
    assert (tmp_path / "vh0").read_text() == "precious"


def test_missing_directory(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_no_permission():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place)
        path.chmod(0o555)
        if user == 0:  # who may write everywhere: be somebody else for a while
            os.seteuid(65534)
        try:
            assert "no permission" in refusal(path)
        finally:
            os.seteuid(user)


def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "vh0"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    assert "does not listen" not in refusal(tmp_path, name="x" * 200)
    stale.close()

    async def main(world):
        port = world.port()
        check_echo(await world.front(), port)
        with pytest.raises(PortError, match="another program listens"):
            world.port()

    run(tmp_path, main)


def test_a_socket_file_that_somebody_replaced_is_left_alone(tmp_path):
    path = tmp_path / "vh0"

    async def main(world):
        world.port()
        path.rename(tmp_path / "moved")
        path.write_text("mine")

    run(tmp_path, main)
    assert path.read_text() == "mine"
