"""What the switch keeps for one connection: role, masks of asynchronous messages, miss_send_len.

(6.3.5, 6.3.6, 7.3.2.) A connection is primary (a configured controller) or of service (ovs-ofctl through a
passive target). As in Open vSwitch, one of service gets no asynchronous message until it sets a
miss_send_len. An auxiliary connection (6.3.8) has all these of its main one. Thread: control.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from vswitchd.datapath.dp import PUNT_MISS
from vswitchd.ofproto.bundles import Budget, Bundles
from vswitchd.ofproto.constants import (
    OFP_DEFAULT_MISS_SEND_LEN,
    OFP_VERSION_10,
    OFP_VERSION_13,
    OFPCR,
    OFPPR,
    OFPR,
    OFPRR,
)
from vswitchd.ofproto.dialect import outgoing
from vswitchd.ofproto.messages import GetAsyncReply, SetAsync
from vswitchd.ofproto.rate_limit import RateLimit
from vswitchd.ofproto.reassembly import Reassembly

if TYPE_CHECKING:
    from vswitchd.ofproto.connection import Connection
    from vswitchd.ofproto.registry import Message


class Async(Enum):
    """Kinds of asynchronous messages; the value is the name of the masks' fields."""

    PACKET_IN = "packet_in"
    PORT_STATUS = "port_status"
    FLOW_REMOVED = "flow_removed"


_ALL_PORT = 1 << OFPPR.ADD | 1 << OFPPR.DELETE | 1 << OFPPR.MODIFY
_ALL_REMOVED = 1 << OFPRR.IDLE_TIMEOUT | 1 << OFPRR.HARD_TIMEOUT | 1 << OFPRR.DELETE | 1 << OFPRR.GROUP_DELETE
# 6.3.6: a master gets all but packets with an invalid TTL, a slave only port-status.
_DEFAULT = GetAsyncReply(1 << OFPR.NO_MATCH | 1 << OFPR.ACTION, 0, _ALL_PORT, _ALL_PORT, _ALL_REMOVED, 0)
# In 1.0 a packet that no entry takes goes to the controller (1.0.2, 3.4): punts of a reason of our own.
_DEFAULT_10 = replace(_DEFAULT, packet_in_master=_DEFAULT.packet_in_master | 1 << PUNT_MISS)
_SILENT = GetAsyncReply()


class Session:
    """One connection's state. `peer` is a name for the log, `budget` what bundles of all connections share."""

    __slots__ = (
        "_masks", "_miss_send_len", "_role", "auxiliaries", "auxiliary_id", "bundles", "connection", "limit",
        "main", "parts", "peer", "primary",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, peer: str, *, primary: bool, enable_async: bool = True,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self.connection = connection
        self.peer = peer
        self.primary = primary
        self.main = self
        self.auxiliary_id = 0
        self.auxiliaries: list[Session] = []
        self.limit = RateLimit(connection.clock)
        self._role: int = OFPCR.EQUAL
        self.parts = Reassembly(connection.clock)
        self.bundles = Bundles(connection.clock, budget or Budget())
        self._masks = (
            (_DEFAULT_10 if self.version == OFP_VERSION_10 else _DEFAULT) if enable_async else _SILENT
        )
        self._miss_send_len = OFP_DEFAULT_MISS_SEND_LEN if primary else 0

    @property
    def version(self) -> int:
        """The version of OpenFlow that is spoken."""
        return self.connection.version or OFP_VERSION_13

    @property
    def role(self) -> int:
        """The role, OFPCR."""
        return self.main._role  # noqa: SLF001

    @role.setter
    def role(self, role: int) -> None:
        self.main._role = role  # noqa: SLF001

    @property
    def miss_send_len(self) -> int:
        """Bytes of a packet that no output action sent."""
        return self.main._miss_send_len  # noqa: SLF001

    @miss_send_len.setter
    def miss_send_len(self, length: int) -> None:
        self.main._miss_send_len = length  # noqa: SLF001

    @property
    def masks(self) -> GetAsyncReply:
        """The masks of asynchronous messages."""
        return self.main._masks  # noqa: SLF001

    def assist(self, main: Session, auxiliary_id: int) -> None:
        """Become an auxiliary connection of another one."""
        self.main = main
        self.auxiliary_id = auxiliary_id
        main.auxiliaries.append(self)

    def carrier(self, in_port: int) -> Session:
        """Return which of this connection and its auxiliaries packet-ins of a port go out by."""
        number = in_port % (len(self.auxiliaries) + 1)
        return self.auxiliaries[number - 1] if number else self

    def set_masks(self, masks: SetAsync) -> None:
        """Take the masks of a set-async message."""
        self.main._masks = GetAsyncReply(  # noqa: SLF001
            masks.packet_in_master, masks.packet_in_slave, masks.port_status_master, masks.port_status_slave,
            masks.flow_removed_master, masks.flow_removed_slave,
        )  # fmt: skip

    def wants(self, kind: Async, reason: int) -> bool:
        """Whether an asynchronous message is for this connection; for an auxiliary one none is by itself."""
        if self.main is not self:
            return False
        if (not self.primary and not self.miss_send_len) or (
            reason == PUNT_MISS and kind is Async.PACKET_IN and self.version != OFP_VERSION_10
        ):
            return False
        side = "slave" if self.role == OFPCR.SLAVE else "master"
        mask: int = getattr(self.masks, f"{kind.value}_{side}")
        return bool(mask >> reason & 1)

    def send(self, message: Message, xid: int) -> None:
        """Answer a request."""
        self.connection.send(outgoing(message, self.version), xid)

    def tell(self, kind: Async, reason: int, message: Message) -> None:
        """Send an asynchronous message if it is wanted."""
        if self.wants(kind, reason):
            self.connection.send(outgoing(message, self.version), 0)

    def admits_packet_in(self) -> bool:
        """Whether rate and backlog let one more packet-in out; one that they do not is counted as dropped."""
        return self.main.limit.take() and self.connection.admits()
