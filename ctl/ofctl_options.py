"""vsofctl's options, read as getopt_long reads them: anywhere among the arguments, long ones may be short."""

from __future__ import annotations

from typing import Any, NamedTuple

from vswitchd.errors import UsageError

# Option -> whether it takes a value: "" no, "=" yes, "?" only behind an equals sign.
OWN = {
    "--protocols": "=",
    "--strict": "",
    "--bundle": "",
    "--read-only": "",
    "--names": "",
    "--no-names": "",
    "--stats": "",
    "--no-stats": "",
    "--sort": "?",
    "--rsort": "?",
    "--more": "",
    "--timeout": "=",
    "--timestamp": "",
    "--format": "=",
    "--pretty": "",
    "--may-create": "",
    "--flow-format": "=",
    "--packet-in-format": "=",
    "--private-key": "=",
    "--certificate": "=",
    "--ca-cert": "=",
    "--db": "=",
    "--state": "=",
    "--color": "?",
    "--no-syslog": "",
    "--verbose": "?",
    "--help": "",
    "--version": "",
    "--commands": "",
    "--options": "",
}
_SHORT = {
    "O": "--protocols",
    "F": "--flow-format",
    "P": "--packet-in-format",
    "m": "--more",
    "t": "--timeout",
    "f": "--format",
    "p": "--private-key",
    "c": "--certificate",
    "C": "--ca-cert",
    "h": "--help",
    "V": "--version",
    "v": "--verbose",
}
_PROTOCOLS = ("openflow10", "openflow11", "openflow12", "openflow13", "openflow14", "openflow15")


class Options(NamedTuple):
    """A command line, read. `names` and `stats` are None unless said; `sort`: (field, descending) pairs."""

    words: list[str] = []  # noqa: RUF012 - never written to
    strict: bool = False
    bundle: bool = False
    read_only: bool = False
    names: bool | None = None
    stats: bool = True
    sort: tuple[tuple[str, bool], ...] = ()
    more: int = 0
    timeout: int = 0
    timestamp: bool = False
    json: bool = False
    pretty: bool = False
    may_create: bool = False
    private_key: str = ""
    certificate: str = ""
    ca_cert: str = ""
    db: str = ""
    state: str | None = None
    info: str = ""


def parse(argv: list[str]) -> Options:
    """Return what a command line means; `info` is "--help" or the like if asked for. Raises UsageError."""
    given, words = _split(argv)
    for name, _ in given:
        if name in ("--help", "--version", "--commands", "--options"):
            return Options(info=name)
    values: dict[str, Any] = {"words": words}
    sort: list[tuple[str, bool]] = []
    for name, value in given:
        key = name[2:].replace("-", "_")
        if name in ("--sort", "--rsort"):
            sort.append((value or "priority", name == "--rsort"))
        elif name == "--protocols":
            _check_protocols(value)
        elif name in ("--names", "--stats"):
            values[key] = True
        elif name in ("--no-names", "--no-stats"):
            values[key[3:]] = False
        elif name == "--more":
            values["more"] = values.get("more", 0) + 1
        elif name == "--timeout":
            values["timeout"] = _timeout(value)
        elif name == "--format":
            if value not in ("text", "json"):
                raise UsageError(f'unknown output format "{value}" (text or json)')
            values["json"] = value == "json"
        elif name == "--flow-format":
            if value.lower() not in ("any", "oxm", "oxm-openflow13", "openflow13", "openflow13-oxm"):
                raise UsageError(f"-F {value}: vsofctl speaks OpenFlow13 only (OXM-OpenFlow13)")
        elif name == "--packet-in-format":
            if value.lower() not in ("standard", "openflow10"):
                raise UsageError(f"-P {value}: this switch sends standard packet-ins only")
        elif key in Options._fields:
            values[key] = value if OWN[name] else True
    return Options(**values, sort=tuple(sort))


def _split(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options with their values in their order, and the other words."""
    given: list[tuple[str, str]] = []
    words: list[str] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            words += argv[at:]
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        for name, value in _option(word):
            if value is None and OWN[name] == "=":
                if at >= len(argv):
                    shown = f"'{name}'" if word.startswith("--") else f"-- '{word[-1]}'"
                    text = "option " if word.startswith("--") else "option requires an argument "
                    raise UsageError(
                        text + shown + (" requires an argument" if word.startswith("--") else "")
                    )
                given.append((name, argv[at]))
                at += 1
            else:
                given.append((name, value or ""))
    return given, words


def _option(word: str) -> list[tuple[str, str | None]]:
    """Return the options that one word holds, with a value where it stands in the same word."""
    if word.startswith("--"):
        text, equals, value = word.partition("=")
        name = _full_name(text)
        if equals and not OWN[name]:
            raise UsageError(f"option '{name}' doesn't allow an argument")
        return [(name, value if equals else None)]
    found: list[tuple[str, str | None]] = []
    for at, letter in enumerate(word[1:], 1):
        name = _SHORT.get(letter, "")
        if not name:
            raise UsageError(f"invalid option -- '{letter}'")
        if OWN[name]:
            found.append((name, word[at + 1 :] or None))
            break
        found.append((name, None))
    return found


def _full_name(text: str) -> str:
    if text in OWN:
        return text
    found = [name for name in OWN if name.startswith(text)]
    if len(found) > 1:
        raise UsageError(
            f"option '{text}' is ambiguous; possibilities: " + " ".join(f"'{name}'" for name in found)
        )
    if not found:
        raise UsageError(f"unrecognized option '{text}'")
    return found[0]


def _check_protocols(text: str) -> None:
    names = text.lower().replace(",", " ").split()
    for name in names:
        if name not in _PROTOCOLS:
            raise UsageError(f"{name}: unknown OpenFlow protocol (OpenFlow13)")
    if "openflow13" not in names:
        raise UsageError(f"-O {text}: vsofctl speaks OpenFlow13 only")


def _timeout(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) < 1 << 31):
        raise UsageError(f"value {text} on -t or --timeout is invalid")
    return int(text)
