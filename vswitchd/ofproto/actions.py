"""Actions: what is done to a packet (1.3.5, section 7.2.5), one dataclass and one row of the table each."""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto.constants import OFP_VERSION_13, OFPAT, OFPCML_NO_BUFFER
from vswitchd.ofproto.errors import OFPBAC, OFPBMC, EncodeError, OFError
from vswitchd.ofproto.fields import ETH_MPLS, ETH_MPLS_MC, ETH_PBB, ETH_QINQ, ETH_VLAN, Field
from vswitchd.ofproto.oxm import FieldMatch, read_oxm, write_oxm
from vswitchd.ofproto.wire import Layout, ListOf, Reader, Rest, Tlv, TypedCodec


class Action:
    """Any action."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Output(Action):
    """Send to a port (OFPP for the reserved ones); max_len bytes of it where that is the controller."""

    port: int
    max_len: int = OFPCML_NO_BUFFER


@dataclass(frozen=True, slots=True)
class CopyTtlOut(Action):
    """Copy the TTL from the next-to-outermost to the outermost header."""


@dataclass(frozen=True, slots=True)
class CopyTtlIn(Action):
    """Copy the TTL from the outermost to the next-to-outermost header."""


@dataclass(frozen=True, slots=True)
class SetMplsTtl(Action):
    """Set the TTL of the outermost MPLS label."""

    ttl: int


@dataclass(frozen=True, slots=True)
class DecMplsTtl(Action):
    """Decrement the TTL of the outermost MPLS label."""


@dataclass(frozen=True, slots=True)
class PushVlan(Action):
    """Push a VLAN tag with this ethertype (0x8100 or 0x88a8)."""

    ethertype: int


@dataclass(frozen=True, slots=True)
class PopVlan(Action):
    """Remove the outermost VLAN tag."""


@dataclass(frozen=True, slots=True)
class PushMpls(Action):
    """Push an MPLS label with this ethertype (0x8847 or 0x8848)."""

    ethertype: int


@dataclass(frozen=True, slots=True)
class PopMpls(Action):
    """Remove the outermost MPLS label; ethertype is that of what remains."""

    ethertype: int


@dataclass(frozen=True, slots=True)
class SetQueue(Action):
    """Choose the queue of later outputs."""

    queue_id: int


@dataclass(frozen=True, slots=True)
class Group(Action):
    """Process by a group."""

    group_id: int


@dataclass(frozen=True, slots=True)
class SetNwTtl(Action):
    """Set the IP TTL or hop limit."""

    ttl: int


@dataclass(frozen=True, slots=True)
class DecNwTtl(Action):
    """Decrement the IP TTL or hop limit; at zero the packet is sent to the controller or dropped."""


@dataclass(frozen=True, slots=True)
class SetField(Action):
    """Set a header field. `mask` is a seat for OpenFlow 1.5; 1.3 cannot carry it."""

    field: Field
    value: int
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class PushPbb(Action):
    """Push a PBB service tag with this ethertype (0x88e7)."""

    ethertype: int


@dataclass(frozen=True, slots=True)
class PopPbb(Action):
    """Remove the outermost PBB service tag."""


@dataclass(frozen=True, slots=True)
class ExperimenterAction(Action):
    """An action of an experimenter, opaque; data is a multiple of 8 bytes."""

    experimenter: int
    data: bytes = b""


class _SetField:
    """The layout of set-field: one OXM, padded to 8 bytes."""

    cls = SetField

    def read(self, rd: Reader) -> SetField:
        """Read it; every fault is one of BAD_ACTION."""
        try:
            row, value, mask = read_oxm(rd)
        except OFError as error:
            code = OFPBAC.BAD_SET_LEN if error.code is OFPBMC.BAD_LEN else OFPBAC.BAD_SET_TYPE
            raise OFError(error.code if isinstance(error.code, OFPBAC) else code, error.detail) from None
        if not row.settable:
            raise OFError(OFPBAC.BAD_SET_TYPE, f"{row.name} cannot be set")
        if mask is not None:
            raise OFError(OFPBAC.BAD_SET_ARGUMENT, "a mask in set_field")
        if value >> row.bits:
            raise OFError(OFPBAC.BAD_SET_ARGUMENT, f"{row.name}={value:#x} has more than {row.bits} bits")
        if rd.end - rd.pos >= 8:
            raise OFError(OFPBAC.BAD_SET_LEN, f"{rd.end - rd.pos} bytes after {row.name}")
        rd.pos = rd.end
        return SetField(row, value)

    def write(self, value: SetField, version: int) -> bytes:
        """Write it."""
        if value.mask is not None:
            raise EncodeError("set_field with a mask needs OpenFlow 1.5")
        body = write_oxm(FieldMatch(value.field, value.value), version)
        return body + bytes(-(4 + len(body)) % 8)


class _Ethertype(Layout):
    """The layout of a push: only some ethertypes are meant."""

    def __init__(self, cls: type[Action], *allowed: int) -> None:
        super().__init__(cls, "H2x")
        self.allowed = allowed

    def read(self, rd: Reader, **_more: object) -> Action:
        """Read it and check the ethertype."""
        (ethertype,) = rd.unpack(self.fixed)
        if ethertype not in self.allowed:
            raise OFError(OFPBAC.BAD_ARGUMENT, f"{self.cls.__name__} with ethertype {ethertype:#06x}")
        action: Action = self.cls(ethertype)
        return action


_V13: dict[int, TypedCodec] = {
    OFPAT.OUTPUT: Layout(Output, "IH6x"),
    OFPAT.COPY_TTL_OUT: Layout(CopyTtlOut, "4x"),
    OFPAT.COPY_TTL_IN: Layout(CopyTtlIn, "4x"),
    OFPAT.SET_MPLS_TTL: Layout(SetMplsTtl, "B3x"),
    OFPAT.DEC_MPLS_TTL: Layout(DecMplsTtl, "4x"),
    OFPAT.PUSH_VLAN: _Ethertype(PushVlan, ETH_VLAN, ETH_QINQ),
    OFPAT.POP_VLAN: Layout(PopVlan, "4x"),
    OFPAT.PUSH_MPLS: _Ethertype(PushMpls, ETH_MPLS, ETH_MPLS_MC),
    OFPAT.POP_MPLS: Layout(PopMpls, "H2x"),
    OFPAT.SET_QUEUE: Layout(SetQueue, "I"),
    OFPAT.GROUP: Layout(Group, "I"),
    OFPAT.SET_NW_TTL: Layout(SetNwTtl, "B3x"),
    OFPAT.DEC_NW_TTL: Layout(DecNwTtl, "4x"),
    OFPAT.SET_FIELD: _SetField(),
    OFPAT.PUSH_PBB: _Ethertype(PushPbb, ETH_PBB),
    OFPAT.POP_PBB: Layout(PopPbb, "4x"),
    OFPAT.EXPERIMENTER: Layout(ExperimenterAction, "I", Rest()),
}
ACTION = Tlv({OFP_VERSION_13: _V13}, OFPBAC.BAD_TYPE, OFPBAC.BAD_LEN)
"""Any action; actions10.py adds the rows of 1.0."""
ACTIONS = ListOf(ACTION)
