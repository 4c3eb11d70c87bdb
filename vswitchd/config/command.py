"""The grammar of vsctl's command line: the verbs, their arguments and options, and `--` between them.

Shared by the program, which parses, and the daemon, which checks what it was sent. Kept free of heavy
imports.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vswitchd.errors import UsageError


class Verb(NamedTuple):
    """A verb with `low` to `high` (None: any number of) arguments; options ending in "=" take a value."""

    low: int
    high: int | None
    options: tuple[str, ...] = ()
    reads: bool = False


class Command(NamedTuple):
    """One command of a command line; an option without a value maps to None."""

    name: str
    args: tuple[str, ...] = ()
    options: dict[str, str | None] = {}  # noqa: RUF012 - never written to


_MAY = ("--may-exist",)
_IF = ("--if-exists",)

VERBS: dict[str, Verb] = {
    "init": Verb(0, 0),
    "show": Verb(0, 0, reads=True),
    "emer-reset": Verb(0, 0),
    "comment": Verb(0, None),
    "add-br": Verb(1, 3, _MAY),
    "del-br": Verb(1, 1, _IF),
    "list-br": Verb(0, 0, ("--real", "--fake"), reads=True),
    "br-exists": Verb(1, 1, reads=True),
    "br-to-vlan": Verb(1, 1, reads=True),
    "br-to-parent": Verb(1, 1, reads=True),
    "br-set-external-id": Verb(2, 3),
    "br-get-external-id": Verb(1, 2, reads=True),
    "list-ports": Verb(1, 1, reads=True),
    "add-port": Verb(2, None, _MAY),
    "add-bond": Verb(4, None, ("--may-exist", "--fake-iface")),
    "add-bond-iface": Verb(2, 2, _MAY),
    "del-bond-iface": Verb(1, 2, _IF),
    "del-port": Verb(1, 2, ("--if-exists", "--with-iface")),
    "port-to-br": Verb(1, 1, reads=True),
    "list-ifaces": Verb(1, 1, reads=True),
    "iface-to-br": Verb(1, 1, reads=True),
    "get-controller": Verb(1, 1, reads=True),
    "del-controller": Verb(1, 1),
    "set-controller": Verb(1, None, ("--inactivity-probe=",)),
    "get-fail-mode": Verb(1, 1, reads=True),
    "del-fail-mode": Verb(1, 1),
    "set-fail-mode": Verb(2, 2),
    "get-manager": Verb(0, 0, reads=True),
    "del-manager": Verb(0, 0),
    "set-manager": Verb(1, None, ("--inactivity-probe=",)),
    "get-ssl": Verb(0, 0, reads=True),
    "del-ssl": Verb(0, 0),
    "set-ssl": Verb(3, 3, ("--bootstrap",)),
    "list": Verb(1, None, ("--if-exists", "--columns="), reads=True),
    "find": Verb(1, None, ("--columns=",), reads=True),
    "get": Verb(2, None, ("--if-exists", "--id="), reads=True),
    "set": Verb(3, None, _IF),
    "add": Verb(4, None, _IF),
    "remove": Verb(4, None, _IF),
    "clear": Verb(3, None, _IF),
    "create": Verb(2, None, ("--id=",)),
    "destroy": Verb(1, None, ("--if-exists", "--all")),
    "wait-until": Verb(2, None, reads=True),
}


def parse_commands(words: list[str], first_options: dict[str, str | None] | None = None) -> list[Command]:
    """Return the commands of a command line, split at `--`; raise UsageError for what is no command.

    `first_options` are those that stood before the first command among the program's own.
    """
    commands: list[Command] = []
    pending = dict(first_options or {})
    start = 0
    for at in range(len(words) + 1):
        if at < len(words) and words[at] != "--":
            continue
        if at > start:
            commands.append(_parse(words[start:at], pending))
            pending = {}
        elif pending:
            raise UsageError("missing command name (use --help for help)")
        start = at + 1
    if not commands:
        raise UsageError("missing command name (use --help for help)")
    return commands


def _parse(words: list[str], options: dict[str, str | None]) -> Command:
    at = 0
    while at < len(words) and words[at].startswith("-"):
        name, equals, value = words[at].partition("=")
        if name in options:
            raise UsageError(f"'{name}' option specified multiple times")
        options[name] = value if equals else None
        at += 1
    if at == len(words):
        raise UsageError("missing command name (use --help for help)")
    return check(Command(words[at], tuple(words[at + 1 :]), options))


def check(command: Command) -> Command:
    """Return the command if its verb exists and takes these options and arguments; raise UsageError."""
    name = command.name
    verb = VERBS.get(name)
    if verb is None:
        raise UsageError(f"unknown command '{name}'; use --help for help")
    for option, value in command.options.items():
        if option + "=" in verb.options:
            if value is None:
                raise UsageError(f"missing argument to '{option}' option on '{name}' command")
        elif option not in verb.options:
            raise UsageError(f"'{name}' command has no '{option}' option")
        elif value is not None:
            raise UsageError(f"'{option}' option on '{name}' does not accept an argument")
    if len(command.args) < verb.low:
        raise UsageError(f"'{name}' command requires at least {verb.low} arguments")
    if verb.high is not None and len(command.args) > verb.high:
        hint = ""
        if any(arg.startswith("-") for arg in command.args[verb.high :]):
            hint = ' (note that options must precede command names and follow a "--" argument)'
        raise UsageError(f"'{name}' command takes at most {verb.high} arguments{hint}")
    return command


def from_wire(value: Any) -> list[Command]:
    """Return the commands that a client sent as [[name, [arg...], {option: value}]...]; raise UsageError."""
    commands = []
    for item in value if isinstance(value, list) else [None]:
        if not (isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)):
            raise UsageError("the commands sent to vswitchd make no sense; is vsctl of another version?")
        name, args, options = item
        good_args = isinstance(args, list) and all(isinstance(arg, str) for arg in args)
        if not good_args or not isinstance(options, dict):
            raise UsageError("the commands sent to vswitchd make no sense; is vsctl of another version?")
        if not all(isinstance(v, str | None) for v in options.values()):
            raise UsageError("the commands sent to vswitchd make no sense; is vsctl of another version?")
        commands.append(check(Command(name, tuple(args), options)))
    return commands
