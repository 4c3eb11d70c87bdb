"""The OpenFlow switch behind all connections of a bridge: flows, groups, ports, and who is told what.

`request()` answers one message of one connection; requests.py and stats_requests.py hold the handlers.
Flow-mods are staged and become visible with `commit()`, which whoever feeds requests calls after each batch
of them; everything that could show them commits by itself. Thread: control.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.datapath import dp
from vswitchd.ofproto.buffers import Buffers
from vswitchd.ofproto.bundle_messages import ENVELOPE_BYTES, BundleAdd, Envelope
from vswitchd.ofproto.bundles import Budget
from vswitchd.ofproto.connection import VERSIONS
from vswitchd.ofproto.constants import OFP_HEADER_LEN, OFPCR, OFPP, OFPPR, OFPR, OFPT
from vswitchd.ofproto.errors import OFPBRC, OFPRRFC, OFError
from vswitchd.ofproto.flow_run import MOST, FlowRun
from vswitchd.ofproto.flow_store import FlowStore
from vswitchd.ofproto.groups import GroupTable
from vswitchd.ofproto.messages import FlowMod, FlowRemoved, PortMod, PortStatus
from vswitchd.ofproto.meters import MeterTable
from vswitchd.ofproto.packet_in import Sender
from vswitchd.ofproto.pipeline import WHOLE
from vswitchd.ofproto.ports import PortTable, duration
from vswitchd.ofproto.session import Async, Session
from vswitchd.ofproto.turns import Turns

if TYPE_CHECKING:
    from vswitchd.ofproto.connection import Request
    from vswitchd.ofproto.flow_table import FlowEntry
    from vswitchd.ofproto.registry import Message
    from vswitchd.ofproto.structures import Port
    from vswitchd.ofproto.transaction import Staged, Transaction

log = logging.getLogger(__name__)

Job = Iterator[bytes]
"""A long answer: encoded messages, made one by one as the peer takes them; b"" only gives others a turn."""
Handler = Callable[["Agent", Session, int, "Message"], "Job | None"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the switch says it is (features and description)."""

    datapath_id: int
    dp_desc: str = ""
    serial_num: str = "None"
    software: str = ""


