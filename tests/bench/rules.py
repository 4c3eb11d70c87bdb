"""The flow tables that are measured: port 1 to port 2 and back, by different matches."""

from collections.abc import Callable

# flowgen sends UDP 10.254.0.0:1000 -> (10.253.0.0 + i):1001 for i below the number of flows.
_WAYS = ((1, 2), (2, 1))


def _lines(way: Callable[[int, int], list[str]]) -> str:
    return "\n".join(line for there, back in _WAYS for line in way(there, back)) + "\n"


def in_port() -> str:
    """One rule each way that looks at the port alone."""
    return _lines(lambda a, b: [f"in_port={a},actions=output:{b}"])


def l4() -> str:
    """Match on the UDP port: what a switch that caches by exact match must look up for every flow anew."""

    def way(there: int, back: int) -> list[str]:
        return [
            f"priority=100,in_port={there},udp,tp_dst=1001,actions=output:{back}",
            f"priority=100,in_port={there},udp,tp_dst=9,actions=drop",
        ]

    return _lines(way) + "priority=1,actions=drop\n"


def masks() -> str:
    """Sixteen masks each way: destination by its last four bits, source by a prefix of its own."""

    def way(there: int, back: int) -> list[str]:
        return [
            f"priority=100,in_port={there},ip,nw_dst=0.0.0.{k}/0.0.0.15,nw_src=10.254.0.0/{12 + k},"
            f"actions=output:{back}"
            for k in range(16)
        ]

    return _lines(way) + "priority=1,actions=drop\n"


def each(count: int) -> str:
    """One rule for each of `count` destination addresses each way."""

    def way(there: int, back: int) -> list[str]:
        return [
            f"priority=100,in_port={there},udp,nw_dst=10.{253 + (i >> 16)}.{i >> 8 & 255}.{i & 255},"
            f"actions=output:{back}"
            for i in range(count)
        ]

    return _lines(way) + "priority=1,actions=drop\n"


def table(name: str, flows: int) -> str:
    """Give the flow table called `name` for a generator of `flows` flows; KeyError when there is none."""
    tables: dict[str, Callable[[], str]] = {"in_port": in_port, "l4": l4, "masks": masks}
    return each(flows) if name == "each" else tables[name]()


NAMES = ("in_port", "l4", "masks", "each")
