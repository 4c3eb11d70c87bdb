"""Packets for the controllers: a punt of the datapath as OFPT_PACKET_IN (7.4.1).

The length of the data is the max_len of the output action, or, for a packet that no output action sent (an
invalid TTL, a miss in OpenFlow 1.0), the connection's miss_send_len (7.3.2). Unless that is OFPCML_NO_BUFFER the
packet is buffered, and sent whole where there is no room (7.4.1). Thread: control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFP_NO_BUFFER, OFPCML_NO_BUFFER, OFPR
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.messages import PacketIn
from vswitchd.ofproto.oxm import FieldMatch, Match

if TYPE_CHECKING:
    from vswitchd.datapath import dp
    from vswitchd.ofproto.buffers import Buffers

_IN_PORT = BY_NAME["in_port"]
_METADATA = BY_NAME["metadata"]
_TUNNEL_ID = BY_NAME["tunnel_id"]
_BY_ACTION = (OFPR.NO_MATCH, OFPR.ACTION)


class Sender:
    """Makes the packet-ins of one punt, for all the connections that want it."""

    def __init__(self, punt: dp.Punt, buffers: Buffers) -> None:
        self._punt = punt
        self._buffers = buffers
        self._number: int | None = None

    def message(self, miss_send_len: int) -> PacketIn:
        """Build the packet-in for a connection with this miss_send_len."""
        punt = self._punt
        limit = punt.max_len if punt.reason in _BY_ACTION else miss_send_len
        data = punt.data
        number = None if limit == OFPCML_NO_BUFFER else self._buffer()
        if number is not None:
            data = data[:limit]
        fields = [FieldMatch(_IN_PORT, punt.in_port)]
        if punt.metadata:
            fields.append(FieldMatch(_METADATA, punt.metadata))
        if punt.tunnel_id:
            fields.append(FieldMatch(_TUNNEL_ID, punt.tunnel_id))
        return PacketIn(
            OFP_NO_BUFFER if number is None else number, min(punt.total_len, 0xFFFF), punt.reason, punt.table,
            punt.cookie, Match(tuple(fields)), data,
        )  # fmt: skip

    def _buffer(self) -> int | None:
        if self._number is None:
            self._number = self._buffers.put(self._punt.data, self._punt.in_port)
        return self._number
