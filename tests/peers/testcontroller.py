"""Debian's ovs-testcontroller, a learning switch that knows OpenFlow 1.0 to 1.5, unpacked from its package."""

from collections.abc import Sequence
from pathlib import Path

from .need import INSTALL, PEERS, missing
from .proc import Child

TOOLS = PEERS / "tools"


def need_tools() -> None:
    """Require ovs-testcontroller, Mininet and iperf, unpacked."""
    if not (PEERS / "tools.ok").exists():
        missing(f"{TOOLS} is missing: {INSTALL}")


def start(place: Path, port: int, *options: str, under: Sequence[str] = ()) -> Child:
    """Start it on a port of the loopback. `under` is a command to run it by (ip netns exec NAME)."""
    words = [*under, TOOLS / "usr/bin/ovs-testcontroller", f"--unixctl={place}/testcontroller{port}"]
    return Child([*words, *options, f"ptcp:{port}:127.0.0.1"], place / f"testcontroller{port}.log")
