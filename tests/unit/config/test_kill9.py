"""kill -9 at any moment of a series of transactions loses no acknowledged one and leaves no half one."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from vswitchd import paths
from vswitchd.config.store import Store
from vswitchd.errors import RpcError
from vswitchd.rpc_client import RpcClient

ROUNDS = 6
_DAEMON = Path(__file__).with_name("mini_daemon.py")
_ROOT = Path(__file__).parents[3]


def start(state) -> subprocess.Popen:
    command = [sys.executable, str(_DAEMON), str(state)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(_ROOT)}
    )
    assert process.stdout.readline() == "READY\n"
    process.stdout.close()
    return process


def add_bridges(where, first: int, acknowledged: list[int], some: threading.Event) -> None:
    """Add bridges, each with two ports in one transaction, until the daemon is gone."""
    client = RpcClient(where.db_sock, timeout=30)
    try:
        for number in range(first, first + 100_000):
            commands = [["add-br", [f"b{number}"], {}]]
            commands += [["add-port", [f"b{number}", f"p{number}{side}"], {}] for side in "ab"]
            client.call("vsctl", {"commands": commands})
            acknowledged.append(number)
            if len(acknowledged) >= 5:
                some.set()
    except RpcError:
        some.set()
    finally:
        client.close()


def test_kill_in_the_middle_loses_nothing_acknowledged(tmp_path):
    where = paths.find(str(tmp_path))
    acknowledged: list[int] = []
    chance = random.Random(5)
    for round_number in range(ROUNDS):
        process = start(tmp_path)
        before = len(acknowledged)
        some = threading.Event()
        thread = threading.Thread(
            target=add_bridges, args=(where, round_number * 100_000, acknowledged, some)
        )
        thread.start()
        assert some.wait(30)
        # Somewhere inside a transaction: how far it got is up to chance, that it holds is not.
        some.clear()
        some.wait(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        thread.join(30)
        assert not thread.is_alive()
        assert len(acknowledged) >= before
    store = Store.open(where.config_db)
    snapshot = store.snapshot()
    found = {row.name for row in snapshot.rows("Bridge")}
    assert {f"b{number}" for number in acknowledged} <= found
    # At most one transaction a round was done but not acknowledged.
    assert len(found) <= len(acknowledged) + ROUNDS
    for bridge in snapshot.rows("Bridge"):
        number = bridge.name[1:]
        ports = {port.name for port in snapshot.refs(bridge, "ports")}
        assert ports == {bridge.name, f"p{number}a", f"p{number}b"}
        assert all(len(snapshot.refs(port, "interfaces")) == 1 for port in snapshot.refs(bridge, "ports"))
    assert len(list(snapshot.rows("Interface"))) == 3 * len(found)
    assert snapshot.next_cfg == len(found)
    store.close()
