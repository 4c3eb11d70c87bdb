"""The control socket: an asyncio msgpack-RPC server on a unix socket (wire: see rpc_client.py).

A connection's requests are handled one after the other, connections beside each other. Bytes that are no
request close their connection only; so do too many requests at once. When a client goes away, its running
handler is cancelled.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgpack  # type: ignore[import-untyped]

from vswitchd.errors import EXIT_ERROR, PathError, VsError
from vswitchd.paths import check_socket_path, make_directory
from vswitchd.rpc_client import ANSWER, MAX_MESSAGE, REQUEST

Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]

# More than a script that starts a hundred vsctl at once needs.
MAX_CONNECTIONS = 256
MAX_IN_FLIGHT = 16

_log = logging.getLogger(__name__)


class RpcServer:
    """The server. register() methods, start() it, close() it. All in the event loop's thread."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path = ""
        self._inode = 0

    def register(self, method: str, handler: Handler) -> None:
        """Answer `method` with `await handler(params)`: a msgpack-able result; it may raise VsError."""
        if method in self._handlers:
            raise ValueError(f"method {method} is registered twice")
        self._handlers[method] = handler

    async def start(self, path: str) -> None:
        """Listen on `path` (mode 0600); raise PathError if that cannot be. A dead socket file is replaced."""
        sock = listen_unix(path)
        self._path = path
        self._inode = _inode(path)
        self._server = await asyncio.start_unix_server(self._accepted, sock=sock)

    async def close(self) -> None:
        """Stop listening, end all connections, remove the socket file if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._workers, return_exceptions=True)
        await self._server.wait_closed()
        # One turn of the loop, in which the aborted transports close their sockets.
        await asyncio.sleep(0)
        self._server = None
        remove_socket(self._path, self._inode)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= MAX_CONNECTIONS:
            _log.warning("refused a control connection: %d are open already", MAX_CONNECTIONS)
            writer.close()
            return
        self._tasks.add(task)
        requests: asyncio.Queue[list[Any]] = asyncio.Queue(MAX_IN_FLIGHT)
        worker = asyncio.create_task(self._work(requests, writer))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)
        try:
            await _read_requests(reader, requests)
        except asyncio.CancelledError:
            _log.debug("a control connection ends with the server")
        except (OSError, ValueError, msgpack.UnpackException, asyncio.QueueFull) as error:
            _log.warning("closed a control connection: %s", str(error) or type(error).__name__)
        finally:
            # No await here: close() may cancel this task at any one, and the socket would stay open.
            # Not close(), which would keep the socket until a peer that reads nothing has read the rest.
            writer.transport.abort()
            worker.cancel()
            self._tasks.discard(task)

    async def _work(self, requests: asyncio.Queue[list[Any]], writer: asyncio.StreamWriter) -> None:
        while True:
            _, number, method, params = await requests.get()
            error, result = await self._answer(method, params[0])
            writer.write(_pack(number, error, result))
            try:
                await writer.drain()
            except OSError:
                return  # the reading side of this connection notices, too, and ends it

    async def _answer(self, method: str, params: dict[str, Any]) -> tuple[dict[str, Any] | None, Any]:
        handler = self._handlers.get(method)
        if handler is None:
            text = f'unknown method "{method}"; is this program newer than vswitchd?'
            return {"error": text, "exit": EXIT_ERROR}, None
        try:
            return None, await handler(params)
        except VsError as refused:
            return {"error": str(refused), "exit": refused.exit_code}, None
        except Exception:  # noqa: BLE001 - logged whole
            _log.exception("method %s failed", method)
            return {
                "error": f"internal error in {method}; the vswitchd log has the details",
                "exit": EXIT_ERROR,
            }, None


async def _read_requests(reader: asyncio.StreamReader, requests: asyncio.Queue[list[Any]]) -> None:
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE)
    while data := await reader.read(1 << 16):
        unpacker.feed(data)
        for message in unpacker:
            if not _is_request(message):
                raise ValueError("not a msgpack-RPC request")
            requests.put_nowait(message)


def _is_request(message: Any) -> bool:
    return (
        isinstance(message, list)
        and len(message) == 4
        and type(message[0]) is int
        and message[0] == REQUEST
        and type(message[1]) is int
        and isinstance(message[2], str)
        and isinstance(message[3], list)
        and len(message[3]) == 1
        and isinstance(message[3][0], dict)
        and all(isinstance(key, str) for key in message[3][0])
    )


def _pack(number: int, error: dict[str, Any] | None, result: Any) -> bytes:
    try:
        data: bytes = msgpack.packb([ANSWER, number, error, result])
    except (TypeError, ValueError, OverflowError):
        _log.exception("a handler returned what msgpack cannot carry")
        error = {"error": "internal error; the vswitchd log has the details", "exit": EXIT_ERROR}
        data = msgpack.packb([ANSWER, number, error, None])
    if len(data) > MAX_MESSAGE:
        error = {
            "error": "the answer is too big; ask for less (--columns, fewer records)",
            "exit": EXIT_ERROR,
        }
        data = msgpack.packb([ANSWER, number, error, None])
    return data


def _inode(path: str) -> int:
    return Path(path).stat().st_ino


def remove_socket(path: str, inode: int) -> None:
    """Remove a socket file if it is still the one with this inode number (nobody took the path over)."""
    try:
        if _inode(path) == inode:
            Path(path).unlink()
    except OSError:
        _log.debug("socket file %s is already gone", path)


def listen_unix(path: str, mode: int = 0o600, backlog: int = 128) -> socket.socket:
    """Return a listening stream socket at `path`; replace a file that nobody listens on. Raises PathError.

    Also for other sockets of the daemon (NAME.mgmt). Not for use beside threads that create files: it sets
    the umask.
    """
    check_socket_path(path)
    make_directory(os.path.dirname(path) or ".")  # noqa: PTH120 - "" must become "."
    _remove_dead_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    mask = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise PathError(f"{path}: cannot listen on this socket ({error.strerror})") from None
    finally:
        os.umask(mask)
    return sock


def _remove_dead_socket(path: str) -> None:
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PathError(f"{path}: cannot use this socket path ({error.strerror})") from None
    if not stat.S_ISSOCK(status.st_mode):
        raise PathError(f"{path}: exists and is not a socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        code = probe.connect_ex(path)
    if code == errno.ECONNREFUSED:
        try:
            Path(path).unlink()
        except OSError as error:
            raise PathError(f"{path}: cannot remove this dead socket ({error.strerror})") from None
    elif code in (0, errno.EAGAIN, errno.ETIMEDOUT):
        raise PathError(f"{path}: is in use by another process (is a vswitchd running already?)")
    else:
        raise PathError(f"{path}: cannot use this socket path ({os.strerror(code)})")
