"""The switch's answers to all messages but the multipart ones: one handler each, in agent.HANDLERS.

What changes the switch is refused to a slave (6.3.5). Thread: control.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vswitchd.datapath import dp
from vswitchd.ofproto import dialect
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.action_checks import MAX_PORT, check_groups, check_ports
from vswitchd.ofproto.actions import Group
from vswitchd.ofproto.agent import Agent, Handler, Job, handler
from vswitchd.ofproto.buffers import N_BUFFERS
from vswitchd.ofproto.compile import compile_actions, outputs
from vswitchd.ofproto.constants import (
    OFP_NO_BUFFER,
    OFP_VERSION_10,
    OFPC,
    OFPCR,
    OFPFC,
    OFPP,
    ONF_EXPERIMENTER,
    U64_MAX,
    OFPCFrag,
)
from vswitchd.ofproto.errors import OFPBRC, OFPSCFC, OFError
from vswitchd.ofproto.flow_table import N_TABLES
from vswitchd.ofproto.messages10 import Vendor

if TYPE_CHECKING:
    from vswitchd.ofproto.session import Session

log = logging.getLogger(__name__)

CAPABILITIES = OFPC.FLOW_STATS | OFPC.TABLE_STATS | OFPC.PORT_STATS | OFPC.GROUP_STATS | OFPC.QUEUE_STATS
_MODIFIES = (OFPFC.MODIFY, OFPFC.MODIFY_STRICT)


def not_for_slaves(function: Handler) -> Handler:
    """Refuse a request to a slave."""

    def guarded(agent: Agent, session: Session, xid: int, msg: Any) -> Any:
        if session.role == OFPCR.SLAVE:
            raise OFError(OFPBRC.IS_SLAVE, f"{msg.__class__.__name__} from a slave")
        return function(agent, session, xid, msg)

    return guarded


def unknown_experimenter(experimenter: int, exp_type: int) -> OFError:
    """Return the refusal of a message of an experimenter; those that we know have handlers of their own."""
    if experimenter == ONF_EXPERIMENTER:
        return OFError(OFPBRC.BAD_EXP_TYPE, f"type {exp_type} of the ONF")
    return OFError(OFPBRC.BAD_EXPERIMENTER, f"experimenter {experimenter:#x}")


@handler(m.FeaturesRequest)
def _features(agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    features = m.FeaturesReply(
        agent.identity.datapath_id, N_BUFFERS, N_TABLES, session.auxiliary_id, int(CAPABILITIES)
    )
    ports = [agent.ports.desc(port) for port in agent.ports]
    session.send(dialect.features(features, ports, session.version), xid)


@handler(m.GetConfigRequest)
def _get_config(agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    session.send(m.GetConfigReply(agent.frag_flags, session.miss_send_len), xid)


@handler(m.SetConfig)
def _set_config(agent: Agent, session: Session, _xid: int, msg: Any) -> None:
    if msg.flags not in (OFPCFrag.NORMAL, OFPCFrag.DROP):
        raise OFError(OFPSCFC.BAD_FLAGS, "this switch does not reassemble fragments")
    if session.role != OFPCR.SLAVE and msg.flags != agent.frag_flags:
        agent.frag_flags = msg.flags
        agent.bridge.set_frag_mode(msg.flags == OFPCFrag.DROP)
    session.miss_send_len = msg.miss_send_len
    agent.watch_punts()


@handler(m.FlowMod)
@not_for_slaves
def _flow_mod(agent: Agent, session: Session, _xid: int, msg: Any) -> Job | None:
    old = session.version == OFP_VERSION_10
    if old and msg.command in _MODIFIES and not agent.flows.selects(msg):
        msg = replace(msg, command=int(OFPFC.ADD))  # 1.0.2, 4.6: acts like an addition
    job = agent.flows.apply(msg, afresh=old)  # 1.0.2, 4.6: the old entry goes with its counters
    if msg.buffer_id != OFP_NO_BUFFER and msg.command not in (OFPFC.DELETE, OFPFC.DELETE_STRICT):
        for _ in job or ():
            pass  # before the packet
        job = None
        agent.release(msg.buffer_id)  # as a packet-out to OFPP_TABLE after it (7.3.4.1): the entry stays
    return job


@handler(m.PortMod)
@not_for_slaves
def _port_mod(agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    agent.modify_port(msg)


@handler(m.PacketOut)
@not_for_slaves
def _packet_out(agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    buffered = msg.buffer_id != OFP_NO_BUFFER
    if buffered:
        agent.buffers.check(msg.buffer_id)
    real = 1 <= msg.in_port <= MAX_PORT or msg.in_port == OFPP.LOCAL
    if not (msg.in_port in agent.ports if real else msg.in_port in (OFPP.CONTROLLER, OFPP.ANY)):
        raise OFError(OFPBRC.BAD_PORT, f"in_port {msg.in_port:#x}")
    if not buffered and len(msg.data) < 14:
        raise OFError(OFPBRC.BAD_PACKET, f"a frame of {len(msg.data)} bytes")
    ports = outputs(msg.actions)
    check_ports(ports, packet_out=True)
    groups = frozenset(a.group_id for a in msg.actions if isinstance(a, Group))
    check_groups(groups, agent.groups)
    actions = compile_actions(msg.actions)
    if OFPP.TABLE in ports or groups:
        agent.commit()
    frame = agent.buffers.take(msg.buffer_id).frame if buffered else msg.data
    try:
        agent.bridge.packet_out(frame, msg.in_port, actions)
    except dp.DatapathError as error:
        raise OFError(OFPBRC.BAD_PACKET, str(error)) from None


@handler(m.BarrierRequest)
def _barrier(agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    agent.commit()
    session.send(m.BarrierReply(), xid)


@handler(m.RoleRequest)
def _role(agent: Agent, session: Session, xid: int, msg: Any) -> None:
    agent.set_role(session, msg.role, None if session.version == OFP_VERSION_10 else msg.generation_id)
    agent.watch_punts()
    generation = U64_MAX if agent.generation is None else agent.generation
    session.send(m.RoleReply(session.role, generation), xid)


@handler(m.GetAsyncRequest)
def _get_async(_agent: Agent, session: Session, xid: int, _msg: Any) -> None:
    session.send(session.masks, xid)


@handler(m.SetAsync)
def _set_async(agent: Agent, session: Session, _xid: int, msg: Any) -> None:
    session.set_masks(msg)
    agent.watch_punts()


@handler(m.Experimenter)
def _experimenter(_agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    raise unknown_experimenter(msg.experimenter, msg.exp_type)


@handler(Vendor)
def _vendor(_agent: Agent, _session: Session, _xid: int, msg: Any) -> None:
    raise OFError(OFPBRC.BAD_EXPERIMENTER, f"vendor {msg.vendor:#x}")


@handler(m.Error)
def _error(_agent: Agent, session: Session, _xid: int, msg: Any) -> None:
    log.info("%s sent us an error: %s", session.peer, dialect.error_text(msg, session.version))
