"""vsappctl ofproto/trace: what happens to a packet, one that is made up or given, or real ones passing by."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd.appctl import Answer, Command, find_bridge
from vswitchd.datapath.dp import DatapathError
from vswitchd.datapath.trace import LIVE_MAX
from vswitchd.errors import ConfigError, UsageError
from vswitchd.ofproto.compile import compile_shape, dp_match
from vswitchd.ofproto.compose import compose
from vswitchd.ofproto.errors import OFError
from vswitchd.ofproto.flowmatch import MatchWords
from vswitchd.ofproto.flowvalues import FlowTextError
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.match_shape import pack
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.trace_text import TraceText, write_trace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.bridge import LiveBridge
    from vswitchd.daemon import Daemon
    from vswitchd.datapath.dp import PortHandle
    from vswitchd.ofproto.flow_table import FlowEntry

USAGE = "BRIDGE FLOW|PACKET... | --live PORT [FLOW] [-n N] [--timeout SECS]"
_POLL_SECONDS = 0.02
_SECONDS = 10.0
_MAX_SECONDS = 86400.0
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){14,65600}")
_IGNORED = {"-generate", "--generate", "-now", "--now"}  # a trace has no effects that one could ask for


class _Switch:
    """What a trace names, looked up in the running switch."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._names = {bridge.dp.index: name for name, bridge in daemon.reconciler.bridges.items()}

    def bridge_name(self, index: int) -> str:
        return self._names.get(index, "?")

    def entry(self, index: int, table: int, rule: int) -> FlowEntry | None:
        side = self._daemon.reconciler.openflow.get(self._names.get(index, ""))
        return side.entry(table, rule) if side is not None else None


def parse_match(text: str, ports: Mapping[str, int]) -> Match:
    """Read a match in Open vSwitch's flow syntax. Raises FlowTextError."""
    words = MatchWords(ports)
    for key, value in split_words(text):
        if not words.take(key, value):
            raise FlowTextError(f"unknown keyword {key}")
    return words.finish()


def _bad(error: Exception) -> UsageError:
    return UsageError(f"bad flow: {error}")


# ---- a packet that does not exist


def _frame(bridge: LiveBridge, args: list[str]) -> tuple[bytes, int]:
    """Return the frame that the words mean, and the port it comes in by (0: none)."""
    texts = [arg for arg in args if not _HEX.fullmatch(arg.replace(" ", ""))]
    packets = [arg for arg in args if arg not in texts]
    if len(texts) > 1 or len(packets) > 1:
        raise UsageError(f"a trace takes one flow, one packet in hex, or one of each: {USAGE}")
    ports = {port.name: port.ofport for port in bridge.ports.values()}
    try:
        match = parse_match(texts[0], ports) if texts else Match()
        frame = bytes.fromhex(packets[0]) if packets else compose(match)
    except ValueError as error:  # FlowTextError, too
        raise _bad(error) from None
    for name in ("metadata", "tunnel_id"):
        found = match.get(name)
        if found is not None and found.value:
            raise UsageError(f"{name}: every packet comes in with 0")
    in_port = match.get("in_port")
    return frame, in_port.value if in_port else 0


def _trace(daemon: Daemon, args: list[str]) -> Answer:
    bridge = find_bridge(daemon, args[0])
    frame, in_port = _frame(bridge, [arg for arg in args[1:] if arg not in _IGNORED])
    daemon.reconciler.openflow[bridge.name].show_staged()
    try:
        trace = bridge.dp.trace(frame, in_port)
    except DatapathError as error:
        raise ConfigError(str(error)) from None
    written = write_trace(trace, _Switch(daemon))
    return Answer(written.text, written.data)


# ---- live


@dataclass(slots=True)
class _Live:
    port: str = ""
    count: int = 1
    seconds: float = _SECONDS
    words: list[str] = field(default_factory=list)


def _number(option: str, value: str | None, most: float) -> float:
    try:
        found = float(value or "")
    except ValueError:
        found = 0.0
    if not 0 < found <= most:
        raise UsageError(f"{option} needs a number above 0, at most {most:g}")
    return found


def _live_words(args: list[str]) -> _Live:
    live = _Live()
    words = iter(args)
    for word in words:
        if word == "--live":
            live.port = next(words, "")
        elif word == "-n":
            number = _number(word, next(words, None), LIVE_MAX)
            if number != int(number):
                raise UsageError("-n needs a whole number")
            live.count = int(number)
        elif word == "--timeout":
            live.seconds = _number(word, next(words, None), _MAX_SECONDS)
        elif word.startswith("-"):
            raise UsageError(f'unknown option "{word}": {USAGE}')
        else:
            live.words.append(word)
    if not live.port:
        raise UsageError("--live needs the name of a port")
    return live


def _find_port(daemon: Daemon, name: str) -> tuple[LiveBridge, PortHandle]:
    for bridge in daemon.reconciler.bridges.values():
        for port, _, handle in bridge.live():
            if port.name == name:
                return bridge, handle
    raise ConfigError(f"no running port named {name}")


async def _trace_live(daemon: Daemon, args: list[str]) -> Answer:
    live = _live_words(args)
    bridge, handle = _find_port(daemon, live.port)
    if live.words and live.words[0] == bridge.name:
        live.words.pop(0)
    try:
        match = parse_match(",".join(live.words), {p.name: p.ofport for p in bridge.ports.values()})
        shape, packed = pack(match)
        fields = dp_match(compile_shape(shape), packed)
    except (FlowTextError, OFError) as error:
        raise _bad(error) from None
    written = await _record(daemon, handle, fields, live)
    texts = [f"Packet {number}:\n{one.text}" for number, one in enumerate(written, 1)]
    if len(written) < live.count:
        texts.append(f"{len(written)} of {live.count} packets in {live.seconds:g} seconds.")
    return Answer("\n\n".join(texts), [one.data for one in written])


async def _record(
    daemon: Daemon, handle: PortHandle, fields: tuple[tuple[str, int, int], ...], live: _Live
) -> list[TraceText]:
    """Wait for the packets, or for the time to end. Ends with its task, when the client goes away."""
    try:
        recorder = daemon.datapath.live_trace(handle, fields, live.count)
    except DatapathError as error:
        raise ConfigError(str(error)) from None
    written: list[TraceText] = []
    switch = _Switch(daemon)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + live.seconds
    try:
        while len(written) < live.count and loop.time() < deadline:
            trace = recorder.take()
            if trace is None:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                written.append(write_trace(trace, switch))
    finally:
        recorder.close()
    return written


async def _run(daemon: Daemon, args: list[str]) -> Answer:
    if "--live" in args:
        return await _trace_live(daemon, args)
    if len(args) < 2:
        raise UsageError(f"ofproto/trace needs a bridge and a flow or a packet: {USAGE}")
    return _trace(daemon, args)


COMMANDS = (Command("ofproto/trace", USAGE, 1, None, _run),)
