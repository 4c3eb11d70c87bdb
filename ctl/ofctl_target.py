"""Which switch a target means, and the socket to it: a bridge's name, a socket's path, unix:, tcp:, ssl:."""
# pathlib costs start-up time:
# ruff: noqa: PTH100, PTH118, PTH120

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from vswitchd import paths
from vswitchd.errors import UsageError, VsError

if TYPE_CHECKING:
    from ctl.ofctl_options import Options

_CONNECT_SECONDS = 10.0


def connect(target: str, options: Options) -> socket.socket:
    """Return a connected socket; raise UsageError for a bad target, VsError when nobody answers there."""
    if ":" not in target:
        return _unix(_bridge_socket(target, options), target)
    from vswitchd.ofproto.target import TargetError, parse_target  # noqa: PLC0415

    if target.partition(":")[0] not in ("unix", "tcp", "ssl"):
        raise UsageError(
            f"{target}: unknown connection method; use unix:PATH, tcp:HOST[:PORT] or ssl:HOST[:PORT]"
        )
    try:
        parsed = parse_target(target)
    except TargetError as error:
        raise UsageError(str(error)) from None
    if parsed.unix:
        return _unix(parsed.host, target)
    try:
        sock = socket.create_connection((parsed.host, parsed.port), timeout=_CONNECT_SECONDS)
    except OSError as error:
        raise _failed(target, error) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _tls(sock, target, options) if parsed.tls else sock


def run_directory(options: Options) -> str:
    """Return where the bridges' sockets are: beside --db's socket, else where the daemon has them."""
    if options.db:
        kind, _, path = options.db.partition(":")
        if kind != "unix" or not path:
            raise UsageError(f"--db={options.db}: use --db=unix:PATH of the daemon's control socket")
        return os.path.dirname(os.path.abspath(path))
    return paths.find(options.state).run


def _bridge_socket(name: str, options: Options) -> str:
    """Return the socket that a name without a colon means: a bridge's, else a file's."""
    bridge = os.path.join(run_directory(options), f"{name}.mgmt")
    for path in (bridge, name):
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
                return path
        except (OSError, ValueError):
            continue
    raise UsageError(f"{name} is not a bridge or a socket")


def _unix(path: str, target: str) -> socket.socket:
    paths.check_socket_path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(_CONNECT_SECONDS)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise _failed(target if ":" in target else f"unix:{path}", error) from None
    return sock


def _tls(sock: socket.socket, target: str, options: Options) -> socket.socket:
    from vswitchd.ofproto.tls import SslConfig, TlsError, tls_context  # noqa: PLC0415

    names = ("--private-key", "--certificate", "--ca-cert")
    files = (options.private_key, options.certificate, options.ca_cert)
    for option, value in zip(names, files, strict=True):
        if not value:
            sock.close()
            raise UsageError(f"{option} must be specified to use SSL")
    try:
        return tls_context(SslConfig(*files), server=False).wrap_socket(sock)
    except TlsError as error:
        sock.close()
        raise UsageError(str(error)) from None
    except OSError as error:
        sock.close()
        raise _failed(target, error) from None


def _failed(target: str, error: OSError) -> VsError:
    reason = "Connection timed out" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return VsError(f"connecting to {target} ({reason})")
