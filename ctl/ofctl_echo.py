"""probe, ping, benchmark: echo requests."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ctl.ofctl_session import open_switch
from vswitchd.errors import UsageError, VsError
from vswitchd.ofproto.messages import EchoReply, EchoRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctl.ofctl_client import Client
    from ctl.ofctl_options import Options

_PINGS = 10
_MOST = 65527  # what a message of 65535 bytes leaves
Result = tuple[dict[str, Any], "Callable[[], list[str]]"]


def _echo(client: Client, data: bytes) -> tuple[int, float]:
    """Return the xid and the milliseconds of one echo; raise VsError if other data comes back."""
    began = time.perf_counter()
    xid, reply = client.request(EchoRequest(data), EchoReply)
    took = (time.perf_counter() - began) * 1000
    if reply.data != data:
        raise VsError(f"{client.name}: the reply does not hold the data of the request")
    return xid, took


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:9]) > _MOST:
        raise UsageError(f"payload must be between 0 and {_MOST} bytes")
    return int(text)


def probe(target: str, _words: list[str], options: Options) -> None:
    """Succeed if the switch answers."""
    with open_switch(target, options) as client:
        _echo(client, b"")


def ping(target: str, words: list[str], options: Options) -> Result:
    """Send ten echos and print each."""
    size = _size(words[0]) if words else 64
    times = []
    with open_switch(target, options) as client:
        for _ in range(_PINGS):
            xid, took = _echo(client, os.urandom(size))
            times.append(took)
            if not options.json:
                sys.stdout.write(f"{size} bytes from {target}: xid={xid:08x} time={took:.1f} ms\n")
                sys.stdout.flush()
    return {"bytes": size, "milliseconds": times}, list


def ping_facts(read: dict[str, Any]) -> dict[str, Any]:
    """Return the times."""
    return read


def benchmark(target: str, words: list[str], options: Options) -> Result:
    """Send COUNT echos, one after the other."""
    size = _size(words[0])
    if not (words[1].isascii() and words[1].isdigit()) or not 0 < int(words[1][:10]) < 1 << 31:
        raise UsageError(f'"{words[1]}" is not a number of messages (1 or more)')
    count = int(words[1])
    whole = size + 8
    data = os.urandom(size)
    with open_switch(target, options) as client:
        began = time.perf_counter()
        for _ in range(count):
            _echo(client, data)
        took = time.perf_counter() - began
    facts = {"packets": count, "bytes": count * whole, "milliseconds": took * 1000}
    rates = f"({count / took:.0f} packets/s) ({count * whole / took:.0f} bytes/s)"
    return facts, lambda: [
        f"Sending {count} packets * {whole} bytes (with header) = {count * whole} bytes total\n",
        f"Finished in {took * 1000:.1f} ms {rates}\n",
    ]


benchmark_facts = ping_facts
