"""What a verb works with: the transaction, the @names of rows, and where its answer goes."""

from __future__ import annotations

import uuid as uuidlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vswitchd.config.command import Command
from vswitchd.config.topology import Topology
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.config.describe import Column
    from vswitchd.config.rows import Row, Snapshot
    from vswitchd.config.txn import Transaction


@dataclass(slots=True)
class Symbol:
    """A row's @name: its UUID, and whether a command has made or found the row yet."""

    uuid: str
    created: bool = False


@dataclass(slots=True)
class Answer:
    """What one command prints: text, or a table; `data` is the same for `--format=json`."""

    text: str = ""
    data: Any = None
    columns: list[Column | None] | None = None
    rows: list[Row] = field(default_factory=list)


class Context:
    """One run of a command line in one transaction."""

    def __init__(self, txn: Transaction) -> None:
        self.txn = txn
        self.symbols: dict[str, Symbol] = {}
        self.warnings: list[str] = []
        self.new_interfaces: list[str] = []
        self.answer = Answer()
        self.command = Command("")
        self._topology: Topology | None = None
        self._seen = (0, 0)

    @property
    def view(self) -> Snapshot:
        """The configuration with the changes made so far."""
        return self.txn.view

    def topology(self) -> Topology:
        """Return the names in use now. Commands that change none of them share it: chains may be long."""
        known = self._topology
        if (
            known is None
            or self._seen[0] != self.txn.shape
            or (known.fakes and self._seen[1] != self.txn.tags)
        ):
            known = Topology(self.view)
            self.keep(known)
        return known

    def keep(self, topology: Topology) -> None:
        """Say that `topology` is right at this moment."""
        self._topology, self._seen = topology, (self.txn.shape, self.txn.tags)

    @property
    def args(self) -> tuple[str, ...]:
        """The running command's arguments."""
        return self.command.args

    def has(self, option: str) -> bool:
        """Return whether the running command has this option."""
        return option in self.command.options

    def option(self, name: str) -> str | None:
        """Return the value of an option of the running command, or None."""
        return self.command.options.get(name)

    def lines(self, lines: list[str]) -> None:
        """Answer with these lines, in JSON with the list of them."""
        self.answer.text = "".join(f"{line}\n" for line in lines)
        self.answer.data = lines

    def symbol(self, name: str) -> str:
        """Return the UUID that @name stands for, whether or not its row is made yet."""
        return self.symbols.setdefault(name, Symbol(str(uuidlib.uuid4()))).uuid

    def define(self, name: str, uuid: str | None = None) -> str:
        """Say that this command makes (or, with `uuid`, found) the row called @name; return its UUID."""
        if not name.startswith("@"):
            raise ConfigError(f'row id "{name}" does not begin with "@"')
        self.symbol(name)
        symbol = self.symbols[name]
        if symbol.created:
            raise ConfigError(f'row id "{name}" may only be specified on one --id option')
        symbol.created = True
        if uuid is not None:
            symbol.uuid = uuid
        return symbol.uuid

    def check_symbols(self) -> None:
        """Raise ConfigError if an @name was used and never defined."""
        for name, symbol in self.symbols.items():
            if not symbol.created:
                raise ConfigError(
                    f'row id "{name}" is referenced but never created (e.g. with "-- --id={name} create ...")'
                )
