"""Instructions: what a flow entry does in its table (1.3.5, section 7.2.4), a class and a row each."""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ofproto.actions import ACTIONS, Action
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPIT, U64_MAX
from vswitchd.ofproto.errors import OFPBIC, OFError
from vswitchd.ofproto.wire import Layout, ListOf, Pad, Reader, Rest, Tlv


class Instruction:
    """Any instruction."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GotoTable(Instruction):
    """Go on in a later table."""

    table_id: int


@dataclass(frozen=True, slots=True)
class WriteMetadata(Instruction):
    """metadata = (metadata & ~mask) | (value & mask)."""

    metadata: int
    mask: int = U64_MAX


@dataclass(frozen=True, slots=True)
class WriteActions(Instruction):
    """Merge into the action set."""

    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyActions(Instruction):
    """Do at once, in this order."""

    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class ClearActions(Instruction):
    """Empty the action set."""


@dataclass(frozen=True, slots=True)
class Meter(Instruction):
    """Send through a meter first."""

    meter_id: int


@dataclass(frozen=True, slots=True)
class ExperimenterInstruction(Instruction):
    """An instruction of an experimenter, opaque; data is a multiple of 8 bytes."""

    experimenter: int
    data: bytes = b""


class _Instructions(ListOf):
    """At most one instruction of each type (5.9); 1.3 has no code of its own for a second one."""

    def read(self, rd: Reader) -> tuple[Instruction, ...]:
        """Read instructions to the end."""
        found: tuple[Instruction, ...] = super().read(rd)
        if len(found) > 1:
            kinds = [i.__class__ for i in found if i.__class__ is not ExperimenterInstruction]
            if len(set(kinds)) != len(kinds):
                raise OFError(OFPBIC.UNSUP_INST, "two instructions of one type")
        return found


_V13 = {
    OFPIT.GOTO_TABLE: Layout(GotoTable, "B3x"),
    OFPIT.WRITE_METADATA: Layout(WriteMetadata, "4xQQ"),
    OFPIT.WRITE_ACTIONS: Layout(WriteActions, "4x", ACTIONS),
    OFPIT.APPLY_ACTIONS: Layout(ApplyActions, "4x", ACTIONS),
    OFPIT.CLEAR_ACTIONS: Layout(ClearActions, "4x", Pad(0)),
    OFPIT.METER: Layout(Meter, "I"),
    OFPIT.EXPERIMENTER: Layout(ExperimenterInstruction, "I", Rest()),
}
INSTRUCTIONS = _Instructions(Tlv({OFP_VERSION_13: _V13}, OFPBIC.UNKNOWN_INST, OFPBIC.BAD_LEN))
