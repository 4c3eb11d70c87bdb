"""What an interop test asks of a switch: ours, or OVS-DPDK to prove the harness (VS_STANDIN=ovs)."""

from pathlib import Path
from typing import Protocol


class Backend(Protocol):
    """A running switch. Port names are its own; `ofport` is the OpenFlow number that the flows use."""

    def add_bridge(self, name: str, *, secure: bool = False) -> None:
        """Add a bridge that does NORMAL from the start, or, when `secure`, has no flow."""

    def add_vhost(self, bridge: str, port: str, ofport: int, *, client: Path | None = None) -> Path:
        """Add a vhost-user port; give the socket, which is `client` if the peer listens."""

    def add_device(self, bridge: str, device: str, ofport: int) -> None:
        """Add an existing network device (veth)."""

    def set_flows(self, bridge: str, flows: str) -> None:
        """Replace the flow table by `flows`, one a line, in ovs-ofctl's syntax."""

    def statistics(self, port: str) -> dict[str, int]:
        """Interface statistics by name."""

    def crash_and_restart(self) -> None:
        """kill -9 the daemon, then start it again on the same state."""

    def close(self) -> None:
        """Stop it."""
