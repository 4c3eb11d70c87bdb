"""A datapath without threads and a bridge of test ports: feed frames, poll, take what came out."""

from __future__ import annotations

from vswitchd.datapath import dp


class SwitchBox:
    """Bridges of test ports on a manual datapath. Port numbers 1..n per bridge."""

    def __init__(self, ports: int = 3, *, emc_entries: int = 1024, ring: int = 256) -> None:
        self.dp = dp.Datapath(emc_entries, manual=True)
        self.ring = ring
        self.bridge = self.dp.create_bridge("br0")
        self.ports: dict[int, dp.PortHandle] = {}
        self._buffer = dp.ffi.new("uint8_t[]", 70000)
        for number in range(1, ports + 1):
            self.add_port(number)
        self.dp.rebalance()

    def add_port(self, number: int, bridge: dp.DpBridge | None = None, n_rxq: int = 1) -> dp.PortHandle:
        """A test port p<number>."""
        handle = dp.lib.vs_test_port_new(f"p{number}".encode(), n_rxq, self.ring)
        assert handle != dp.ffi.NULL
        port = self.dp.attach(handle, bridge or self.bridge, number, f"p{number}")
        if bridge is None:
            self.ports[number] = port
        return port

    def patch(self, number: int, bridge: dp.DpBridge, other_number: int, other: dp.DpBridge) -> None:
        """Join two bridges."""
        a = self.dp.attach(dp.lib.vs_patch_port_new(b"a"), bridge, number, "a")
        b = self.dp.attach(dp.lib.vs_patch_port_new(b"b"), other, other_number, "b")
        a.set_patch_peer(b)
        b.set_patch_peer(a)

    def rule(
        self, priority: int, match: tuple[tuple[str, int, int], ...] = (), *apply: dp.Action, **more: object
    ) -> int:
        """Add one rule to table 0 (or table=) and commit."""
        table = more.pop("table", 0)
        rule = self.bridge.add_rule(dp.RuleSpec(table, priority, match, apply=apply, **more))  # type: ignore[arg-type]
        self.bridge.commit()
        return rule

    def feed(self, number: int, frame: bytes, rxq: int = 0) -> None:
        """Put a frame into a port's receive queue."""
        assert dp.lib.vs_test_port_feed(self.ports[number].cdata, rxq, frame, len(frame)) == 0

    def take_from(self, port: dp.PortHandle) -> list[bytes]:
        """Frames the switch sent to a port, oldest first."""
        out = []
        while (n := dp.lib.vs_test_port_take(port.cdata, self._buffer, len(self._buffer))) >= 0:
            out.append(bytes(dp.ffi.buffer(self._buffer, n)))
        return out

    def take(self) -> dict[int, list[bytes]]:
        """Frames sent to each port that got some."""
        out = {number: self.take_from(port) for number, port in self.ports.items()}
        return {number: frames for number, frames in out.items() if frames}

    def send(self, number: int, *frames: bytes) -> dict[int, list[bytes]]:
        """Feed, poll until nothing is left, take."""
        for frame in frames:
            self.feed(number, frame)
        while self.dp.poll():
            pass
        return self.take()

    def assert_ledgers(self) -> None:
        """Every packet has a fate."""
        for port in self.dp.ports.values():
            assert port.counters().closes, (port.name, port.counters())

    def retire(self) -> None:
        """Let removed rules go."""
        while self.dp.housekeeping():
            self.dp.poll()

    def close(self) -> None:
        """Free all."""
        self.dp.close()