class Agent:
    """One OpenFlow switch."""

    def __init__(
        self, bridge: dp.DpBridge, datapath: dp.Datapath, clock: Callable[[], float], identity: Identity
    ) -> None:
        self.bridge = bridge
        self.clock = clock
        self.identity = identity
        self.groups = GroupTable(bridge, clock)
        self.meters = MeterTable(bridge, clock)
        self.staged: tuple[Staged, ...] = (self.groups, self.meters)
        """What a transaction takes back besides the flows."""
        self.flows = FlowStore(bridge, clock, self.groups, self.meters, self._flow_removed)
        self.run = FlowRun(self.flows, bridge.cdata)
        self.ports = PortTable(clock)
        self.sessions: list[Session] = []
        self.frag_flags = 0
        self.generation: int | None = None
        self.punts = 0
        self.buffers = Buffers(clock)
        self.turns = Turns()
        self.bundle_budget = Budget()
        self.transaction: Transaction | None = None
        self.waiting: set[Callable[[], None]] = set()
        """Called when the transaction ends, once."""
        self.versions = VERSIONS
        """The versions of OpenFlow that new connections may speak."""
        self._ttl_punt = self._miss_punt = False
        self.primary_connected: Callable[[], None] = _nobody_waits
        self._datapath = datapath
        self._stopped = False

    def request(self, session: Session, request: Request) -> Job | None:
        """Answer a request; a long answer is returned as a job. Never raises for what a peer sent."""
        try:
            answer = HANDLERS.get(request.message.__class__, _not_for_a_switch)
            job = answer(self, session, request.xid, request.message)
        except OFError as error:
            log.debug("%s: %s: %s", session.peer, request.message.__class__.__name__, error)
            session.connection.refuse(error, request)
            return None
        if isinstance(request.message, FlowMod):
            self.run.learn(request.data, request.message, session.version)
        elif isinstance(request.message, BundleAdd):
            self._learn_bundled(session, request.message, request.data)
        return job

    def _learn_bundled(self, session: Session, message: BundleAdd, data: bytes) -> None:
        envelope = Envelope.of(data)
        session.bundles.seal(message.bundle_id, envelope)
        if envelope is not None and isinstance(message.bundled.message, FlowMod):
            self.run.learn_ahead(data[ENVELOPE_BYTES:], message.bundled.message, session.version)

    def run_flow_mods(self, session: Session, most: int = MOST) -> bool:
        """Carry out the flow-mods that wait at the front of a connection, if they are of known kinds; whether any was.

        Those in bundle-adds are put aside.
        """
        waiting = session.connection.input
        if len(waiting) < OFP_HEADER_LEN or session.role == OFPCR.SLAVE or self.transaction is not None:
            return False
        if waiting[1] == OFPT.FLOW_MOD:
            size = self.run.take(waiting, session.version, most)
        elif waiting[1] == OFPT.EXPERIMENTER and session.bundles:
            size = self._put_aside(session, waiting)
        else:
            return False
        session.connection.skip(size)
        return size > 0

    def _put_aside(self, session: Session, waiting: bytearray) -> int:
        bundle = session.bundles.latest()
        if bundle is None or bundle.envelope is None:
            return 0
        most = session.bundles.room(len(waiting))
        if most <= 0:
            return 0
        count, size, mods = self.run.unwrap(bundle.envelope, waiting, session.version, most)
        if count:
            session.bundles.add_bytes(bundle, count, mods)
        return size

    def commit(self) -> None:
        """Show all flow-mods so far to packets; those of a transaction wait for its end."""
        if not self._stopped:
            self.flows.commit()

    def busy_for(self, session: Session) -> bool:
        """Whether the requests of a connection have to wait for another one's transaction."""
        return self.transaction is not None and self.transaction.session is not session

    def settle(self) -> None:
        """Run the transaction, if there is one, to its end now: somebody is about to change the flows."""
        if self.transaction is not None:
            for _ in self.transaction.job or ():
                pass

    def stop(self) -> None:
        """Take back what is half done, and touch the datapath no more: the bridge goes, connections end later."""
        if self.transaction is not None:
            self.transaction.rollback()
        self._stopped = True

    def leave(self, session: Session) -> None:
        """Forget a connection that ended; what it had half done is taken back."""
        if self.transaction is not None and self.transaction.session is session:
            self.transaction.rollback()
        session.bundles.discard_all()
        if session in session.main.auxiliaries:
            session.main.auxiliaries.remove(session)
        if session in self.sessions:
            self.sessions.remove(session)
            self.watch_punts()

    def harvest(self) -> None:
        """Make counters exact up to now."""
        self._datapath.harvest()

    def punt(self, punt: dp.Punt) -> None:
        """Give a packet to the controllers that want it."""
        self.punts += 1
        sender = Sender(punt, self.buffers)
        for session in self.sessions:
            if session.wants(Async.PACKET_IN, punt.reason):
                carrier = session.carrier(punt.in_port)
                if carrier.admits_packet_in():
                    carrier.send(sender.message(session.miss_send_len), 0)

    def release(self, buffer_id: int) -> None:
        """Send a buffered packet through the tables, as packets see them after all so far. OFError."""
        if self.transaction is not None:
            self.buffers.check(buffer_id)
            self.transaction.afterwards(lambda: self._release_late(buffer_id))
        else:
            self.commit()
            self._release(buffer_id)

    def _release_late(self, buffer_id: int) -> None:
        with contextlib.suppress(OFError):  # another message of the same bundle had it
            self._release(buffer_id)

    def _release(self, buffer_id: int) -> None:
        kept = self.buffers.take(buffer_id)
        self.bridge.packet_out(kept.frame, kept.in_port, (dp.output(OFPP.TABLE),))

    def add_port(self, desc: Port, handle: dp.PortHandle) -> None:
        """Take a port that came."""
        self._port_status(OFPPR.ADD, self.ports.add(desc, handle))

    def remove_port(self, number: int) -> None:
        """Forget a port that went."""
        desc = self.ports.remove(number)
        if desc is not None:
            self._port_status(OFPPR.DELETE, desc)

    def change_port(self, desc: Port) -> None:
        """Take the new description of a port (link, address, speed)."""
        new = self.ports.change(desc)
        if new is not None:
            self._port_status(OFPPR.MODIFY, new)

    def modify_port(self, mod: PortMod) -> None:
        """Carry out a port-mod; one of a transaction is only checked, and done at its end."""
        self.ports.check(mod)
        if self.transaction is not None:
            self.transaction.afterwards(lambda: self._modify_port(mod))
        else:
            self._modify_port(mod)

    def _modify_port(self, mod: PortMod) -> None:
        new = self.ports.modify(mod)
        if new is not None:
            self._port_status(OFPPR.MODIFY, new)

    def set_role(self, session: Session, role: int, generation: int | None) -> None:
        """Change a connection's role; a new master makes slaves of the others (6.3.5). OFError STALE.

        There is no generation in OpenFlow 1.0 (None).
        """
        if role in (OFPCR.MASTER, OFPCR.SLAVE) and generation is not None:
            if self.generation is not None and (generation - self.generation) & (
                1 << 63
            ):  # as signed: less than 0
                raise OFError(OFPRRFC.STALE, f"generation {generation} after {self.generation}")
            self.generation = generation
        if role == OFPCR.MASTER:
            for other in self.sessions:
                if other.role == OFPCR.MASTER:
                    other.role = OFPCR.SLAVE
        if role != OFPCR.NOCHANGE:
            session.role = role

    def watch_punts(self) -> None:
        """Have packets whose TTL ran out, or that no entry takes, punted if a connection wants them.

        Call when that may change.
        """
        if self._stopped:
            return
        wanted = any(session.wants(Async.PACKET_IN, OFPR.INVALID_TTL) for session in self.sessions)
        if wanted != self._ttl_punt:
            self._ttl_punt = wanted
            self.bridge.set_ttl_punt(wanted)
        wanted = any(session.wants(Async.PACKET_IN, dp.PUNT_MISS) for session in self.sessions)
        if wanted != self._miss_punt:
            self._miss_punt = wanted
            self.bridge.set_punt_miss(wanted)

    def flush(self) -> None:
        """Remove all flows, groups, meters and table features, telling nobody (ovs-vswitchd.conf.db(5), fail_mode)."""
        self.settle()
        self.flows.flush()
        self.flows.pipeline = WHOLE
        self.groups.flush()
        self.meters.flush()
        self.flows.commit()

    def tick(self) -> None:
        """Expire flow entries and tell removals, end idle bundles. Call some times a second."""
        if self.transaction is not None:
            return
        next_expiry = self.flows.next_expiry()
        now = self.clock()
        if next_expiry is not None and next_expiry <= now:
            self.harvest()
            self.flows.expire(now)
        self.flows.reap()

    def _port_status(self, reason: int, desc: Port) -> None:
        message = PortStatus(reason, desc)
        for session in self.sessions:
            session.tell(Async.PORT_STATUS, reason, message)

    def _flow_removed(self, entry: FlowEntry) -> None:
        assert entry.reason is not None
        sec, nsec = duration(entry.timer - entry.created)
        message = FlowRemoved(
            entry.cookie, entry.priority, entry.reason, entry.table, sec, nsec, entry.idle, entry.hard,
            entry.packets, entry.bytes, entry.match,
        )  # fmt: skip
        for session in self.sessions:
            session.tell(Async.FLOW_REMOVED, entry.reason, message)


def _nobody_waits() -> None:
    pass


def _not_for_a_switch(_agent: Agent, _session: Session, _xid: int, message: Message) -> None:
    raise OFError(OFPBRC.BAD_TYPE, f"{message.__class__.__name__} is not for a switch")


HANDLERS: dict[type[Message], Handler] = {}


def handler(kind: type[Message]) -> Callable[[Handler], Handler]:
    """Register the function below as the handler of a message class."""

    def add(function: Handler) -> Handler:
        HANDLERS[kind] = function
        return function

    return add
