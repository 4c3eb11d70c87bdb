"""The metrics page: the smallest HTTP/1.1 server that Prometheus, curl and a load balancer's probe need.

GET and HEAD of /metrics, /-/healthy and /-/ready; one request per connection. A request that is too long, too
slow or malformed is answered (or just closed) on its own connection. Rendering happens on the control thread
from counters that the cores write anyway: no core waits for a scrape.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder

from vswitchd import metrics_text
from vswitchd.errors import ConfigError, PathError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

DEFAULT_ADDRESS = "127.0.0.1:9476"
MAX_REQUEST = 8192
TIMEOUT = 5.0
MAX_CONNECTIONS = 32
PLAIN = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address | None:
    """Return where to listen: "HOST:PORT", "[IPV6]:PORT", ":PORT" (all addresses); None for "none".

    Raises ConfigError.
    """
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f'metrics address "{text}" is not HOST:PORT (as in 127.0.0.1:9476) or none')
    return Address(host or "0.0.0.0", int(port))  # noqa: S104 - what ":PORT" asks for


class MetricsServer:
    """Serves one registry. `ready()` is asked for /-/ready."""

    def __init__(self, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.address: Address | None = None

    async def start(self, address: Address) -> None:
        """Listen. Raises PathError with one line when the address cannot be had."""
        try:
            self._server = await asyncio.start_server(
                self._accepted, address.host, address.port, limit=MAX_REQUEST
            )
        except (OSError, OverflowError, UnicodeError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise PathError(
                f"metrics: cannot listen on {address} ({reason}); choose another with --metrics=HOST:PORT"
            ) from None
        port = self._server.sockets[0].getsockname()[1]
        self.address = Address(address.host, port)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self.address = None

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._tasks) >= MAX_CONNECTIONS:
                return
            self._tasks.add(task)
            async with asyncio.timeout(TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("a metrics connection ended: %s", error)
        except asyncio.CancelledError:
            _log.debug("a metrics connection ends with the server")
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    def _answer(self, head: bytes) -> bytes:
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(400, PLAIN, b"bad request\n")
        method, target, _ = words
        if method not in {"GET", "HEAD"}:
            return _response(405, PLAIN, b"only GET and HEAD\n")
        headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        status, kind, body = self._page(target.partition("?")[0], headers.get("accept", ""))
        return _response(status, kind, body, head_only=method == "HEAD")

    def _page(self, path: str, accept: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            _, kind = choose_encoder(accept)
            openmetrics = kind.startswith("application/openmetrics-text")
            try:
                return 200, kind, metrics_text.render(self._registry, openmetrics=openmetrics)
            except Exception:  # noqa: BLE001 - a scrape must not end the daemon
                _log.exception("the metrics page could not be made")
                return 500, PLAIN, b"internal error; the vswitchd log has the details\n"
        if path == "/-/healthy":
            return 200, PLAIN, b"healthy\n"
        if path == "/-/ready":
            return (200, PLAIN, b"ready\n") if self._ready() else (503, PLAIN, b"starting\n")
        if path == "/":
            return 200, PLAIN, b"vswitchd: /metrics /-/healthy /-/ready\n"
        return 404, PLAIN, b"not found: try /metrics\n"


_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def _response(status: int, kind: str, body: bytes, *, head_only: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if head_only else head + body
