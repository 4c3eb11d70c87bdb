"""Access lists like ClassBench's: prefix pairs, protocols and port ranges, and the packets that meet them, from a seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .flowmods import IP, TCP, UDP, Values, prefix
from .frames import Tuple5

T = TypeVar("T")
# Shares of prefix lengths, as in the published seeds of access lists (acl1 to acl5): long prefixes, many hosts, some wildcards.
_SOURCES = ((0, 12), (8, 3), (16, 15), (20, 5), (22, 5), (24, 25), (27, 5), (30, 5), (32, 25))
_DESTINATIONS = ((0, 4), (16, 8), (20, 4), (22, 6), (24, 28), (27, 8), (30, 7), (32, 35))
_PROTOCOLS = ((TCP, 65), (UDP, 25), (None, 10))
_WELL_KNOWN = (22, 25, 53, 80, 110, 123, 143, 161, 443, 993, 1433, 1521, 3306, 3389, 5060, 8080)
_RANGES = (
    (1024, 65535),
    (0, 1023),
    (6000, 6063),
    (5000, 5100),
    (20, 21),
    (137, 139),
    (1433, 1434),
    (33434, 33534),
)
_PORTS = (("any", 30), ("exact", 45), ("range", 25))
_NETWORKS = 400
"""Networks that prefixes are taken from, so that they nest as they do in lists that people wrote."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: address and prefix length twice, protocol (None: any), value and mask of the destination port."""

    source: tuple[int, int]
    destination: tuple[int, int]
    protocol: int | None
    port: tuple[int, int]

    def match(self) -> Values:
        """Give the OpenFlow match."""
        match: Values = {"eth_type": IP}
        for name, (address, length) in (("ipv4_src", self.source), ("ipv4_dst", self.destination)):
            if length:
                match[name] = prefix(address, length)
        if self.protocol is not None:
            match["ip_proto"] = self.protocol
            if self.port[1]:
                match["tcp_dst" if self.protocol == TCP else "udp_dst"] = self.port
        return match

    def packet(self, rng: random.Random) -> Tuple5:
        """Give a packet that meets it."""

        def address(value: int, length: int) -> int:
            return value | rng.getrandbits(32) & (0xFFFFFFFF >> length if length else 0x7FFFFFFF)

        value, mask = self.port
        return Tuple5(
            address(*self.source),
            address(*self.destination),
            rng.choice((TCP, UDP)) if self.protocol is None else self.protocol,
            rng.randrange(1024, 65536),
            value | rng.getrandbits(16) & ~mask & 0xFFFF,
        )


def masks(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Cover the ports from low to high by values and masks, each a power of two of them."""
    while low <= high:
        size = low & -low or 65536
        while low + size - 1 > high:
            size //= 2
        yield low, 0xFFFF & ~(size - 1)
        low += size


def entries(count: int, seed: int) -> list[Entry]:
    """Give `count` rows, no two with the same match, the first the most important; port ranges are expanded."""
    rng = random.Random(f"acl {seed}")
    networks = [rng.randrange(1, 224) << 24 | rng.getrandbits(24) for _ in range(_NETWORKS)]

    def draw(shares: Sequence[tuple[T, int]]) -> T:
        return rng.choices([what for what, _ in shares], [share for _, share in shares])[0]

    def address(length: int) -> tuple[int, int]:
        # The network's first half stays, so that longer prefixes lie within shorter ones.
        value = rng.choice(networks) & 0xFFFF0000 | rng.getrandbits(16)
        return prefix(value, length)[0], length

    found: dict[Entry, None] = {}
    while len(found) < count:
        protocol = draw(_PROTOCOLS)
        kind = draw(_PORTS) if protocol is not None else "any"
        if kind == "range":
            ports = list(masks(*rng.choice(_RANGES)))
        else:
            ports = [(rng.choice(_WELL_KNOWN), 0xFFFF)] if kind == "exact" else [(0, 0)]
        source, destination = address(draw(_SOURCES)), address(draw(_DESTINATIONS))
        if not source[1] and not destination[1] and len(found) > count // 100:
            continue  # rows for everybody are few
        for port in ports:
            found.setdefault(Entry(source, destination, protocol, port))
    return list(found)[:count]
