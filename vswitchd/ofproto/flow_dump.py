"""Flow statistics encoded straight from the packed entries: a dump of a million flows in seconds (7.3.5.2).

The same bytes as the codec's, which tests compare; but matches come from their shape and packed number, and the
instructions of a program are encoded once. Thread: control.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13, OFPMPF
from vswitchd.ofproto.dialect import express, is_legacy
from vswitchd.ofproto.flow_dump10 import flow10
from vswitchd.ofproto.flow_program import Rewritten
from vswitchd.ofproto.instructions import INSTRUCTIONS
from vswitchd.ofproto.multipart import FlowStatsReply
from vswitchd.ofproto.ports import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vswitchd.ofproto.compile import Program
    from vswitchd.ofproto.flow_store import FlowStore
    from vswitchd.ofproto.flow_table import FlowEntry

PART_BYTES = 32768
"""Length of the messages of a long reply: about 2 ms of encoding each."""
_FLOW = struct.Struct("!HBxIIHHHH4xQQQ")
_U16 = struct.Struct("!H")
_programs: WeakKeyDictionary[Program, bytes] = WeakKeyDictionary()


def dump(
    flows: FlowStore, entries: Iterable[FlowEntry], xid: int, now: float, version: int = OFP_VERSION_13
) -> Iterator[bytes]:
    """Yield the reply messages for those of the entries that still exist; the last one ends the reply."""
    write = _flow10 if version == OFP_VERSION_10 else _flow
    chunks: list[bytes] = []
    size = 0
    for entry in entries:
        if entry.reason is None:
            chunk = write(flows, entry, now)
            if size + len(chunk) > PART_BYTES and chunks:
                yield _message(chunks, xid, OFPMPF.MORE, version)
                chunks, size = [], 0
            chunks.append(chunk)
            size += len(chunk)
    yield _message(chunks, xid, 0, version)


def _message(chunks: list[bytes], xid: int, flags: int, version: int) -> bytes:
    head = encode(FlowStatsReply(flags=flags), xid, version)
    body = b"".join(chunks)
    return head[:2] + _U16.pack(len(head) + len(body)) + head[4:] + body


def _flow(flows: FlowStore, entry: FlowEntry, now: float) -> bytes:
    done = _instructions(entry)
    match = entry.shape.encode(entry.key)
    counters = flows.counters(entry)
    sec, nsec = duration(now - entry.created)
    head = _FLOW.pack(
        _FLOW.size + len(match) + len(done), entry.table, sec, nsec, entry.priority, entry.idle, entry.hard,
        entry.flags, entry.cookie, counters.packets, counters.bytes,
    )  # fmt: skip
    return head + match + done


def _instructions(entry: FlowEntry) -> bytes:
    program = entry.program
    if isinstance(program, Rewritten):
        return program.wire
    done = _programs.get(program)
    if done is None:
        done = INSTRUCTIONS.write(express(program.instructions, OFP_VERSION_13, entry.match), OFP_VERSION_13)
        if not is_legacy(program.instructions):  # how those are said hangs on the match
            _programs[program] = done
    return done


def _flow10(flows: FlowStore, entry: FlowEntry, now: float) -> bytes:
    return flow10(entry, flows.counters(entry), now)
