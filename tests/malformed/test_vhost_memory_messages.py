"""Malformed vhost-user messages about memory and descriptors: regions, files that are no memory, eventfds that are none."""

import os
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from fakes import front_end as fe
from fakes.vhost_victim import (
    BASE,
    SIZE,
    other_file,
    refused_both_ways,
    valid_payload,
)

from vswitchd.ports.vhostuser.messages import TABLE, Request

TOP = 2**64
BAD_REGIONS = {
    "empty": [(0, 0, BASE, 0)],
    "guest wraps": [(TOP - 4096, SIZE, BASE, 0)],
    "guest ends at the top": [(TOP - SIZE, SIZE, BASE, 0)],
    "user wraps": [(0, SIZE, TOP - 4096, 0)],
    "file wraps": [(0, SIZE, BASE, TOP - 4096)],
    "size of everything": [(0, TOP - 1, BASE, 0)],
    "longer than the file": [(0, SIZE + 1, BASE, 0)],
    "behind the file": [(0, 4096, BASE, SIZE)],
    "offset past the file": [(0, SIZE, BASE, 4096)],
    "same twice": [(0, 4096, BASE, 0)] * 2,
    "guest overlap by a byte": [(0, 4096, BASE, 0), (4095, 4096, BASE + 8192, 0)],
    "user overlap by a byte": [(0, 4096, BASE, 0), (8192, 4096, BASE + 4095, 0)],
    "one inside another": [(0, 65536, BASE, 0), (4096, 4096, 1 << 40, 0)],
    "second one bad": [(0, 4096, BASE, 0), (8192, SIZE + 1, BASE + SIZE, 0)],
}


@pytest.mark.parametrize("rows", BAD_REGIONS.values(), ids=BAD_REGIONS)
def test_bad_regions(victim, rows):
    """CVE-2020-10722 was a wrapped offset + size; CVE-2018-1059 and others, regions longer than their file."""
    fields = [struct.pack("=QQQQ", gpa, size, uva, offset) for gpa, size, uva, offset in rows]
    payload = struct.pack("=II", len(rows), 0) + b"".join(fields)
    fds = [victim.guest.regions[0].fd] * len(rows)
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], payload, fds)
    gpa, size, uva, offset = rows[-1]
    if len(rows) == 1:
        victim.feed(fe.message(Request.REM_MEM_REG, fe.region(0, SIZE, BASE, 0)))
        refused_both_ways(victim, TABLE[Request.ADD_MEM_REG], fe.region(gpa, size, uva, offset), fds[:1])


@pytest.mark.parametrize("count", [0, 33, 255, 2**32 - 1])
def test_bad_region_count(victim, count):
    payload = struct.pack("=II", count, 0) + valid_payload(TABLE[Request.SET_MEM_TABLE])[8:]
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], payload, [victim.guest.regions[0].fd])


def test_the_33rd_slot(victim):
    fd = victim.guest.regions[0].fd
    for i in range(31):
        victim.feed(
            fe.message(Request.ADD_MEM_REG, fe.region(2**40 + i * 4096, 4096, 2**41 + i * 4096, 0)), [fd]
        )
    refused_both_ways(victim, TABLE[Request.ADD_MEM_REG], fe.region(2**42, 4096, 2**43, 0), [fd])


@pytest.mark.parametrize("kind", ["pipe", "null", "socket", "directory"])
def test_memory_that_is_no_memory(victim, kind):
    fd = other_file(kind)
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], valid_payload(TABLE[Request.SET_MEM_TABLE]), [fd])
    os.close(fd)


@pytest.mark.parametrize("kind", ["pipe", "null", "socket", "directory", "memory"])
@pytest.mark.parametrize(
    "request_", [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR, Request.SET_LOG_FD]
)
def test_events_that_are_no_eventfd(victim, request_, kind):
    """A core writes to it: it must never block, nor be a file that grows."""
    fd = other_file(kind)
    refused_both_ways(victim, TABLE[request_], valid_payload(TABLE[request_]), [fd])
    os.close(fd)


def test_memory_that_may_not_be_written(victim):
    fd = os.open(f"/proc/self/fd/{victim.guest.regions[0].fd}", os.O_RDONLY)
    refused_both_ways(victim, TABLE[Request.SET_MEM_TABLE], valid_payload(TABLE[Request.SET_MEM_TABLE]), [fd])
    os.close(fd)


def test_eventfds_are_set_not_to_block(victim):
    assert not os.get_blocking(victim.events[0][0])
    assert not os.get_blocking(victim.events[1][1])
