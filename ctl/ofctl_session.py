"""What the verbs share: opening a switch, the names of its ports and tables, text that is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ctl.ofctl_client import Client
from ctl.ofctl_target import connect
from vswitchd.errors import UsageError
from vswitchd.ofproto.constants import OFPP
from vswitchd.ofproto.multipart import (
    PortDescReply,
    PortDescRequest,
    TableFeaturesReply,
    TableFeaturesRequest,
)

if TYPE_CHECKING:
    from ctl.ofctl_options import Options
    from vswitchd.ofproto.structures import Port


def open_switch(target: str, options: Options) -> Client:
    """Return a client of the switch that `target` means; raise VsError."""
    return Client(connect(target, options), target)


@contextmanager
def usage_errors(where: str = "") -> Iterator[None]:
    """Turn the refusal of a flow's, group's or packet's text into a UsageError; `where` stands before it."""
    try:
        yield
    except ValueError as error:  # FlowTextError and EncodeError are ValueErrors
        raise UsageError(f"{where}{error}") from None


def all_ports(client: Client) -> list[Port]:
    """Return the switch's ports in its order."""
    _, parts = client.multipart(PortDescRequest(), PortDescReply)
    return [port for part in parts for port in part.entries]


class PortNumbers(Mapping[str, int]):
    """Numbers of ports by name, asked from the switch when the first name is looked up.

    Digits and OpenFlow's own words (LOCAL, in_port, ...) are never names, so most flows ask nothing.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[str, int] | None = None

    def __getitem__(self, name: str) -> int:
        if name.isdigit() or name.lower() in _WORDS:
            raise KeyError(name)
        if self._found is None:
            self._found = {}
            for port in all_ports(self._client):
                self._found.setdefault(port.name, port.port_no)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found or {})

    def __len__(self) -> int:
        return len(self._found or {})


_WORDS = frozenset(
    ("in_port", "table", "normal", "flood", "all", "controller", "local", "any", "none", "drop")
)


def wants_names(options: Options) -> bool:
    """Say if ports are printed by name: as asked, else on a terminal."""
    return sys.stdout.isatty() if options.names is None else options.names


def port_names(client: Client, options: Options) -> dict[int, str] | None:
    """Return the ports' names by number if they shall be printed; LOCAL stays LOCAL, as in ovs-ofctl."""
    if not wants_names(options):
        return None
    return {port.port_no: port.name for port in all_ports(client) if port.port_no < OFPP.MAX}


def table_names(client: Client, options: Options) -> dict[int, str] | None:
    """Return the tables' names by number if they shall be printed."""
    if not wants_names(options):
        return None
    _, parts = client.multipart(TableFeaturesRequest(), TableFeaturesReply)
    return {table.table_id: table.name for part in parts for table in part.entries if table.name}
