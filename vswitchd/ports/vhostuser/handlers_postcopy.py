"""Handlers of post-copy migration: the guest runs here before its memory has come.

The front-end gets a copy of our userfaultfd (ADVISE); memory that is mapped after LISTEN is told to it by our addresses; when
it is ready for faults there, it confirms, and only then the memory is watched and used. Whoever touches a missing page sleeps until
the front-end has brought it: userfault.h says what that means.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.handling import Context, Handler, Outcome
from vswitchd.ports.vhostuser.memory import Region, Uva
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.state import Memory, Postcopy

if TYPE_CHECKING:
    from collections.abc import Mapping


def listening(c: Context) -> bool:
    """Say whether memory that is mapped now may be missing."""
    return c.state.postcopy is not None and c.state.postcopy.listening


def ours(c: Context, memory: Memory) -> list[Region]:
    """Return the regions with our addresses in place of the front-end's, which wants to know where we fault."""
    pairs = zip(memory.regions, memory.maps, strict=True)
    return [replace(region, uva=Uva(c.device.address(mapping))) for region, mapping in pairs]


def confirm(c: Context) -> Outcome:
    """Watch the memory that the front-end has heard of, and use it."""
    memory, postcopy = c.state.memory, c.state.postcopy
    if postcopy is None or not postcopy.listening:
        raise RequestError("a memory table without regions")
    if memory is None or memory.ready:
        return Outcome(c.state)
    for mapping in memory.maps:
        c.device.watch(postcopy.fd, mapping)
    return Outcome(replace(c.state, memory=_ready(c, memory)))


def _ready(c: Context, memory: Memory) -> Memory:
    return Memory(memory.regions, memory.maps, c.device.table(memory.regions, memory.maps))


def _advise(c: Context) -> Outcome:
    if c.state.postcopy is not None:
        raise RequestError("a second time")
    fault = c.device.userfault()
    try:
        copy = os.dup(fault)
    except OSError as error:
        os.close(fault)
        raise RequestError(f"cannot copy the userfaultfd: {error.strerror}") from None
    return Outcome(replace(c.state, postcopy=Postcopy(fault)), fds=[copy])


def _listen(c: Context) -> Outcome:
    if c.state.postcopy is None:
        raise RequestError("POSTCOPY_ADVISE comes first")
    return Outcome(replace(c.state, postcopy=replace(c.state.postcopy, listening=True)))


def _end(c: Context) -> Outcome:
    """All memory has come."""
    if c.state.postcopy is None:
        raise RequestError("POSTCOPY_ADVISE comes first")
    memory = c.state.memory
    if memory is not None and not memory.ready:
        memory = _ready(c, memory)
    return Outcome(replace(c.state, postcopy=None, memory=memory))


POSTCOPY_HANDLERS: Mapping[Request, Handler] = {
    Request.POSTCOPY_ADVISE: _advise,
    Request.POSTCOPY_LISTEN: _listen,
    Request.POSTCOPY_END: _end,
}
