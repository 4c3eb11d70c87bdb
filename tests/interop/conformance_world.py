"""The switch under Ryu's hands, for the conformance suite: a secure bridge, three wires, statements and their table."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fakes.wire import Wire, ip, namespace
from peers import need
from peers.ryu_controller import need_ryu
from peers.ryu_lines import RyuLines, Told, data_of
from peers.switch import Switch
from peers.wait import until

BR = "vsconf"
PORTS = (1, 2, 3)
ASYNC = ("OFPPacketIn", "OFPFlowRemoved", "OFPPortStatus")
DST, SRC = bytes.fromhex("0200000000aa"), bytes.fromhex("0200000000bb")
F = TypeVar("F", bound=Callable[..., Any])


def states(section: str, text: str) -> Callable[[F], F]:
    """Mark a test: the section of OpenFlow 1.3.5 and, in our words, what it demands."""

    def mark(test: F) -> F:
        name = re.sub(r"[.-]", "_", section)
        assert test.__name__.startswith(f"test_{name}_"), test.__name__
        return pytest.mark.statement(section, text)(test)

    return mark


def eth(kind: int, payload: bytes = b"", dst: bytes = DST, src: bytes = SRC) -> bytes:
    """An Ethernet frame of at least 60 bytes."""
    return (dst + src + kind.to_bytes(2, "big") + payload).ljust(60, b"\0")


class World:
    """Everything a test needs; `flow` makes the Ryu expression of a flow-mod."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        ip("link", "set", "lo", "up")
        self.place, self.stack = place, stack
        self.early: list[Told] = []
        self.ryu = self.controller()
        self.switch = stack.enter_context(Switch(place / "s"))
        self.switch.add_bridge(BR, secure=True)
        self.wires = {}
        for number in PORTS:
            ip("link", "add", f"w{number}", "type", "veth", "peer", "name", f"x{number}")
            for end in "wx":
                ip("link", "set", f"{end}{number}", "up")
            self.switch.add_device(BR, f"w{number}", number)
            self.wires[number] = Wire(f"x{number}")
            stack.callback(self.wires[number].close)
        self.switch.vsctl("set-controller", BR, self.ryu.target)
        self.do()

    def controller(self, versions: str = "4") -> RyuLines:
        """Another Ryu; the test tells the switch of it."""
        (place := self.place / f"r{len(list(self.place.iterdir()))}").mkdir()
        ryu = RyuLines(place, versions)
        self.stack.callback(ryu.close)
        return ryu

    def reset(self) -> None:
        """Nothing is left of the test before."""
        self.do(
            "p.OFPRoleRequest(dp, o.OFPCR_ROLE_EQUAL, 0)",
            "p.OFPFlowMod(dp, table_id=o.OFPTT_ALL, command=o.OFPFC_DELETE, out_port=o.OFPP_ANY, out_group=o.OFPG_ANY)",
            "p.OFPGroupMod(dp, o.OFPGC_DELETE, o.OFPGT_ALL, o.OFPG_ALL)",
            "p.OFPMeterMod(dp, o.OFPMC_DELETE, 0, o.OFPM_ALL)",
            "p.OFPSetConfig(dp, 0, 128)",
        )
        self.early.clear()

    def do(self, *expressions: str) -> list[Told]:
        """The answers to these messages, up to a barrier; asynchronous messages are kept for `told`."""
        answers = self.ryu.do(*expressions)
        self.early += [m for m in answers if m.kind in ASYNC]
        return [m for m in answers if m.kind not in ASYNC]

    def told(self, kind: str) -> dict[str, Any]:
        """The fields of the next asynchronous message of a class (Ryu's name); `data` as bytes."""
        message = next((m for m in self.early if m.kind == kind), None)
        if message is None:
            message = self.ryu.wait(kind)
        else:
            self.early.remove(message)
        return {**message.fields, "data": data_of(message)} if "data" in message.fields else message.fields

    def error(self, *expressions: str) -> str | None:
        """The name of the only error, OFP..._..., or None; other messages do not matter."""
        names = [str(m.fields["name"]) for m in self.do(*expressions) if m.kind == "OFPErrorMsg"]
        assert len(names) <= 1, names
        return names[0] if names else None

    def ok(self, *expressions: str) -> None:
        """Not refused."""
        assert self.error(*expressions) is None

    def one(self, expression: str) -> dict[str, Any]:
        """The fields of the one answer."""
        (answer,) = self.do(expression)
        return answer.fields

    def body(self, expression: str) -> list[dict[str, Any]]:
        """The entries of a multipart reply, its parts joined, each without Ryu's class name."""
        parts = [m for m in self.do(expression) if "body" in m.fields]
        entries = [entry for part in parts for entry in part.fields["body"]]
        return [next(iter(entry.values())) for entry in entries]

    def packet(self, frame: bytes, in_port: int = 1) -> dict[int, list[bytes]]:
        """Send a frame through the tables; what left, by port. Packet-ins come a little later: `packet_in`."""
        data = f"bytes.fromhex('{frame.hex()}')"
        action = "[p.OFPActionOutput(o.OFPP_TABLE)]"
        told = self.do(f"p.OFPPacketOut(dp, o.OFP_NO_BUFFER, {in_port}, {action}, {data})")
        assert all(m.kind != "OFPErrorMsg" for m in told), told
        out: dict[int, list[bytes]] = {}
        for number, wire in self.wires.items():
            out[number] = []
            while (got := wire.receive(timeout=0)) is not None:
                out[number].append(got[0])
        return {port: frames for port, frames in out.items() if frames}

    def port_down(self, number: int, *, down: bool) -> None:
        """Set or clear OFPPC_PORT_DOWN of a port by a port-mod."""
        mac = next(
            d["hw_addr"] for d in self.body("p.OFPPortDescStatsRequest(dp, 0)") if d["port_no"] == number
        )
        self.ok(f"p.OFPPortMod(dp, {number}, '{mac}', {int(down)}, 1, 0)")

    def packet_in(self) -> dict[str, Any]:
        """The fields of the next packet-in."""
        return self.told("OFPPacketIn")


def flow(match: str = "", actions: str = "", *, instructions: str | None = None, **more: Any) -> str:
    """A flow-mod that applies `actions` ("output:2" is "out(2)"); other fields by name, values as Ryu's expressions."""
    todo = f"[p.OFPInstructionActions(o.OFPIT_APPLY_ACTIONS, [{actions}])]"
    fields = "".join(f", {name}={value}" for name, value in more.items())
    return f"p.OFPFlowMod(dp, match=p.OFPMatch({match}), instructions={instructions or todo}{fields})"


def out(port: int | str, max_len: str = "o.OFPCML_NO_BUFFER") -> str:
    """An output action."""
    return f"p.OFPActionOutput({port}, {max_len})"


def write(actions: str) -> str:
    """A write-actions instruction."""
    return f"p.OFPInstructionActions(o.OFPIT_WRITE_ACTIONS, [{actions}])"


def apply(actions: str) -> str:
    """An apply-actions instruction."""
    return f"p.OFPInstructionActions(o.OFPIT_APPLY_ACTIONS, [{actions}])"


def goto(table: int) -> str:
    """A goto-table instruction."""
    return f"p.OFPInstructionGotoTable({table})"


@contextmanager
def world_of(place: Path) -> Iterator[World]:
    """A world in a network namespace of its own."""
    need.need_root()
    need.need_program("ip")
    need_ryu()
    with namespace(), ExitStack() as stack:
        world = World(place, stack)
        until(lambda: world.switch.vsctl("get", "Controller", BR, "is_connected") == "true", "connected")
        yield world
