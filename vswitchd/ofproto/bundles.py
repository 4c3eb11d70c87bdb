"""The bundles of one connection: messages put aside to be carried out together (ONF extension 230 for 1.3).

Only keeping: `bundle_requests.py` talks to the peer and carries out. All refusals are OFError of type OFPBFC.
Bounded in number here, and in bytes together with all other connections by a `Budget`. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPBF
from vswitchd.ofproto.errors import OFPBFC, OFError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.ofproto.bundle_messages import Bundled, Envelope

MAX_BUNDLES = 16
"""Of one connection."""
IDLE_SECONDS = 10.0
"""What Open vSwitch waits (ovs-vswitchd.conf.db(5), bundle-idle-timeout)."""
MAX_BYTES = 64 * 1024 * 1024
_OVERHEAD = 128
"""What a message counts besides its bytes: decoded ones take memory, and small ones more for their size."""


@dataclass(slots=True)
class Budget:
    """How many bytes all bundles of a switch may still take."""

    left: int = MAX_BYTES


@dataclass(slots=True)
class Bundle:
    """Messages in order. `xid` and `head` are of the request that opened it: an error that it ended has them."""

    number: int
    flags: int
    xid: int
    head: bytes
    touched: float
    closed: bool = False
    messages: list[Bundled | bytearray] = field(default_factory=list)
    """Bytes are flow-mods of known kinds, whole and well-formed."""
    size: int = 0
    envelope: Envelope | None = None
    """What stood around the last message that was decoded: with the same bundle-adds need no other look."""


class Bundles:
    """Open and closed bundles by number. Times in seconds of `clock`."""

    def __init__(self, clock: Callable[[], float], budget: Budget) -> None:
        self._bundles: dict[int, Bundle] = {}
        self._latest: Bundle | None = None
        self._clock = clock
        self._budget = budget

    def __len__(self) -> int:
        return len(self._bundles)

    def open(self, number: int, flags: int, xid: int, head: bytes) -> Bundle:
        """Make a new one. OFError BUNDLE_EXIST, BAD_FLAGS, OUT_OF_BUNDLES."""
        if number in self._bundles:
            raise OFError(OFPBFC.BUNDLE_EXIST, f"bundle {number} is there")
        if flags & ~int(OFPBF.ATOMIC | OFPBF.ORDERED):
            raise OFError(OFPBFC.BAD_FLAGS, f"flags {flags:#x}")
        if len(self._bundles) >= MAX_BUNDLES:
            raise OFError(OFPBFC.OUT_OF_BUNDLES, f"at most {MAX_BUNDLES} bundles")
        bundle = self._bundles[number] = Bundle(number, flags, xid, head, self._clock())
        return bundle

    def add(self, number: int, flags: int, message: Bundled) -> None:
        """Put a message aside; a bundle that is not there is opened (EXT-230). OFError."""
        bundle = self._bundles.get(number)
        if bundle is None:
            bundle = self.open(number, flags, message.xid, message.head)
        elif bundle.closed:
            raise OFError(OFPBFC.BUNDLE_CLOSED, f"bundle {number} is closed")
        _same_flags(bundle, flags)
        size = int.from_bytes(message.head[2:4], "big") + _OVERHEAD
        if size > self._budget.left:
            raise OFError(OFPBFC.MSG_TOO_MANY, f"all bundles together take more than {MAX_BYTES} bytes")
        self._count(bundle, size)
        bundle.messages.append(message)

    def seal(self, number: int, envelope: Envelope | None) -> None:
        """Note what stood around the message that was added just now."""
        bundle = self._bundles.get(number)
        if bundle is not None:
            bundle.envelope = envelope
            self._latest = bundle

    def latest(self) -> Bundle | None:
        """Return the bundle that was added to last, if more may be added with the same envelope."""
        found = self._latest
        usable = found is not None and self._bundles.get(found.number) is found and not found.closed
        return found if usable and found is not None and found.envelope is not None else None

    def room(self, size: int) -> int:
        """Return how many messages of so many bytes altogether may surely be added."""
        return (self._budget.left - size) // _OVERHEAD

    def add_bytes(self, bundle: Bundle, count: int, messages: bytes) -> None:
        """Put so many flow-mods of known kinds aside, for which there is `room()`."""
        self._count(bundle, len(messages) + count * _OVERHEAD)
        if bundle.messages and isinstance(bundle.messages[-1], bytearray):
            bundle.messages[-1] += messages
        else:
            bundle.messages.append(bytearray(messages))

    def _count(self, bundle: Bundle, size: int) -> None:
        self._budget.left -= size
        bundle.size += size
        bundle.touched = self._clock()

    def close(self, number: int, flags: int) -> None:
        """Let nothing more be added. OFError."""
        bundle = self._known(number)
        if bundle.closed:
            raise OFError(OFPBFC.BUNDLE_CLOSED, f"bundle {number} is closed")
        _same_flags(bundle, flags)
        bundle.closed = True
        bundle.touched = self._clock()

    def take(self, number: int, flags: int) -> Bundle:
        """Return one to be carried out; it is forgotten here. OFError, which forgets it as well, or BAD_ID."""
        bundle = self._known(number)
        self.discard(number)
        _same_flags(bundle, flags)
        return bundle

    def discard(self, number: int) -> None:
        """Forget one. OFError BAD_ID."""
        self._budget.left += self._known(number).size
        del self._bundles[number]

    def discard_all(self) -> None:
        """Forget all: the connection is gone."""
        for number in list(self._bundles):
            self.discard(number)

    def expire(self) -> list[Bundle]:
        """Forget and return those that nothing was done with for too long."""
        if not self._bundles:
            return []
        limit = self._clock() - IDLE_SECONDS
        idle = [bundle for bundle in self._bundles.values() if bundle.touched <= limit]
        for bundle in idle:
            self.discard(bundle.number)
        return idle

    def _known(self, number: int) -> Bundle:
        bundle = self._bundles.get(number)
        if bundle is None:
            raise OFError(OFPBFC.BAD_ID, f"there is no bundle {number}")
        return bundle


def _same_flags(bundle: Bundle, flags: int) -> None:
    if flags != bundle.flags:
        raise OFError(OFPBFC.BAD_FLAGS, f"bundle {bundle.number} has flags {bundle.flags:#x}")
