"""The client side of the control socket: msgpack-RPC, one call at a time, blocking.

Every command-line program pays for this module, so it imports no asyncio. The wire (msgpack-RPC
specification): request [0, id, method, [params]], answer [1, id, error, result]; params is one map, error
is nil or {"error": text, "exit": exit code}.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]

from vswitchd.errors import EXIT_ERROR, RpcError
from vswitchd.paths import check_socket_path

# Largest message in either direction; a snapshot of a thousand ports with all statistics is about 3 MB.
MAX_MESSAGE = 16 << 20
REQUEST = 0
ANSWER = 1


class RpcClient:
    """A connection to the daemon. Raises RpcError when it cannot be made (`errno` says why) or breaks.

    `timeout` (seconds, None: for ever) bounds each send and receive.
    """

    def __init__(self, path: str, timeout: float | None = None) -> None:
        self.path = check_socket_path(path)
        self._next_id = 0
        self._unpacker = msgpack.Unpacker(max_buffer_size=MAX_MESSAGE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise RpcError(f"unix:{path}: connection failed ({reason})", errno=error.errno) from None

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """Call a method, return its result; raise RpcError with the daemon's text and exit code."""
        self._next_id += 1
        message = msgpack.packb([REQUEST, self._next_id, method, [params or {}]])
        if len(message) > MAX_MESSAGE:
            raise RpcError(f"the request is too big ({len(message)} bytes, at most {MAX_MESSAGE})")
        try:
            self._socket.sendall(message)
            answer = self._receive()
        except TimeoutError:
            raise RpcError(f"unix:{self.path}: no answer in time; is vswitchd stuck?") from None
        except OSError as error:
            raise RpcError(
                f"unix:{self.path}: connection lost ({error.strerror})", errno=error.errno
            ) from None
        error_value, result = self._check(answer)
        if error_value is not None:
            raise RpcError(
                str(error_value.get("error", "unknown error")), int(error_value.get("exit", EXIT_ERROR))
            )
        return result

    def _receive(self) -> Any:
        while True:
            try:
                return next(self._unpacker)
            except StopIteration:
                pass
            except (ValueError, msgpack.UnpackException):
                raise RpcError(
                    f"unix:{self.path}: the answer makes no sense; is this vswitchd's socket?"
                ) from None
            data = self._socket.recv(1 << 16)
            if not data:
                raise RpcError(f"unix:{self.path}: vswitchd closed the connection")
            try:
                self._unpacker.feed(data)
            except msgpack.BufferFull:
                raise RpcError(f"unix:{self.path}: the answer is too big") from None

    def _check(self, answer: Any) -> tuple[dict[str, Any] | None, Any]:
        if (
            not isinstance(answer, list)
            or len(answer) != 4
            or answer[:2] != [ANSWER, self._next_id]
            or not (answer[2] is None or isinstance(answer[2], dict))
        ):
            raise RpcError(f"unix:{self.path}: the answer makes no sense; is this vswitchd's socket?")
        return answer[2], answer[3]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
