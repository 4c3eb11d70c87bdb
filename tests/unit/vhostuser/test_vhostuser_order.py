"""What a core may still use is not closed or freed before a grace period has gone by: README, Security model, point 4."""

from __future__ import annotations

import os
import struct

import pytest
from fakes import front_end as fe
from vhostuser_peer import SIZE, Peer

from vswitchd.ports.vhostuser.messages import Request


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("request_", [Request.SET_VRING_CALL, Request.SET_VRING_ERR])
def test_a_descriptor_that_cores_write_to_is_swapped_then_left_then_closed(peer: Peer, request_) -> None:
    peer.start()
    assert peer.tell(request_, fe.u64(0), [peer.eventfd()]) == b""
    name = "call" if request_ is Request.SET_VRING_CALL else "err"
    old = getattr(peer.session.state.ring(0), name)
    peer.device.calls.clear()
    seen = []
    peer.device.grace = lambda: seen.append((peer.device.names(), is_open(old)))
    peer.tell(request_, fe.u64(0), [peer.eventfd()])
    assert seen == [(["set call"], True)]
    assert not is_open(old)
    assert peer.session.running == {0, 1}


@pytest.mark.parametrize("how", ["table", "slot", "reset"])
def test_memory_is_unmapped_when_no_ring_uses_it(peer: Peer, how: str) -> None:
    peer.start()
    kick = peer.session.state.ring(0).kick
    stopped = []
    stop = peer.device.stop

    def stopping(indices):
        """A stop holds a grace period: until it returns, cores look at the rings."""
        stopped.append(is_open(kick))
        return stop(indices)

    peer.device.stop = stopping
    if how == "table":
        peer.tell(Request.SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, SIZE, 1 << 40, 0), [peer.memory])
    elif how == "slot":
        peer.tell(Request.REM_MEM_REG, fe.region(0, SIZE, 0x7F0000000000, 0))
    else:
        peer.session.close()
    assert stopped == [True]
    names = peer.device.names()
    assert names.index("stop") < names.index("free table") < names.index("unmap")
    assert "start" not in names[: names.index("stop")]
