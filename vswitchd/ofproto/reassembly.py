"""Multipart requests that come in several messages, joined (7.3.5): one at a time for a connection, and bounded.

The parts of a request have one xid and OFPMPF_REQ_MORE in all but the last; other messages may come between
them. Thread: control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.ofproto.codec import join
from vswitchd.ofproto.constants import OFPMPF
from vswitchd.ofproto.errors import OFPBRC, OFError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.multipart import TableFeaturesRequest

MAX_PARTS = 32
"""Of at most 65535 bytes each; the features of 254 tables take about 400 KiB."""
PATIENCE_SECONDS = 10.0
"""After this time a request that was not ended gives way to another."""


class Reassembly:
    """What came of a request so far."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._xid = 0
        self._parts: list[TableFeaturesRequest] = []
        self._heard = 0.0

    def add(self, xid: int, part: TableFeaturesRequest) -> TableFeaturesRequest | None:
        """Take a message; return the request if that was its last one. OFError MULTIPART_BUFFER_OVERFLOW."""
        if self._parts and xid == self._xid:
            if len(self._parts) >= MAX_PARTS:
                self._parts = []
                raise OFError(OFPBRC.MULTIPART_BUFFER_OVERFLOW, f"a request of more than {MAX_PARTS} parts")
            self._parts.append(part)
        elif not part.flags & OFPMPF.MORE:
            return part
        elif self._parts and self._clock() - self._heard < PATIENCE_SECONDS:
            raise OFError(OFPBRC.MULTIPART_BUFFER_OVERFLOW, f"request {self._xid:#x} is not at its end")
        else:
            self._xid, self._parts = xid, [part]
        self._heard = self._clock()
        if part.flags & OFPMPF.MORE:
            return None
        whole, self._parts = join(self._parts), []
        return whole
