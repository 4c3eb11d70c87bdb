"""What controllers ask of tables: their features, read and written, and table-mod (7.3.3, 7.3.5.5).

A new pipeline comes with the end of the entries of all tables that it changes: one transaction, told to nobody
(7.3.5.5.1). Thread: control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.datapath import dp
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.agent import Agent, Job, handler
from vswitchd.ofproto.codec import encode, encode_parts
from vswitchd.ofproto.constants import OFPCR, OFPTT_ALL
from vswitchd.ofproto.errors import OFP_ERROR_DATA_MIN, OFPBRC, OFPTFFC, OFPTMFC, OFError
from vswitchd.ofproto.pipeline_config import changed, configure
from vswitchd.ofproto.requests import not_for_slaves
from vswitchd.ofproto.stats_requests import PART_BYTES
from vswitchd.ofproto.transaction import Transaction

if TYPE_CHECKING:
    from vswitchd.ofproto.session import Session
    from vswitchd.ofproto.tablefeatures import TableFeatures

_TABLE_CONFIG = 3  # OFPTC_DEPRECATED_MASK: bits that mean nothing in 1.3 and may be set (7.3.3)


@handler(m.TableMod)
@not_for_slaves
def _table_mod(agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    if msg.table_id not in agent.flows.pipeline and msg.table_id != OFPTT_ALL:
        raise OFError(OFPTMFC.BAD_TABLE, f"table {msg.table_id}")
    if msg.config & ~_TABLE_CONFIG:
        raise OFError(OFPTMFC.BAD_CONFIG, f"config {msg.config:#x}")


@handler(mp.TableFeaturesRequest)
def _table_features(agent: Agent, session: Session, xid: int, msg: Any) -> Job | None:
    if msg.entries and session.role == OFPCR.SLAVE:
        raise OFError(OFPBRC.IS_SLAVE, "table features from a slave")
    whole = session.parts.add(xid, msg)
    if whole is None:
        return None
    if not whole.entries:
        return _features(agent, xid)
    transaction = Transaction(agent, session)  # at once: from here on other connections wait
    transaction.job = _change(agent, whole.entries, transaction, msg, xid)
    return transaction.job


def _features(agent: Agent, xid: int) -> Job:
    pipeline = agent.flows.pipeline
    entries = (pipeline.features(table) for table in pipeline)
    return encode_parts(mp.TableFeaturesReply(), xid, entries=entries, limit=PART_BYTES)


def _change(
    agent: Agent, entries: tuple[TableFeatures, ...], transaction: Transaction, msg: Any, xid: int
) -> Job:
    try:
        pipeline = yield from configure(entries)
        tables = yield from changed(agent.flows.pipeline, pipeline)
        yield from agent.flows.clear_tables(tables)
        transaction.commit()
    except dp.DatapathError as error:
        _refuse(transaction, OFError(OFPTFFC.EPERM, str(error)), msg, xid)
        return
    except OFError as error:
        transaction.rollback()
        _refuse(transaction, error, msg, xid)
        return
    agent.flows.pipeline = pipeline
    yield from _features(agent, xid)


def _refuse(transaction: Transaction, error: OFError, msg: Any, xid: int) -> None:
    error.data, error.xid = encode(msg, xid)[:OFP_ERROR_DATA_MIN], xid
    transaction.session.connection.tell_error(error)
