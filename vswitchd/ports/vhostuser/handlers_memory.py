"""Handlers of what is shared in memory: regions, translations, the migration log and the record of chains in flight."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.handlers_postcopy import confirm, listening, ours
from vswitchd.ports.vhostuser.handling import Change, Context, Handler, Outcome
from vswitchd.ports.vhostuser.memory import (
    Iova,
    Region,
    Translation,
    Uva,
    check_regions,
    check_translation,
    invalidated,
)
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.payloads import (
    Confirmed,
    InflightArea,
    IotlbMessage,
    LogArea,
    MemoryTable,
    encode_region,
    encode_regions,
)
from vswitchd.ports.vhostuser.state import MAX_RINGS, Inflight, Log, Memory

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RING_SIZE = 32768
_UPDATE, _INVALIDATE = 2, 3
_TOP = 1 << 64
_MAX_AREA = 1 << 32  # a log for guest addresses up to 128 TB; and no front-end may take all our address space


def _map(c: Context, region: Region, fd: int, done: list[Any]) -> None:
    done.append(c.device.map(region, fd))


def _new_memory(c: Context, kept: Memory | None, regions: tuple[Region, ...]) -> Memory:
    """Map the regions and join them to the kept ones. On failure nothing stays mapped."""
    old_regions, old_maps = ((), ()) if kept is None else (kept.regions, kept.maps)
    check_regions([*old_regions, *regions])
    fresh: list[Any] = []
    try:
        for region, fd in zip(regions, c.frame.fds, strict=True):
            _map(c, region, fd, fresh)
        every, maps = (*old_regions, *regions), (*old_maps, *fresh)
        return Memory(every, maps, c.device.table(every, maps), ready=not listening(c))
    except RequestError:
        for mapping in fresh:
            c.device.unmap(mapping)
        raise


def _set_mem_table(c: Context) -> Outcome:
    if isinstance(c.body, Confirmed):
        return confirm(c)
    assert isinstance(c.body, MemoryTable)
    memory = _new_memory(c, None, c.body.regions)
    answer = encode_regions(ours(c, memory)) if listening(c) else b""
    return Outcome(replace(c.state, memory=memory), payload=answer)


def _add_mem_reg(c: Context) -> Outcome:
    if isinstance(c.body, Confirmed):
        return confirm(c)
    assert isinstance(c.body, Region)
    memory = _new_memory(c, c.state.memory, (c.body,))
    answer = encode_region(ours(c, memory)[-1]) if listening(c) else b""
    return Outcome(replace(c.state, memory=memory), payload=answer)


def _rem_mem_reg(c: Context) -> Outcome:
    if isinstance(c.body, Confirmed):  # QEMU confirms with the last kind of message that it sent
        return confirm(c)
    assert isinstance(c.body, Region)
    old = c.state.memory
    rows = [] if old is None else list(zip(old.regions, old.maps, strict=True))
    left = [(region, mapping) for region, mapping in rows if not region.same_place(c.body)]
    if len(left) == len(rows):
        raise RequestError(f"{c.body} is not in the memory table")
    if not left:
        return Outcome(replace(c.state, memory=None))
    regions, maps = tuple(r for r, _ in left), tuple(m for _, m in left)
    ready = old is None or old.ready
    return Outcome(replace(c.state, memory=Memory(regions, maps, c.device.table(regions, maps), ready)))


def _iotlb(c: Context) -> Outcome:
    """Misses and access failures (1, 4) go the other way: on the back-end channel."""
    body, memory = c.body, c.state.memory
    assert isinstance(body, IotlbMessage)
    if body.kind == _INVALIDATE:
        span = invalidated(body.iova, body.size)
        return Outcome(c.state, change=Change(span, partial(c.device.invalidate, span)))
    if body.kind != _UPDATE:
        raise RequestError(f"message {body.kind} is no update and no invalidation of the IOTLB")
    entry = Translation(Iova(body.iova), body.size, Uva(body.uva), body.perm)
    check_translation(entry)
    if memory is None:
        raise RequestError("a translation before the memory table")
    return Outcome(c.state, change=Change(entry.span, partial(c.device.insert, entry, memory)))


def _check_area(what: str, size: int, offset: int, fd: int) -> None:
    """An area must lie inside its file: past the end of a mapped file there is only SIGBUS."""
    if not 0 < size <= _MAX_AREA or offset + size >= _TOP:
        raise RequestError(f"{what} of {size} bytes at offset {offset:#x}")
    length = os.fstat(fd).st_size
    if offset + size > length:
        raise RequestError(f"{what} of {size} bytes at offset {offset:#x} in a file of {length}")


def _set_log_base(c: Context) -> Outcome:
    assert isinstance(c.body, LogArea)
    fd = c.frame.fds[0]
    _check_area("log", c.body.size, c.body.offset, fd)
    return Outcome(replace(c.state, log=Log(c.device.map_log(c.body, fd))))


def _set_log_fd(c: Context) -> Outcome:
    """Take an eventfd that "may be used" to tell of changes in the log, and close it: QEMU looks by itself."""
    c.device.check_eventfd(c.frame.fds[0])
    return Outcome(c.state)


def _check_inflight(area: InflightArea) -> None:
    if not 1 <= area.queues <= MAX_RINGS or not 1 <= area.queue_size <= MAX_RING_SIZE:
        raise RequestError(f"record of {area.queues} rings of {area.queue_size} descriptors in flight")


def _inflight(c: Context, area: InflightArea, fd: int) -> Inflight:
    return Inflight(area.queues, area.queue_size, c.device.map_inflight(area, fd, c.state.features or 0))


def _get_inflight_fd(c: Context) -> Outcome:
    """Make a record, and use it until another is set: QEMU sends back what it got, after a crash of ours, too."""
    body = c.body
    assert isinstance(body, InflightArea)
    _check_inflight(body)
    fd, size = c.device.make_inflight(body.queues, body.queue_size, c.state.features or 0)
    area = replace(body, size=size, offset=0)
    try:
        state = replace(c.state, inflight=_inflight(c, area, fd))
    except RequestError:
        os.close(fd)
        raise
    return Outcome(state, payload=area.encode(), fds=[fd])


def _set_inflight_fd(c: Context) -> Outcome:
    assert isinstance(c.body, InflightArea)
    fd = c.frame.fds[0]
    _check_inflight(c.body)
    _check_area("record of chains in flight", c.body.size, c.body.offset, fd)
    return Outcome(replace(c.state, inflight=_inflight(c, c.body, fd)))


MEMORY_HANDLERS: Mapping[Request, Handler] = {
    Request.SET_MEM_TABLE: _set_mem_table,
    Request.ADD_MEM_REG: _add_mem_reg,
    Request.REM_MEM_REG: _rem_mem_reg,
    Request.IOTLB_MSG: _iotlb,
    Request.SET_LOG_BASE: _set_log_base,
    Request.SET_LOG_FD: _set_log_fd,
    Request.GET_INFLIGHT_FD: _get_inflight_fd,
    Request.SET_INFLIGHT_FD: _set_inflight_fd,
}
