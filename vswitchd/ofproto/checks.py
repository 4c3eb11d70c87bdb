"""Values that no message may have, whatever the state of the switch: codes of *_MOD_FAILED (1.3.5, 7.4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPCR, OFPFC, OFPFF, OFPGC, OFPGT, OFPMC, OFPMF, OFPPC, OFPCFrag
from vswitchd.ofproto.errors import OFPFMFC, OFPGMFC, OFPMMFC, OFPPMFC, OFPRRFC, OFPSCFC, OFError

if TYPE_CHECKING:
    from vswitchd.ofproto.messages import FlowMod, GroupMod, MeterMod, PortMod, RoleRequest, SetConfig

_FLOW_FLAGS = int(
    OFPFF.SEND_FLOW_REM | OFPFF.CHECK_OVERLAP | OFPFF.RESET_COUNTS | OFPFF.NO_PKT_COUNTS | OFPFF.NO_BYT_COUNTS
)
_FLOW_FLAGS_10 = int(OFPFF.SEND_FLOW_REM | OFPFF.CHECK_OVERLAP)
_PORT_CONFIG = int(OFPPC.PORT_DOWN | OFPPC.NO_RECV | OFPPC.NO_FWD | OFPPC.NO_PACKET_IN)
_METER_FLAGS = int(OFPMF.KBPS | OFPMF.PKTPS | OFPMF.BURST | OFPMF.STATS)


def flow_mod(msg: FlowMod) -> None:
    """Check command and flags."""
    if msg.command > OFPFC.DELETE_STRICT:
        raise OFError(OFPFMFC.BAD_COMMAND, f"command {msg.command}")
    if msg.flags & ~_FLOW_FLAGS:
        raise OFError(OFPFMFC.BAD_FLAGS, f"flags {msg.flags:#x}")


def flow_mod10(msg: FlowMod) -> None:
    """Check command and flags of 1.0; it has no code of its own for flags."""
    if msg.command > OFPFC.DELETE_STRICT:
        raise OFError(OFPFMFC.BAD_COMMAND, f"command {msg.command}")
    if msg.flags & ~_FLOW_FLAGS_10:
        raise OFError(OFPFMFC.BAD_FLAGS, f"flags {msg.flags:#x}")


def group_mod(msg: GroupMod) -> None:
    """Check command and, where it counts, type."""
    if msg.command > OFPGC.DELETE:
        raise OFError(OFPGMFC.BAD_COMMAND, f"command {msg.command}")
    if msg.type > OFPGT.FF and msg.command != OFPGC.DELETE:
        raise OFError(OFPGMFC.BAD_TYPE, f"type {msg.type}")


def port_mod(msg: PortMod) -> None:
    """Check the config bits; those in between are 1.0's."""
    if msg.mask & ~_PORT_CONFIG:
        raise OFError(OFPPMFC.BAD_CONFIG, f"config {msg.config:#x}/{msg.mask:#x}")


def meter_mod(msg: MeterMod) -> None:
    """Check command and flags."""
    if msg.command > OFPMC.DELETE:
        raise OFError(OFPMMFC.BAD_COMMAND, f"command {msg.command}")
    both = OFPMF.KBPS | OFPMF.PKTPS
    if msg.flags & ~_METER_FLAGS or msg.flags & both == both:
        raise OFError(OFPMMFC.BAD_FLAGS, f"flags {msg.flags:#x}")


def role(msg: RoleRequest) -> None:
    """Check the role."""
    if msg.role > OFPCR.SLAVE:
        raise OFError(OFPRRFC.BAD_ROLE, f"role {msg.role}")


def set_config(msg: SetConfig) -> None:
    """Check the flags."""
    if msg.flags & ~OFPCFrag.MASK:
        raise OFError(OFPSCFC.BAD_FLAGS, f"flags {msg.flags:#x}")
