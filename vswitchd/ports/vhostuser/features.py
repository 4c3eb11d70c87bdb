"""Feature bits of virtio-net (VIRTIO 1.2, 5.1.3 and 6) and of vhost-user, what needs what, and what we offer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Virtio(IntEnum):
    """Device feature bits that the switch knows. HASH_REPORT and RSS are left out on purpose: cores, not rings, spread."""

    CSUM = 0
    GUEST_CSUM = 1
    MTU = 3
    GUEST_TSO4 = 7
    GUEST_TSO6 = 8
    GUEST_ECN = 9
    GUEST_UFO = 10
    HOST_TSO4 = 11
    HOST_TSO6 = 12
    HOST_ECN = 13
    HOST_UFO = 14
    MRG_RXBUF = 15
    STATUS = 16
    CTRL_VQ = 17
    CTRL_RX = 18
    CTRL_VLAN = 19
    GUEST_ANNOUNCE = 21
    MQ = 22
    CTRL_MAC_ADDR = 23
    LOG_ALL = 26
    """Not a virtio feature: vhost logs the pages it writes (VHOST_F_LOG_ALL), for migration."""
    ANY_LAYOUT = 27
    INDIRECT_DESC = 28
    EVENT_IDX = 29
    PROTOCOL_FEATURES = 30
    """Not a virtio feature: vhost-user uses the bit to announce protocol features."""
    VERSION_1 = 32
    ACCESS_PLATFORM = 33
    RING_PACKED = 34
    IN_ORDER = 35
    """Chains are given back in the order in which they were taken, always: vring.h. Drivers need fewer lookups then."""
    GUEST_USO4 = 54
    GUEST_USO6 = 55
    HOST_USO = 56


class Protocol(IntEnum):
    """Protocol feature bits (vhost-user, Protocol features)."""

    MQ = 0
    LOG_SHMFD = 1
    RARP = 2
    REPLY_ACK = 3
    NET_MTU = 4
    BACKEND_REQ = 5
    CROSS_ENDIAN = 6
    CRYPTO_SESSION = 7
    PAGEFAULT = 8
    CONFIG = 9
    BACKEND_SEND_FD = 10
    HOST_NOTIFIER = 11
    INFLIGHT_SHMFD = 12
    RESET_DEVICE = 13
    INBAND_NOTIFICATIONS = 14
    CONFIGURE_MEM_SLOTS = 15
    STATUS = 16
    XEN_MMAP = 17
    SHARED_OBJECT = 18
    DEVICE_STATE = 19
    GET_VRING_BASE_INFLIGHT = 20


Bit = Virtio | Protocol
MAX_PAIRS = 64  # VS_VHOST_PAIRS


def mask(*bits: int) -> int:
    """Return the word that has these bits set."""
    return sum(1 << bit for bit in bits)


def has(word: int, bit: int) -> bool:
    """Say whether the bit is set."""
    return bool(word >> bit & 1)


# What a feature is worth nothing without; where there are several, one is enough. Two tables, as IntEnums that are equal as
# numbers are one key.
_VIRTIO_NEEDS: dict[Virtio, tuple[Bit, ...]] = {
    # VIRTIO 1.2, 5.1.3.1
    Virtio.GUEST_TSO4: (Virtio.GUEST_CSUM,),
    Virtio.GUEST_TSO6: (Virtio.GUEST_CSUM,),
    Virtio.GUEST_ECN: (Virtio.GUEST_TSO4, Virtio.GUEST_TSO6),
    Virtio.GUEST_UFO: (Virtio.GUEST_CSUM,),
    Virtio.GUEST_USO4: (Virtio.GUEST_CSUM,),
    Virtio.GUEST_USO6: (Virtio.GUEST_CSUM,),
    Virtio.HOST_TSO4: (Virtio.CSUM,),
    Virtio.HOST_TSO6: (Virtio.CSUM,),
    Virtio.HOST_ECN: (Virtio.HOST_TSO4, Virtio.HOST_TSO6),
    Virtio.HOST_UFO: (Virtio.CSUM,),
    Virtio.HOST_USO: (Virtio.CSUM,),
    Virtio.CTRL_RX: (Virtio.CTRL_VQ,),
    Virtio.CTRL_VLAN: (Virtio.CTRL_VQ,),
    Virtio.CTRL_MAC_ADDR: (Virtio.CTRL_VQ,),
    Virtio.GUEST_ANNOUNCE: (Virtio.CTRL_VQ,),
    Virtio.MQ: (Virtio.CTRL_VQ,),
    # VIRTIO 1.2, 6: a legacy driver sees 32 bits.
    Virtio.RING_PACKED: (Virtio.VERSION_1,),
    Virtio.IN_ORDER: (Virtio.VERSION_1,),
    # vhost-user: a miss is a message on the back-end channel; QEMU migrates with a log in shared memory only.
    Virtio.ACCESS_PLATFORM: (Protocol.BACKEND_REQ,),
    Virtio.LOG_ALL: (Protocol.LOG_SHMFD,),
}
_PROTOCOL_NEEDS: dict[Protocol, tuple[Protocol, ...]] = {
    Protocol.BACKEND_SEND_FD: (Protocol.BACKEND_REQ,),
    Protocol.HOST_NOTIFIER: (Protocol.BACKEND_SEND_FD,),
    Protocol.SHARED_OBJECT: (Protocol.BACKEND_SEND_FD,),
    Protocol.GET_VRING_BASE_INFLIGHT: (Protocol.INFLIGHT_SHMFD,),
}
_INBAND_NEEDS = (Protocol.BACKEND_REQ, Protocol.REPLY_ACK)  # both: vhost-user, In-band notifications


@dataclass(frozen=True, slots=True)
class Offer:
    """What a port offers a front-end: both feature words, and how many queue pairs."""

    virtio: int
    protocol: int
    pairs: int = MAX_PAIRS

    def has(self, bit: Bit) -> bool:
        """Say whether this feature is in."""
        return has(self.virtio if isinstance(bit, Virtio) else self.protocol, bit)

    def __or__(self, other: Offer) -> Offer:
        """Return what either offers."""
        return Offer(self.virtio | other.virtio, self.protocol | other.protocol, max(self.pairs, other.pairs))

    def __and__(self, other: Offer) -> Offer:
        """Return what both offer."""
        return Offer(self.virtio & other.virtio, self.protocol & other.protocol, min(self.pairs, other.pairs))

    def plus(self, bits: Iterable[Bit]) -> Offer:
        """Return the offer with these bits set."""
        virtio, protocol = _words(bits)
        return replace(self, virtio=self.virtio | virtio, protocol=self.protocol | protocol)

    def without(self, bits: Iterable[Bit]) -> Offer:
        """Return the offer without these bits and without all that needs one of them."""
        virtio, protocol = _words(bits)
        offer = replace(self, virtio=self.virtio & ~virtio, protocol=self.protocol & ~protocol)
        if not offer.has(Virtio.PROTOCOL_FEATURES):
            offer = replace(offer, protocol=0)
        orphans = [bit for bit in (*Virtio, *Protocol) if offer.has(bit) and not offer.supports(bit)]
        return offer.without(orphans) if orphans else offer

    def supports(self, bit: Bit) -> bool:
        """Say whether all that this feature needs is in."""
        if bit is Protocol.INBAND_NOTIFICATIONS:
            return all(self.has(need) for need in _INBAND_NEEDS)
        needs = _VIRTIO_NEEDS.get(bit, ()) if isinstance(bit, Virtio) else _PROTOCOL_NEEDS.get(bit, ())
        return not needs or any(self.has(need) for need in needs)


def _words(bits: Iterable[Bit]) -> tuple[int, int]:
    virtio = protocol = 0
    for bit in bits:
        if isinstance(bit, Virtio):
            virtio |= 1 << bit
        else:
            protocol |= 1 << bit
    return virtio, protocol


# STATUS, MTU, GUEST_ANNOUNCE and the CTRL_ ones are the front-end's work: it has the configuration space and the control
# queue. It masks them by our offer all the same (QEMU's user_feature_bits, virtio-user), so not to offer is to forbid.
# UFO is left out on purpose: vhost_header.h. BACKEND_SEND_FD allows what no message of ours needs so far.
DEFAULT = Offer(
    mask(
        Virtio.CSUM,
        Virtio.GUEST_CSUM,
        Virtio.MTU,
        Virtio.GUEST_TSO4,
        Virtio.GUEST_TSO6,
        Virtio.GUEST_ECN,
        Virtio.HOST_TSO4,
        Virtio.HOST_TSO6,
        Virtio.HOST_ECN,
        Virtio.MRG_RXBUF,
        Virtio.STATUS,
        Virtio.CTRL_VQ,
        Virtio.CTRL_RX,
        Virtio.CTRL_VLAN,
        Virtio.GUEST_ANNOUNCE,
        Virtio.MQ,
        Virtio.CTRL_MAC_ADDR,
        Virtio.LOG_ALL,
        Virtio.ANY_LAYOUT,
        Virtio.INDIRECT_DESC,
        Virtio.EVENT_IDX,
        Virtio.PROTOCOL_FEATURES,
        Virtio.VERSION_1,
        Virtio.ACCESS_PLATFORM,
        Virtio.RING_PACKED,
        Virtio.IN_ORDER,
        Virtio.GUEST_USO4,
        Virtio.GUEST_USO6,
        Virtio.HOST_USO,
    ),
    mask(
        Protocol.MQ,
        Protocol.LOG_SHMFD,
        Protocol.RARP,
        Protocol.REPLY_ACK,
        Protocol.NET_MTU,
        Protocol.BACKEND_REQ,
        Protocol.BACKEND_SEND_FD,
        Protocol.INFLIGHT_SHMFD,
        Protocol.RESET_DEVICE,
        Protocol.CONFIGURE_MEM_SLOTS,
        Protocol.STATUS,
    ),
)
"""What a port offers unless told otherwise. A bit enters when its code has landed."""
OPT_IN = Offer(0, mask(Protocol.PAGEFAULT, Protocol.INBAND_NOTIFICATIONS))
"""What the code can do but a port offers only when asked to: in post-copy a core waits for the front-end's pages, and messages
instead of eventfds are for simulators."""
SUPPORTED = DEFAULT | OPT_IN
"""All that the code can do."""


@lru_cache(256)
def names(word: int) -> str:
    """Return the names of the device features in a word, in bit order, separated by spaces."""
    return _names(word, Virtio)


@lru_cache(256)
def protocol_names(word: int) -> str:
    """Return the names of the protocol features in a word, in bit order, separated by spaces."""
    return _names(word, Protocol)


def _names(word: int, kind: type[Virtio | Protocol]) -> str:
    known = [bit.name.lower() for bit in kind if has(word, bit)]
    unknown = word & ~mask(*kind)
    return " ".join([*known, hex(unknown)] if unknown else known)
