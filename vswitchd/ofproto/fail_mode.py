"""What a bridge does without its controllers: column fail_mode of table Bridge (ovs-vswitchd.conf.db(5)).

standalone, no primary controller configured: table 0 has a flow priority=0 actions=NORMAL.
standalone, controllers configured: after three probe intervals without any of them all flows and groups are
removed and
  that same flow is put in ("fail open"); it is removed when a controller connects, which then starts from
  nothing.
secure: flows stay as they are; none is put in.
As in Open vSwitch, going from no controllers to some or back, and a change of mode without controllers,
empties the tables. A controller that comes back within the time loses nothing. Thread: control.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.constants import OFPFC, OFPP
from vswitchd.ofproto.flow_table import FlowEntry, Selection
from vswitchd.ofproto.instructions import ApplyActions
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.oxm import Match

if TYPE_CHECKING:
    from vswitchd.ofproto.agent import Agent

log = logging.getLogger(__name__)
MODES = ("standalone", "secure")
INTERVALS = 3
_ADD_NORMAL = FlowMod(priority=0, instructions=(ApplyActions((Output(OFPP.NORMAL, 0),)),))


class FailMode:
    """The fail mode of one bridge; begins standalone and without controllers."""

    def __init__(self, agent: Agent) -> None:
        self.mode = "standalone"
        self._agent = agent
        self._controllers = False
        self._connected_at = agent.clock()
        self._open: FlowEntry | None = None
        self._put_normal()

    @property
    def failing_open(self) -> bool:
        """Whether NORMAL stands in for the controllers."""
        return self._open is not None

    def set_mode(self, mode: str) -> None:
        """Set "standalone" or "secure". ValueError for another."""
        if mode not in MODES:
            raise ValueError(f"fail_mode is {mode}, expected standalone or secure")
        if mode == self.mode:
            return
        self.mode = mode
        if not self._controllers:
            self._restart()
        elif mode == "secure":
            self._leave()

    def set_controllers(self, *, configured: bool) -> None:
        """Say whether there are primary controllers."""
        if configured != self._controllers:
            self._controllers = configured
            self._connected_at = self._agent.clock()
            self._restart()

    def connected(self) -> None:
        """Note that a primary controller is connected; call before its first request is served."""
        self._connected_at = self._agent.clock()
        self._leave()

    def tick(self, *, connected: bool, probe: float) -> None:
        """Look at the connections; probe is the longest probe interval in seconds."""
        now = self._agent.clock()
        if connected:
            self.connected()
        elif (
            self._controllers
            and self.mode == "standalone"
            and self._open is None
            and now - self._connected_at >= INTERVALS * probe
        ):
            log.warning("no controller for %g s, failing open", now - self._connected_at)
            self._agent.flush()
            self._open = self._put_normal()

    def _restart(self) -> None:
        self._open = None
        self._agent.flush()
        if self.mode == "standalone" and not self._controllers:
            self._put_normal()

    def _leave(self) -> None:
        """Take the flow of failing open away, unless somebody put another in its place."""
        entry, self._open = self._open, None
        if entry is not None:
            log.warning("no longer failing open")
            self._agent.settle()
            if entry.reason is None and entry.program.instructions == _ADD_NORMAL.instructions:
                flows = self._agent.flows
                flows.apply(FlowMod(command=OFPFC.DELETE_STRICT, priority=0))
                flows.commit()

    def _put_normal(self) -> FlowEntry:
        flows = self._agent.flows
        flows.apply(_ADD_NORMAL)
        flows.commit()
        want = Selection(Match(), table_id=0)
        return next(e for e in flows.tables.select(want) if e.priority == 0 and not e.match.entries)
