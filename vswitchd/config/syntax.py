"""Values as text: atoms, sets `[a, b]` and maps `{k=v}`, read from a command line and printed back.

Reading a printed value gives the value again (a property test says so). The messages are those of
ovs-vsctl, because people search for them. `symbols` maps a row's `@name` to its UUID while a command line's
transaction is built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from vswitchd.config.types import INT_MAX, INT_MIN, Atom, Base, Datum, Kind, Type
from vswitchd.errors import ConfigError

Symbols = Callable[[str], str]

_DELIMITERS = frozenset(":=, []{}!<>")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_RANGE = re.compile(r"([+-]?[0-9]{1,40})-([+-]?[0-9]{1,40})")


def no_symbols(name: str) -> str:
    """Refuse a row's @name where none can be meant."""
    raise ConfigError(f'"{name}" is not a valid UUID')


def is_uuid(text: str) -> bool:
    """Return whether `text` is a whole UUID."""
    return _UUID.fullmatch(text) is not None


def skip_spaces(text: str, at: int) -> int:
    """Return the first position from `at` on that holds no white space."""
    while at < len(text) and text[at] in " \t\n\v\f\r":
        at += 1
    return at


def token(text: str, at: int) -> tuple[str, int]:
    """Return the token of `text` at `at` (quotes and escapes kept) and the position after it."""
    start = at
    quoted = False
    while at < len(text):
        char = text[at]
        if char == "\\":
            if at + 1 >= len(text):
                raise ConfigError(f"{text[start:]}: backslash at end of argument")
            at += 1
        elif char == '"':
            quoted = not quoted
        elif not quoted and char in _DELIMITERS:
            break
        at += 1
    if quoted:
        raise ConfigError(f"{text[start:]}: quoted string extends past end of argument")
    return text[start:at], at


def parse_atom(base: Base, text: str, symbols: Symbols = no_symbols) -> Atom:
    """Return the atom that all of `text` stands for; raise ConfigError if it is none or out of bounds."""
    if base.kind is Kind.INTEGER:
        if not _INTEGER.fullmatch(text) or not INT_MIN <= int(text) <= INT_MAX:
            raise ConfigError(f'"{text}" is not a valid integer or range')
        atom: Atom = int(text)
    elif base.kind is Kind.BOOLEAN:
        if text not in _BOOLEANS:
            raise ConfigError(f'"{text}" is not a valid boolean (use "true" or "false")')
        atom = _BOOLEANS[text]
    elif base.kind is Kind.UUID:
        if text.startswith("@"):
            return symbols(text)
        if not is_uuid(text):
            raise ConfigError(f'"{text}" is not a valid UUID')
        atom = text.lower()
    else:
        atom = _parse_string(text)
    base.check(atom)
    return atom


_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _parse_string(text: str) -> str:
    if not text:
        raise ConfigError('An empty string is not valid as input; use "" to represent the empty string')
    if text[0] != '"':
        value = text
    elif len(text) < 2 or text[-1] != '"':
        raise ConfigError(f"{text}: missing quote at end of quoted string")
    else:
        try:
            value = json.loads(text, strict=False)
        except ValueError:
            raise ConfigError(f"{text}: invalid escape or quote in quoted string") from None
    return value


def _parse_atoms(base: Base, text: str, symbols: Symbols, room: int | None) -> list[Atom]:
    """Return the atoms that one token stands for: one, or all of an integer range A-B."""
    match = _RANGE.fullmatch(text) if base.kind is Kind.INTEGER else None
    if match is None:
        return [parse_atom(base, text, symbols)]
    low, high = int(match[1]), int(match[2])
    if high < low:
        raise ConfigError(f'"{text}" is not a valid range. Range end cannot be before start.')
    base.check(low)
    base.check(high)
    # The largest set has 4096 integers; no range may make us count to 2**63 first.
    if high - low >= max(room or 0, 4096):
        raise ConfigError(f'"{text}" is not a valid range. Range is too big.')
    return list(range(low, high + 1))


def parse_datum(kind: Type, text: str, symbols: Symbols = no_symbols) -> Datum:
    """Return the datum that `text` stands for (brackets are optional); raise ConfigError."""
    at = skip_spaces(text, 0)
    opening, closing = ("{", "}") if kind.is_map else ("[", "]")
    end = ""
    if text[at : at + 1] == opening:
        end = closing
        at = skip_spaces(text, at + 1)
    items: list[tuple[Atom, Atom]] = []
    while at < len(text) and text[at] != end:
        if text[at] in _DELIMITERS:
            raise ConfigError(f'{text}: unexpected "{text[at]}" parsing {kind.english()}')
        pairs, at = _parse_element(kind, text, at, symbols)
        items += pairs
        at = skip_spaces(text, at)
        if text[at : at + 1] == ",":
            at = skip_spaces(text, at + 1)
    if end:
        if at >= len(text):
            raise ConfigError(f'{text}: missing "{end}" at end of data')
        if skip_spaces(text, at + 1) < len(text):
            raise ConfigError(f'{text}: trailing garbage after "{end}"')
    _check_count(kind, text, len(items))
    keys = sorted({key for key, _ in items})
    if len(keys) != len(items):
        what = "map contains duplicate key" if kind.is_map else "set contains duplicate value"
        raise ConfigError(f"{text}: {what}")
    if kind.is_map:
        return tuple(sorted(items, key=lambda pair: pair[0]))
    return tuple(keys)


def _parse_element(kind: Type, text: str, at: int, symbols: Symbols) -> tuple[list[tuple[Atom, Atom]], int]:
    start = at
    word, at = token(text, at)
    room = kind.high
    keys = _parse_atoms(kind.key, word, symbols, room)
    if kind.value is None:
        return [(key, True) for key in keys], at
    at = skip_spaces(text, at)
    if text[at : at + 1] != "=":
        raise ConfigError(f'{text[start:]}: syntax error at "{text[at : at + 1]}" expecting "="')
    word, at = token(text, skip_spaces(text, at + 1))
    value = parse_atom(kind.value, word, symbols)
    return [(key, value) for key in keys], at


def _check_count(kind: Type, text: str, count: int) -> None:
    if count < kind.low:
        raise ConfigError(f"{text}: {count} value(s) specified but the minimum number is {kind.low}")
    if kind.high is not None and count > kind.high:
        raise ConfigError(f"{text}: {count} value(s) specified but the maximum number is {kind.high}")


def quote(text: str) -> str:
    """Return a string as values print it: bare if it is a plain word, else in double quotes."""
    if _PLAIN.fullmatch(text) and text not in ("true", "false") and not is_uuid(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def format_atom(kind: Kind, atom: Atom) -> str:
    """Return an atom as `get` and `list` print it."""
    if kind is Kind.BOOLEAN:
        return "true" if atom else "false"
    if kind is Kind.STRING:
        return quote(str(atom))
    return str(atom)


def format_datum(kind: Type, datum: Datum) -> str:
    """Return a datum as `get` and `list` print it: in brackets unless it can be one atom only and is."""
    parts = []
    for item in datum:
        if isinstance(item, tuple):
            assert kind.value is not None
            parts.append(f"{format_atom(kind.key.kind, item[0])}={format_atom(kind.value.kind, item[1])}")
        else:
            parts.append(format_atom(kind.key.kind, item))
    body = ", ".join(parts)
    if kind.high == 1 and datum:
        return body
    return "{" + body + "}" if kind.is_map else "[" + body + "]"
