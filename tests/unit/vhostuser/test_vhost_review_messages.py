"""What a careless front-end may ask for, as a review found it: each shown once."""

from __future__ import annotations

import os

from fakes import front_end as fe
from vhostuser_peer import SIZE

from vswitchd.ports.vhostuser.memory import MAX_MEMORY
from vswitchd.ports.vhostuser.messages import Request


def test_no_front_end_takes_all_our_addresses(peer) -> None:
    """A sparse file costs nothing, its mapping does: two front-ends could leave the switch without memory."""
    peer.start()
    sparse = os.memfd_create("sparse")
    os.ftruncate(sparse, 2 * MAX_MEMORY)
    state = peer.session.state
    far = 1 << 46
    assert peer.result(Request.ADD_MEM_REG, fe.region(far, MAX_MEMORY, far, 0), [sparse]) == 1
    assert peer.session.state == state
    assert peer.result(Request.ADD_MEM_REG, fe.region(far, MAX_MEMORY - SIZE, far, 0), [sparse]) == 0
    assert peer.result(Request.SET_LOG_BASE, fe.log_area((1 << 32) + 8), [sparse]) == 1
    assert peer.result(Request.SET_LOG_BASE, fe.log_area(1 << 32), [sparse]) == 0
    os.close(sparse)
