"""Flow-mods as bytes: few by the project's codec, many of one form by a stencil."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from vswitchd.ofproto.actions import Action, Output
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPFC, OFPP
from vswitchd.ofproto.instructions import ApplyActions, GotoTable, Instruction, WriteMetadata
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.oxm import Match

IP, ARP, TCP, UDP = 0x800, 0x806, 6, 17
Values = dict[str, int | tuple[int, int]]
"""Names of match fields (OXM) to a value, or to value and mask."""
WAYS = ((1, 2), (2, 1))
"""Ports of two guests: from, to."""


def prefix(address: int, length: int) -> tuple[int, int]:
    """Value and mask of an IPv4 prefix."""
    mask = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return address & mask, mask


def rule(
    match: Values,
    *actions: Action,
    priority: int = 100,
    table: int = 0,
    goto: int | None = None,
    metadata: tuple[int, int] | None = None,
) -> FlowMod:
    """Give an entry that applies `actions`, writes metadata and goes on to a table; it drops if it has none of them."""
    instructions: list[Instruction] = []
    if actions:
        instructions.append(ApplyActions(actions))
    if metadata is not None:
        instructions.append(WriteMetadata(*metadata))
    if goto is not None:
        instructions.append(GotoTable(goto))
    return FlowMod(
        priority=priority, table_id=table, match=Match.named(**match), instructions=tuple(instructions)
    )


def encoded(rules: Iterable[FlowMod]) -> list[bytes]:
    """Encode entries."""
    return [encode(one, 0) for one in rules]


def normal() -> FlowMod:
    """Give the entry that lets the switch learn addresses by itself."""
    return rule({}, Output(OFPP.NORMAL), priority=0)


def wires(ports: int) -> list[FlowMod]:
    """Give entries that join port 1 with 2, 3 with 4 and so on, looking at the port alone."""
    return [
        rule({"in_port": port}, Output(port + 1 if port % 2 else port - 1)) for port in range(1, ports + 1)
    ]


def delete(match: Values, *, priority: int = 100, table: int = 0) -> FlowMod:
    """Give the strict deletion of one entry."""
    return replace(rule(match, priority=priority, table=table), command=OFPFC.DELETE_STRICT)


class Stencil:
    """A message in which one 32-bit value changes: a million of them take a second instead of a quarter of a minute.

    `form` gives the message for a value; it must hold it once, as four bytes.
    """

    _SAMPLES = (0x5AC3_0F96, 0xA53C_F069)

    def __init__(self, form: Callable[[int], FlowMod]) -> None:
        first, second = (encode(form(value), 0) for value in self._SAMPLES)
        self._at = first.index(self._SAMPLES[0].to_bytes(4, "big"))
        assert first[: self._at] + second[self._at : self._at + 4] + first[self._at + 4 :] == second, (
            "the value stands in the message more than once"
        )
        self._head, self._tail = first[: self._at], first[self._at + 4 :]

    def __call__(self, values: Iterable[int]) -> Iterator[bytes]:
        """Give the message for each value."""
        return (self._head + value.to_bytes(4, "big") + self._tail for value in values)
