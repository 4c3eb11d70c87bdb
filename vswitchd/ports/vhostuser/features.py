"""Feature bits of virtio-net (VIRTIO 1.2, 5.1.3 and 6) and of vhost-user, and which of them we offer."""

from __future__ import annotations

from enum import IntEnum


class Virtio(IntEnum):
    """Device feature bits that the switch knows."""

    NET_MRG_RXBUF = 15
    NET_MQ = 22
    ANY_LAYOUT = 27
    RING_INDIRECT_DESC = 28
    RING_EVENT_IDX = 29
    PROTOCOL_FEATURES = 30
    """Not a virtio feature: vhost-user uses the bit to announce protocol features."""
    VERSION_1 = 32
    IN_ORDER = 35
    """Chains are given back in the order in which they were taken, always: vring.h. Drivers need fewer lookups then."""


class Protocol(IntEnum):
    """Protocol feature bits (vhost-user, Protocol features)."""

    MQ = 0
    LOG_SHMFD = 1
    RARP = 2
    REPLY_ACK = 3
    NET_MTU = 4
    BACKEND_REQ = 5
    PAGEFAULT = 8
    CONFIG = 9
    BACKEND_SEND_FD = 10
    INFLIGHT_SHMFD = 12
    RESET_DEVICE = 13
    INBAND_NOTIFICATIONS = 14
    CONFIGURE_MEM_SLOTS = 15
    STATUS = 16


def mask(*bits: int) -> int:
    """Return the word that has these bits set."""
    return sum(1 << bit for bit in bits)


OFFERED = mask(*Virtio)
OFFERED_PROTOCOL = mask(
    Protocol.MQ,
    Protocol.REPLY_ACK,
    Protocol.NET_MTU,
    Protocol.RESET_DEVICE,
    Protocol.CONFIGURE_MEM_SLOTS,
    Protocol.STATUS,
)


def has(word: int, bit: int) -> bool:
    """Say whether the bit is set."""
    return bool(word >> bit & 1)


def names(word: int) -> str:
    """Return the names of the device features in a word, in bit order, separated by spaces."""
    known = [bit.name.lower() for bit in Virtio if has(word, bit)]
    unknown = word & ~OFFERED
    return " ".join([*known, hex(unknown)] if unknown else known)
