"""add-flow, add-flows, mod-flows, del-flows: flow text to flow-mods, sent in one go, refusals with their lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ctl.ofctl_bundle import carry_out
from ctl.ofctl_client import refusal_text
from ctl.ofctl_session import PortNumbers, open_switch, usage_errors
from ctl.ofctl_templates import Encoder
from vswitchd.errors import UsageError, VsError
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPFC
from vswitchd.ofproto.flowtext import parse_flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ctl.ofctl_options import Options
    from vswitchd.ofproto.messages import Error

_COMMANDS = {
    "add": OFPFC.ADD,
    "modify": OFPFC.MODIFY,
    "modify_strict": OFPFC.MODIFY_STRICT,
    "delete": OFPFC.DELETE,
    "delete_strict": OFPFC.DELETE_STRICT,
}
_SHOWN = 10


def add_flow(target: str, words: list[str], options: Options) -> None:
    """Add one flow; `-` reads a file, as in ovs-ofctl."""
    _change(target, words, options, OFPFC.ADD)


def mod_flows(target: str, words: list[str], options: Options) -> None:
    """Change the actions of flows, with --strict of the one flow."""
    _change(target, words, options, OFPFC.MODIFY_STRICT if options.strict else OFPFC.MODIFY)


def del_flows(target: str, words: list[str], options: Options) -> None:
    """Delete flows, with --strict the one flow."""
    _change(target, words or [""], options, OFPFC.DELETE_STRICT if options.strict else OFPFC.DELETE)


def add_flows(target: str, words: list[str], options: Options) -> None:
    """Add the flows of a file; a line may begin with add, modify, delete (and _strict)."""
    _from_file(target, words[0], options, OFPFC.ADD)


def _change(target: str, words: list[str], options: Options, command: OFPFC) -> None:
    if words == ["-"]:
        _from_file(target, "-", options, command)
        return
    with open_switch(target, options) as client:
        with usage_errors():
            flow = parse_flow(words[0], PortNumbers(client), command)
            data = encode(flow, xid := client.new_xids())
        for _, error in carry_out(client, [data], options):
            raise VsError(f"{refusal_text(xid, error)} ({words[0] or 'all flows'})")


def _from_file(target: str, path: str, options: Options, command: OFPFC) -> None:
    lines = read_lines(path)
    with open_switch(target, options) as client:
        first = client.new_xids(len(lines))
        # Read everything before anything is sent: a slip of the pen on line 900 must not leave 899 flows.
        encoded = list(_encode(lines, PortNumbers(client), path, first, command))
        errors = carry_out(client, encoded, options)
    if errors:
        raise VsError(_tell(errors, lines, path, first))


def read_lines(path: str) -> list[str]:
    """Return the lines of a file (-: standard input); UsageError."""
    try:
        if path == "-":
            return sys.stdin.read().splitlines()
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs start-up time
            return file.read().splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not a text file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot read the flows ({reason})") from None


def _encode(
    lines: Iterable[str], ports: PortNumbers, path: str, first: int, command: OFPFC
) -> Iterator[bytes]:
    """Yield the flow-mod of every line that holds one; its xid is `first` plus the line's index."""

    def plainly(text: str, xid: int) -> bytes:
        word, _, rest = text.partition(" ")
        named = _COMMANDS.get(word)
        flow = parse_flow(text, ports, command) if named is None else parse_flow(rest, ports, named)
        return encode(flow, xid)

    encoder = Encoder(plainly)
    for index, line in enumerate(lines):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            yield encoder.encode(text, first + index)
        except ValueError as error:
            raise UsageError(f"{path}:{index + 1}: {error}") from None


def _tell(errors: list[tuple[int, Error]], lines: list[str], path: str, first: int) -> str:
    told = []
    for xid, error in errors[:_SHOWN]:
        at = xid - first
        where = f"{path}:{at + 1}: " if 0 <= at < len(lines) else ""
        flow = f" ({lines[at].strip()})" if where else ""
        told.append(f"{where}{refusal_text(xid, error)}{flow}")
    if len(errors) > _SHOWN:
        told.append(f"{path}: and {len(errors) - _SHOWN} more flows were refused")
    return "\n".join(told)
