"""The commands of vsappctl: one table of name, arguments and function, and the RPC method that looks them up.

A function gets the running daemon and its arguments and returns an Answer: text for people in Open vSwitch's
layout, and the same as plain data for `-f json`. It raises ConfigError or UsageError with one line; vsappctl
then ends with 2.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from vswitchd.bridge import LiveBridge
    from vswitchd.daemon import Daemon

EXIT_REPLY_IS_ERROR = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says: `text` ends without a newline; `data` is what JSON can carry."""

    text: str = ""
    data: Any = None


if TYPE_CHECKING:
    Run = Callable[[Daemon, list[str]], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table; `most` None means any number of arguments."""

    name: str
    usage: str
    least: int
    most: int | None
    run: Run


class Table:
    """All commands by name."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.commands = {command.name: command for command in commands}
        self.commands["list-commands"] = Command("list-commands", "", 0, 0, self._list)

    def _list(self, _daemon: Daemon, _args: list[str]) -> Answer:
        rows = sorted(self.commands.values(), key=lambda c: c.name)
        lines = [f"  {c.name:<32}{c.usage}".rstrip() for c in rows]
        data = [{"command": c.name, "usage": c.usage} for c in rows]
        return Answer("\n".join(["The available commands are:", *lines]), data)

    async def run(self, daemon: Daemon, name: str, args: list[str]) -> Answer:
        """Run one command. Raises UsageError or ConfigError."""
        command = self.commands.get(name)
        if command is None:
            raise UsageError(f'"{name}" is not a valid command (use "list-commands" to see all)')
        usage = f"{name} {command.usage}".rstrip()
        if len(args) < command.least:
            raise UsageError(f'"{name}" command requires at least {command.least} arguments: {usage}')
        if command.most is not None and len(args) > command.most:
            raise UsageError(f'"{name}" command takes at most {command.most} arguments: {usage}')
        answer = command.run(daemon, args)
        return await answer if inspect.isawaitable(answer) else answer

    async def rpc(self, daemon: Daemon, params: dict[str, Any]) -> dict[str, Any]:
        """Answer the RPC method "appctl": {"command", "args"} -> {"text", "data"}."""
        name, args = params.get("command"), params.get("args", [])
        if (
            not isinstance(name, str)
            or not isinstance(args, list)
            or not all(isinstance(a, str) for a in args)
        ):
            raise UsageError("appctl needs a command and a list of words", EXIT_REPLY_IS_ERROR)
        try:
            answer = await self.run(daemon, name, args)
        except (UsageError, ConfigError) as error:
            error.exit_code = EXIT_REPLY_IS_ERROR
            raise
        return {"text": answer.text, "data": answer.data}


def find_bridge(daemon: Daemon, name: str) -> LiveBridge:
    """Return a running bridge. Raises ConfigError."""
    bridge = daemon.reconciler.bridges.get(name)
    if bridge is None:
        raise ConfigError("no such bridge")
    return bridge


def some_bridges(daemon: Daemon, names: list[str]) -> list[LiveBridge]:
    """Return the named bridges, or all where none is named, sorted by name."""
    if names:
        return [find_bridge(daemon, name) for name in names]
    return [bridge for _, bridge in sorted(daemon.reconciler.bridges.items())]
