"""vsctl's own options, read as getopt_long reads them: before the first command; long ones may be short."""

from __future__ import annotations

from typing import NamedTuple

from ctl.style import Style, make_style
from vswitchd.config.command import VERBS, Command, parse_commands
from vswitchd.errors import UsageError

# Option -> whether it takes a value: "" no, "=" yes, "?" only behind an equals sign.
_OWN = {
    "--db": "=",
    "--state": "=",
    "--no-syslog": "",
    "--no-wait": "",
    "--dry-run": "",
    "--oneline": "",
    "--timeout": "=",
    "--retry": "",
    "--help": "",
    "--version": "",
    "--commands": "",
    "--options": "",
    "--verbose": "?",
    "--log-file": "?",
    "--syslog-method": "=",
    "--syslog-target": "=",
    "--format": "=",
    "--data": "=",
    "--no-headings": "",
    "--pretty": "",
    "--bare": "",
    "--max-column-width": "=",
    "--leader-only": "",
    "--no-leader-only": "",
    "--shuffle-remotes": "",
    "--no-shuffle-remotes": "",
}
_SHORT = {
    "-t": "--timeout",
    "-f": "--format",
    "-d": "--data",
    "-h": "--help",
    "-V": "--version",
    "-v": "--verbose",
}
_VERB_OPTIONS = {
    option.rstrip("="): "=" if option.endswith("=") else ""
    for verb in VERBS.values()
    for option in verb.options
}
_ALL = {**_VERB_OPTIONS, **_OWN}
OWN_OPTIONS = tuple(_OWN)


class Options(NamedTuple):
    """A command line, read."""

    commands: list[Command] = []  # noqa: RUF012 - never written to
    db: str = ""
    state: str | None = None
    wait: bool = True
    dry_run: bool = False
    oneline: bool = False
    timeout: int = 0
    retry: bool = False
    style: Style = Style()
    info: str = ""


def parse(argv: list[str]) -> Options:
    """Return what a command line means; `info` is "--help" or the like if asked for. Raises UsageError."""
    own, of_verb, rest = _split(argv)
    for asked in ("--help", "--version", "--commands", "--options"):
        if asked in own:
            return Options(info=asked)
    rest = _trailing_format(rest, own)
    bare = "--bare" in own
    style = make_style(
        own.get("--format") or "list",
        own.get("--data") or ("bare" if bare else ""),
        headings=not bare and "--no-headings" not in own,
        pretty="--pretty" in own,
    )
    return Options(
        commands=parse_commands(rest, of_verb),
        db=own.get("--db") or "",
        state=own.get("--state"),
        wait="--no-wait" not in own,
        dry_run="--dry-run" in own,
        oneline="--oneline" in own,
        timeout=_timeout(own.get("--timeout")),
        retry="--retry" in own,
        style=style,
    )


def _split(argv: list[str]) -> tuple[dict[str, str | None], dict[str, str | None], list[str]]:
    """Return the program's options, those of the first command, and the words from the first command on."""
    own: dict[str, str | None] = {}
    of_verb: dict[str, str | None] = {}
    at = 0
    while at < len(argv) and argv[at].startswith("-") and argv[at] not in ("-", "--"):
        name, value, at = _option(argv, at)
        target = own if name in _OWN else of_verb
        if target is of_verb and name in of_verb:
            raise UsageError(f"'{name}' option specified multiple times")
        target[name] = value
    return own, of_verb, argv[at:]


def _option(argv: list[str], at: int) -> tuple[str, str | None, int]:
    """Return the name and value of the option at argv[at], and the index behind it."""
    word = argv[at]
    if not word.startswith("--"):
        name = _SHORT.get(word[:2], "")
        if not name:
            raise UsageError(f"invalid option -- '{word[1]}'")
        value: str | None = word[2:] or None
        shown = f"option requires an argument -- '{word[1]}'"
    else:
        text, equals, rest = word.partition("=")
        name = _full_name(text)
        value = rest if equals else None
        shown = f"option '{name}' requires an argument"
    needs = _ALL[name]
    if needs == "" and value is not None:
        raise UsageError(f"option '{name}' doesn't allow an argument")
    if needs == "=" and value is None:
        if at + 1 >= len(argv):
            raise UsageError(shown)
        return name, argv[at + 1], at + 2
    return name, value, at + 1


def _full_name(text: str) -> str:
    if text in _ALL:
        return text
    found = [name for name in _ALL if name.startswith(text)]
    if len(found) > 1:
        raise UsageError(
            f"option '{text}' is ambiguous; possibilities: " + " ".join(f"'{name}'" for name in found)
        )
    if not found:
        raise UsageError(f"unrecognized option '{text}'")
    return found[0]


def _trailing_format(rest: list[str], own: dict[str, str | None]) -> list[str]:
    """Take `-f FORMAT` off the end of a command that reads: people type `vsctl show -f json`."""
    last = len(rest) - rest[::-1].index("--") if "--" in rest else 0
    verb = next((VERBS[word] for word in rest[last:] if word in VERBS), None)
    if verb is None or not verb.reads:
        return rest
    if len(rest) >= 2 and rest[-2] in ("-f", "--format"):
        own["--format"] = rest[-1]
        return rest[:-2]
    if rest[-1].startswith("--format="):
        own["--format"] = rest[-1].partition("=")[2]
        return rest[:-1]
    return rest


def _timeout(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) < 1 << 31):
        raise UsageError(f"value {text} on -t or --timeout is invalid")
    return int(text)
