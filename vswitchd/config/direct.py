"""Running a command line on the database file itself, when no daemon runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.config.engine import run
from vswitchd.config.service import pack
from vswitchd.config.store import Store

if TYPE_CHECKING:
    from vswitchd.config.command import Command


def run_direct(path: str, commands: list[Command], *, dry_run: bool, timeout: float = 5.0) -> dict[str, Any]:
    """Run the commands in one transaction on the file at `path`; return what the method "vsctl" would.

    Raises StoreError if a daemon, or another such run, holds the file for longer than `timeout` seconds.
    """
    store = Store.open(path, timeout)
    try:
        return pack(run(store, commands, dry_run=dry_run, bump=False))
    finally:
        store.close()
