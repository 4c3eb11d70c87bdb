"""Where the switch keeps its state, its sockets and its log: one place that knows every default path.

One directory can be named by VS_STATE (or `--state`): then everything lives under it. Otherwise sockets
stand in VS_RUNDIR, or /run/vswitchd for root, or ${XDG_RUNTIME_DIR:-/tmp/vswitchd-UID}/vswitchd for
everybody else. Kept free of heavy imports: every `vsctl` call pays for this module.
"""
# pathlib costs 10 ms of every vsctl call, so:
# ruff: noqa: PTH100, PTH103, PTH112, PTH116, PTH118, PTH120

from __future__ import annotations

import os
from typing import NamedTuple

from vswitchd.errors import PathError

# sun_path of struct sockaddr_un, less its terminating NUL (unix(7)).
MAX_SOCKET_PATH = 107


class Paths(NamedTuple):
    """The directories of one switch; the properties name the files in them."""

    run: str
    state: str
    log: str

    @property
    def config_db(self) -> str:
        """The configuration database (SQLite)."""
        return os.path.join(self.state, "config.db")

    @property
    def db_sock(self) -> str:
        """The control socket: vsctl, vsofctl and vsappctl talk to it."""
        return os.path.join(self.run, "db.sock")

    @property
    def pid_file(self) -> str:
        """The daemon's pid file."""
        return os.path.join(self.run, "vswitchd.pid")

    @property
    def log_file(self) -> str:
        """The daemon's log file."""
        return os.path.join(self.log, "vswitchd.log")

    def mgmt_sock(self, bridge: str) -> str:
        """Return the OpenFlow socket of a bridge, where ovs-ofctl looks for it: RUNDIR/BRIDGE.mgmt."""
        return os.path.join(self.run, f"{bridge}.mgmt")

    def vhost_sock(self, port: str) -> str:
        """Return the socket that a dpdkvhostuser port listens on: RUNDIR/PORT."""
        return os.path.join(self.run, port)


def find(state: str | None = None) -> Paths:
    """Return the paths for `state` (the --state option), else for the environment, else the defaults.

    Touches no file. Precedence: argument, VS_STATE; then VS_RUNDIR for the sockets alone.
    """
    root = state or os.environ.get("VS_STATE")
    run = os.environ.get("VS_RUNDIR")
    if root:
        root = os.path.abspath(root)
        return Paths(run=run if run and not state else root, state=root, log=root)
    if os.geteuid() == 0:
        return Paths(run=run or "/run/vswitchd", state="/var/lib/vswitchd", log="/var/log/vswitchd")
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/vswitchd-{os.geteuid()}"  # noqa: S108 - made 0700, owner checked
    mine = f"{base}/vswitchd"
    home = os.environ.get("XDG_STATE_HOME") or f"{os.environ.get('HOME') or base}/.local/state"
    return Paths(run=run or mine, state=f"{home}/vswitchd", log=f"{home}/vswitchd")


def make_directory(path: str) -> str:
    """Make a private directory (0700, with parents) if it is missing; return it.

    Raises PathError when it cannot be made, is no directory, or belongs to somebody else (a trap laid in
    /tmp).
    """
    path = os.path.abspath(path)
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_directory(parent)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        owner = os.stat(path).st_uid
    except FileExistsError:
        raise PathError(f"{path}: is not a directory; name another one with --state") from None
    except OSError as error:
        raise PathError(f"{path}: cannot make this directory ({error.strerror}); try --state") from None
    if owner not in (os.geteuid(), 0):
        raise PathError(f"{path}: belongs to another user (uid {owner}); name another directory with --state")
    return path


def check_socket_path(path: str) -> str:
    """Return `path` if a unix socket can have that name; raise PathError naming the limit otherwise."""
    size = len(os.fsencode(path))
    if not path or "\0" in path:
        raise PathError("a socket path must not be empty or hold a NUL byte")
    if size > MAX_SOCKET_PATH:
        raise PathError(
            f"{path}: socket path is too long ({size} bytes, at most {MAX_SOCKET_PATH}); use a shorter one"
        )
    return path
