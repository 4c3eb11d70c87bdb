"""How output shall look: the options that all programs share; lighter than what prints."""

from __future__ import annotations

from typing import NamedTuple

from vswitchd.errors import UsageError

FORMATS = ("list", "table", "csv", "json", "html")
DATA_FORMATS = ("string", "bare", "json")


class Style(NamedTuple):
    """--format, --data ("": string), headings unless --no-headings, and --pretty."""

    format: str = "list"
    data: str = ""
    headings: bool = True
    pretty: bool = False


def make_style(format_name: str, data: str = "", *, headings: bool = True, pretty: bool = False) -> Style:
    """Return a Style; raise UsageError for a format that does not exist."""
    if format_name not in FORMATS:
        raise UsageError(f'unknown output format "{format_name}"')
    if data and data not in DATA_FORMATS:
        raise UsageError(f'unknown data format "{data}"')
    return Style(format_name, data, headings, pretty)
