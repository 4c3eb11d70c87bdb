"""What a flow-mod's instructions are to the switch as it is now: a program, or a refusal. Thread: control.

A `Rewritten` is a program that differs from another one in values of set-field actions only: its instructions as bytes, and
that other one, about 150 bytes instead of 2 KB. So a million flows may each set fields to something of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.datapath import dp
from vswitchd.ofproto.action_checks import check_consistent, check_groups, check_ports
from vswitchd.ofproto.compile import Program, compile_instructions
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPFC
from vswitchd.ofproto.errors import OFPBIC, OFError
from vswitchd.ofproto.instructions import INSTRUCTIONS
from vswitchd.ofproto.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Container

    from vswitchd.ofproto.instructions import Instruction
    from vswitchd.ofproto.messages import FlowMod
    from vswitchd.ofproto.meters import MeterTable
    from vswitchd.ofproto.pipeline import Pipeline


def program_of(mod: FlowMod, pipeline: Pipeline, groups: Container[int], meters: MeterTable) -> Program:
    """Compile the instructions of an addition or modification; OFError where the switch cannot do them."""
    table_miss = mod.command == OFPFC.ADD and mod.priority == 0 and not mod.match.entries
    program = compile_instructions(mod.instructions, table_miss=table_miss)
    if program.goto is not None and not (mod.table_id < program.goto and program.goto in pipeline):
        raise OFError(OFPBIC.BAD_TABLE_ID, f"goto from table {mod.table_id} to {program.goto}")
    limits = pipeline.limits(mod.table_id)
    if limits is not None:
        limits.check_instructions(mod.instructions, table_miss=table_miss)
        if mod.command == OFPFC.ADD and not table_miss:
            limits.check_match(mod.match)
    check_ports(program.outputs)
    if program.groups:
        check_groups(program.groups, groups)
    if program.meter is not None:
        meters.action(program.meter)
    if program.inconsistent and mod.command == OFPFC.ADD:
        check_consistent(mod.match, program.instructions)
    return program


class Rewritten:
    """See the module; `wire` are the instructions as they stand in a flow-mod of 1.3, in the codec's own form."""

    __slots__ = ("base", "wire")

    def __init__(self, base: Program, wire: bytes) -> None:
        self.base = base
        self.wire = wire

    @property
    def whole(self) -> Program:
        """The program as any other."""
        return compile_instructions(self.instructions)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions, decoded."""
        rd = Reader(self.wire, 0, len(self.wire), OFPBIC.BAD_LEN, OFP_VERSION_13)
        return INSTRUCTIONS.read(rd)

    @property
    def outputs(self) -> frozenset[int]:
        """As Program.outputs."""
        return self.base.outputs

    @property
    def groups(self) -> frozenset[int]:
        """As Program.groups."""
        return self.base.groups

    @property
    def meter(self) -> int | None:
        """As Program.meter."""
        return self.base.meter

    @property
    def uses(self) -> bool:
        """As Program.uses."""
        return self.base.uses


def apply_of(program: Program, meters: MeterTable) -> tuple[dp.Action, ...]:
    """Return what packets meet first: the meter, if there is one (5.9), then the apply-actions. OFError UNKNOWN_METER."""
    return program.apply if program.meter is None else (meters.action(program.meter), *program.apply)
