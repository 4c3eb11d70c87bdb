"""The RPC methods of the configuration: "vsctl" runs commands, "wait_cfg" waits until they are applied."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from vswitchd.config.command import from_wire
from vswitchd.config.engine import Outcome, run
from vswitchd.errors import NotYet, UsageError

if TYPE_CHECKING:
    from vswitchd.config.rows import Snapshot
    from vswitchd.config.store import Store
    from vswitchd.rpc import RpcServer


class ConfigService:
    """Answers for one store. Lives in the event loop's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: asyncio.Future[None] | None = None
        store.on_change(self._wake)

    def register(self, server: RpcServer) -> None:
        """Register the methods."""
        server.register("vsctl", self.vsctl)
        server.register("wait_cfg", self.wait_cfg)

    def _wake(self, _: Snapshot) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None

    async def _next_change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        # Several wait for one future; the end of one of them must not cancel it for the others.
        await asyncio.shield(self._changed)

    async def vsctl(self, params: dict[str, Any]) -> dict[str, Any]:
        """Run {commands, dry_run, no_wait}; what waits for a condition is tried again at each change."""
        commands = from_wire(params.get("commands"))
        while True:
            try:
                bump = not params.get("no_wait", False)
                return pack(run(self._store, commands, dry_run=bool(params.get("dry_run", False)), bump=bump))
            except NotYet:
                await self._next_change()

    async def wait_cfg(self, params: dict[str, Any]) -> dict[str, Any]:
        """Wait until cur_cfg >= {next_cfg}; return the {errors: [[name, text]]} of {interfaces}."""
        number, uuids = params.get("next_cfg"), params.get("interfaces", [])
        if not isinstance(number, int) or not isinstance(uuids, list):
            raise UsageError("wait_cfg needs next_cfg, a number, and interfaces, a list")
        while self._store.cur_cfg < number:
            await self._next_change()
        rows = [self._store.snapshot().get("Interface", str(uuid)) for uuid in uuids]
        return {
            "errors": [[row.name, row["error"] or ""] for row in rows if row is not None and _failed(row)]
        }


def _failed(row: Any) -> bool:
    return row["error"] is not None or row["ofport"] == -1


def pack(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the "vsctl" method answers it."""
    return {
        "answers": outcome.answers,
        "warnings": outcome.warnings,
        "interfaces": outcome.new_interfaces,
        "next_cfg": outcome.next_cfg,
    }
