"""All of some changes or none of them: flow entries, groups and meters change together or stay as they were.

While one runs nothing is shown to packets, flows do not expire, and the requests of other connections wait (a
long bundle is carried out in slices): so nobody sees half of it, and nothing is in the way of taking it back.
Thread: control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.agent import Agent, Job
    from vswitchd.ofproto.session import Session


class Staged(Protocol):
    """A table whose part in the datapath is staged: it is taken back there by `DpBridge.rollback()`."""

    def snapshot(self) -> Any:
        """Return what `restore()` takes."""

    def restore(self, was: Any) -> None:
        """Be as at the snapshot."""


class Transaction:
    """Begins when it is made; ends with `commit()` or `rollback()`. One at a time for an agent."""

    def __init__(self, agent: Agent, session: Session) -> None:
        assert agent.transaction is None
        self.session = session
        self.job: Job | None = None
        self._agent = agent
        self._after: list[Callable[[], None]] = []
        agent.flows.begin()
        self._was = [(table, table.snapshot()) for table in agent.staged]
        agent.transaction = self

    def afterwards(self, step: Callable[[], None]) -> None:
        """Have something done once all is visible, and not at all if it is taken back. It must not fail."""
        self._after.append(step)

    def commit(self) -> None:
        """Show all to packets at once. DatapathError: out of memory; all is as it was before."""
        try:
            self._agent.flows.keep()
        except Exception:
            self.rollback()
            raise
        self._end()
        for step in self._after:
            step()

    def rollback(self) -> None:
        """Be as before."""
        for table, was in self._was:
            table.restore(was)
        self._agent.flows.take_back()
        self._end()

    def _end(self) -> None:
        self._agent.transaction = None
        waiting, self._agent.waiting = self._agent.waiting, set()
        for wake in waiting:
            wake()
