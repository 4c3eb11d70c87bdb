"""Packets for the controllers: a punt of the datapath as OFPT_PACKET_IN (7.4.1).

This switch buffers no packets: buffer_id is OFP_NO_BUFFER. The length of the data is the max_len of the
output action, or, for a packet that no output action sent (an invalid TTL), the connection's miss_send_len
(7.3.2). Thread: control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFP_NO_BUFFER, OFPCML_NO_BUFFER, OFPR
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.messages import PacketIn
from vswitchd.ofproto.oxm import FieldMatch, Match

if TYPE_CHECKING:
    from vswitchd.datapath import dp

_IN_PORT = BY_NAME["in_port"]
_METADATA = BY_NAME["metadata"]


def packet_in(punt: dp.Punt, miss_send_len: int) -> PacketIn:
    """Build the packet-in for a connection with this miss_send_len."""
    limit = miss_send_len if punt.reason == OFPR.INVALID_TTL else punt.max_len
    fields = [FieldMatch(_IN_PORT, punt.in_port)]
    if punt.metadata:
        fields.append(FieldMatch(_METADATA, punt.metadata))
    return PacketIn(
        OFP_NO_BUFFER,
        min(punt.total_len, 0xFFFF),
        punt.reason,
        punt.table,
        punt.cookie,
        Match(tuple(fields)),
        punt.data if limit == OFPCML_NO_BUFFER else punt.data[:limit],
    )
