"""Actions of OpenFlow 1.0 (1.0.2, section 5.2.4), a class and a row each.

They are classes of their own where they mean something that no action of 1.3 does: they leave a packet without the
header as it is, set_vlan_* add a tag where there is none, set_tp_* set the port of TCP as well as of UDP, enqueue
chooses a queue for one output. Output and an experimenter's action are those of 1.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto.actions import ACTION, Action, ExperimenterAction, Output
from vswitchd.ofproto.constants import OFP_VERSION_10, OFPP
from vswitchd.ofproto.constants10 import OFPAT10
from vswitchd.ofproto.errors import OFPBAC, OFError
from vswitchd.ofproto.wire import Layout, Reader, Rest, TypedCodec
from vswitchd.ofproto.wire10 import PORT16, Columns, Convert, Recast


@dataclass(frozen=True, slots=True)
class SetVlanVid(Action):
    """Set the VLAN id of the outermost tag; a packet without a tag gets one of priority 0."""

    vlan_vid: int


@dataclass(frozen=True, slots=True)
class SetVlanPcp(Action):
    """Set the priority of the outermost tag; a packet without a tag gets one of VLAN id 0."""

    vlan_pcp: int


@dataclass(frozen=True, slots=True)
class StripVlan(Action):
    """Remove the outermost tag, if there is one."""


@dataclass(frozen=True, slots=True)
class SetDlSrc(Action):
    """Set the Ethernet source (a number of 48 bits)."""

    dl_addr: int


@dataclass(frozen=True, slots=True)
class SetDlDst(Action):
    """Set the Ethernet destination (a number of 48 bits)."""

    dl_addr: int


@dataclass(frozen=True, slots=True)
class SetNwSrc(Action):
    """Set the IPv4 source."""

    nw_addr: int


@dataclass(frozen=True, slots=True)
class SetNwDst(Action):
    """Set the IPv4 destination."""

    nw_addr: int


@dataclass(frozen=True, slots=True)
class SetNwTos(Action):
    """Set the DSCP; nw_tos has it in its upper six bits."""

    nw_tos: int


@dataclass(frozen=True, slots=True)
class SetTpSrc(Action):
    """Set the source port of TCP or UDP."""

    tp_port: int


@dataclass(frozen=True, slots=True)
class SetTpDst(Action):
    """Set the destination port of TCP or UDP."""

    tp_port: int


@dataclass(frozen=True, slots=True)
class Enqueue(Action):
    """Send to a port through one of its queues."""

    port: int
    queue_id: int


class _Checked(Layout):
    """A layout whose number has only some bits."""

    def __init__(self, cls: type[Action], fmt: str, bits: int) -> None:
        super().__init__(cls, fmt)
        self.bits = bits

    def read(self, rd: Reader, **_more: object) -> Action:
        """Read it; BAD_ARGUMENT where other bits are set."""
        (value,) = rd.unpack(self.fixed)
        if value & ~self.bits:
            raise OFError(OFPBAC.BAD_ARGUMENT, f"{self.cls.__name__} of {value}")
        action: Action = self.cls(value)
        return action


class _Enqueue(Recast):
    """The layout of enqueue: real ports and OFPP_IN_PORT have queues (5.2.4)."""

    def read(self, rd: Reader, **_more: object) -> Action:
        """Read it; BAD_OUT_PORT for a reserved port."""
        action: Enqueue = super().read(rd)
        if action.port >= OFPP.MAX and action.port not in (OFPP.IN_PORT, OFPP.LOCAL):
            raise OFError(OFPBAC.BAD_OUT_PORT, f"enqueue to port {action.port:#x}")
        return action


_MAC = Convert(lambda data: int.from_bytes(data, "big"), lambda value: value.to_bytes(6, "big"))


def _mac(cls: type[Action]) -> Recast:
    return Recast(cls, Columns("6s6x", "dl_addr", convert={"dl_addr": _MAC}))


_V10: dict[int, TypedCodec] = {
    OFPAT10.OUTPUT: Recast(Output, Columns("HH", "port", "max_len", convert={"port": PORT16})),
    OFPAT10.SET_VLAN_VID: _Checked(SetVlanVid, "H2x", 0xFFF),
    OFPAT10.SET_VLAN_PCP: _Checked(SetVlanPcp, "B3x", 7),
    OFPAT10.STRIP_VLAN: Layout(StripVlan, "4x"),
    OFPAT10.SET_DL_SRC: _mac(SetDlSrc),
    OFPAT10.SET_DL_DST: _mac(SetDlDst),
    OFPAT10.SET_NW_SRC: Layout(SetNwSrc, "I"),
    OFPAT10.SET_NW_DST: Layout(SetNwDst, "I"),
    OFPAT10.SET_NW_TOS: _Checked(SetNwTos, "B3x", 0xFC),
    OFPAT10.SET_TP_SRC: Layout(SetTpSrc, "H2x"),
    OFPAT10.SET_TP_DST: Layout(SetTpDst, "H2x"),
    OFPAT10.ENQUEUE: _Enqueue(Enqueue, Columns("H6xI", "port", "queue_id", convert={"port": PORT16})),
    OFPAT10.VENDOR: Layout(ExperimenterAction, "I", Rest()),
}
ACTION.add(OFP_VERSION_10, _V10)
ACTIONS_10 = sum(1 << kind for kind in _V10 if kind != OFPAT10.VENDOR)
"""The bits of features_reply.actions."""
