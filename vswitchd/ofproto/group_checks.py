"""What a group-mod may ask for, apart from which groups there are (6.7, 7.3.4.2): OFError of type OFPGMFC.

As in Open vSwitch: a weight is for SELECT groups only, a bucket of an FF group watches something, and what is
watched is for SELECT and FF groups only. Thread: any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.action_checks import MAX_PORT
from vswitchd.ofproto.constants import OFPG, OFPGT, OFPP
from vswitchd.ofproto.errors import OFPGMFC, OFError

if TYPE_CHECKING:
    from vswitchd.ofproto.messages import GroupMod
    from vswitchd.ofproto.structures import Bucket

MAX_BUCKETS = 256
"""Of one group."""


def watches(bucket: Bucket) -> bool:
    """Whether a bucket's liveness hangs on anything."""
    return bucket.watch_port != OFPP.ANY or bucket.watch_group != OFPG.ANY


def check_buckets(mod: GroupMod) -> None:
    """Check the buckets of a group that is added or modified."""
    if len(mod.buckets) > MAX_BUCKETS:
        raise OFError(OFPGMFC.OUT_OF_BUCKETS, f"{len(mod.buckets)} buckets, at most {MAX_BUCKETS}")
    if mod.type == OFPGT.INDIRECT and len(mod.buckets) != 1:
        raise OFError(OFPGMFC.INVALID_GROUP, "an indirect group has one bucket")
    for bucket in mod.buckets:
        if bucket.weight and mod.type != OFPGT.SELECT:
            raise OFError(OFPGMFC.INVALID_GROUP, "a weight in a group that does not select")
        if mod.type in (OFPGT.ALL, OFPGT.INDIRECT):
            if watches(bucket):
                raise OFError(
                    OFPGMFC.WATCH_UNSUPPORTED, "a group that runs dead buckets, too, watches nothing"
                )
        elif mod.type == OFPGT.FF and not watches(bucket):
            raise OFError(OFPGMFC.INVALID_GROUP, "a bucket for fast failover watches a port or a group")
        port = bucket.watch_port
        if port not in (OFPP.ANY, OFPP.LOCAL) and not 1 <= port <= MAX_PORT:
            raise OFError(OFPGMFC.BAD_WATCH, f"no port has the number {port:#x}")
