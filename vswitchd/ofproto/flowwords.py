"""The words of flow text: `key`, `key=value`, `key:value` and `key(value)`, separated by commas or blanks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.flowvalues import FlowTextError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEPARATORS = ", \t\r\n"
_KEY_ENDS = ":=(" + _SEPARATORS
_MAX = 65536


def split_words(text: str) -> Iterator[tuple[str, str | None]]:
    """Split into (key, value), value None where there is only a key; parentheses and quotes keep together."""
    if len(text) > _MAX:
        raise FlowTextError(f"a flow of {len(text)} characters is too long")
    at = 0
    while at < len(text):
        if text[at] in _SEPARATORS:
            at += 1
            continue
        end = _quoted(text, at) if text[at] == '"' else at
        while end < len(text) and text[end] not in _KEY_ENDS:
            end += 1
        key = text[at:end]
        if not key:
            raise FlowTextError(f'"{text[at : at + 20]}": a word is missing before "{text[at]}"')
        if end == len(text) or text[end] in _SEPARATORS:
            yield key, None
            at = end
        elif text[end] == "(":
            at = _value_end(text, end)
            yield key, text[end + 1 : at - 1] if text[at - 1] == ")" else text[end:at]
        else:
            at = _value_end(text, end + 1)
            yield key, text[end + 1 : at]


def _quoted(text: str, at: int) -> int:
    """Return the index after the string that begins at `at`."""
    end = text.find('"', at + 1)
    if end < 0:
        raise FlowTextError(f"{text[at : at + 20]}: the quote is not closed")
    return end + 1


def _value_end(text: str, at: int) -> int:
    """Return the index after the value that begins at `at`."""
    depth = 0
    start = at
    while at < len(text):
        char = text[at]
        if char == '"':
            at = _quoted(text, at)
            continue
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
            if depth < 0:
                raise FlowTextError(f'"{text[start : start + 20]}": a parenthesis too many')
        elif char in _SEPARATORS and depth == 0:
            break
        at += 1
    if depth:
        raise FlowTextError(f'"{text[start : start + 20]}": a parenthesis is not closed')
    return at
