"""Bundles as a peer asks for them: open, add, close, commit, discard (ONF extension 230), in agent.HANDLERS.

A commit is a job: the messages are carried out in slices within one transaction, in their order, whatever the
flags ask for; so every bundle is atomic and ordered. Thread: control.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from vswitchd.datapath import dp
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.agent import HANDLERS, Agent, Job, handler
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import decode, encode, frame
from vswitchd.ofproto.constants import OFPBCT
from vswitchd.ofproto.errors import OFP_ERROR_DATA_MIN, OFPBFC, OFError
from vswitchd.ofproto.requests import not_for_slaves
from vswitchd.ofproto.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.ofproto.bundles import Bundle
    from vswitchd.ofproto.session import Session

log = logging.getLogger(__name__)

BUNDLED = (m.FlowMod, m.GroupMod, m.MeterMod, m.PortMod)
"""What a bundle may hold."""
_TURN = 20
"""Messages that are carried out between two turns of others: about 2 ms."""


@handler(BundleControl)
@not_for_slaves
def _control(agent: Agent, session: Session, xid: int, msg: Any) -> Job | None:
    bundles, head = session.bundles, encode(msg, xid)[:OFP_ERROR_DATA_MIN]
    if msg.type == OFPBCT.COMMIT_REQUEST:
        return _commit(agent, session, bundles.take(msg.bundle_id, msg.flags), xid, head)
    if msg.type == OFPBCT.OPEN_REQUEST:
        bundles.open(msg.bundle_id, msg.flags, xid, head)
    elif msg.type == OFPBCT.CLOSE_REQUEST:
        bundles.close(msg.bundle_id, msg.flags)
    elif msg.type == OFPBCT.DISCARD_REQUEST:
        bundles.discard(msg.bundle_id)
    else:
        raise OFError(OFPBFC.BAD_TYPE, f"bundle control type {msg.type}")
    session.send(BundleControl(msg.bundle_id, msg.type + 1, msg.flags), xid)
    return None


@handler(BundleAdd)
@not_for_slaves
def _add(_agent: Agent, session: Session, _xid: int, msg: Any) -> None:
    if not isinstance(msg.bundled.message, BUNDLED):
        raise OFError(OFPBFC.MSG_UNSUP, f"{msg.bundled.message.__class__.__name__} in a bundle")
    session.bundles.add(msg.bundle_id, msg.flags, msg.bundled)


def _commit(agent: Agent, session: Session, bundle: Bundle, xid: int, head: bytes) -> Job:
    """Begin at once: from here on other connections wait."""
    transaction = Transaction(agent, session)
    transaction.job = _carry_out(
        agent, session, bundle, transaction, partial(_end, session, bundle, xid, head)
    )
    return transaction.job


def _carry_out(agent: Agent, session: Session, bundle: Bundle, transaction: Transaction, end: Any) -> Job:
    for done, item in enumerate(_items(agent, session, bundle), 1):
        try:
            if item is not None:
                for _ in HANDLERS[item.message.__class__](agent, session, item.xid, item.message) or ():
                    yield b""
        except OFError as error:
            while agent.flows.take_back_some():
                yield b""
            transaction.rollback()
            assert item is not None
            error.xid, error.data = item.xid, item.head
            end(
                error, OFError(OFPBFC.MSG_FAILED, f"message {item.xid:#x} of bundle {bundle.number}: {error}")
            )
            return
        if item is None or done % _TURN == 0:
            yield b""
    try:
        transaction.commit()
    except dp.DatapathError as error:
        end(OFError(OFPBFC.UNKNOWN, str(error)))
        return
    end()


def _items(agent: Agent, session: Session, bundle: Bundle) -> Iterator[Bundled | None]:
    """Yield in their order the messages that are to be carried out; None after a run of flow-mods that was carried out here."""
    for item in bundle.messages:
        if isinstance(item, Bundled):
            yield item
            continue
        while item:
            size = agent.run.take(item, session.version)
            if size:
                del item[:size]
                yield None
            else:
                length = frame(item)
                data = bytes(item[:length])
                del item[:length]
                xid, message = decode(data, session.version)
                yield Bundled(xid, message, data[:OFP_ERROR_DATA_MIN])
                assert isinstance(message, m.FlowMod)
                agent.run.learn(data, message, session.version)


def _end(session: Session, bundle: Bundle, xid: int, head: bytes, *errors: OFError) -> None:
    """Answer a commit: with the error of a message, if there is one, and then that of all."""
    if not errors:
        session.send(BundleControl(bundle.number, OFPBCT.COMMIT_REPLY, bundle.flags), xid)
        return
    errors[-1].xid, errors[-1].data = xid, head
    for error in errors:
        log.debug("%s: %s", session.peer, error)
        session.connection.tell_error(error)


def expire(session: Session) -> None:
    """End a connection's bundles that nothing was done with for too long, and tell it."""
    for bundle in session.bundles.expire():
        error = OFError(OFPBFC.TIMEOUT, f"bundle {bundle.number} was idle", bundle.head, bundle.xid)
        log.info("%s: %s", session.peer, error)
        session.connection.tell_error(error)
