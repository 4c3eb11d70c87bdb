"""A QEMU guest in software emulation: Debian kernel, tiny initramfs, commands over a virtio-serial port."""

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .machine import Device, Machine, Nic
from .need import QEMU
from .proc import Child
from .wait import until

SERIAL_TAIL = 1500
FAST, MEDIUM, SLOW = 400 << 20, 8 << 20, 1 << 16  # bytes a second


class Guest:
    """A running guest. Its devices are eth0, eth1... in the order of `nics`.

    Boot takes 5 s on an idle processor, several times that on a busy one, so every deadline here is generous.
    """

    def __init__(
        self,
        directory: Path,
        nics: Sequence[Device],
        *,
        name: str = "guest",
        machine: Machine | None = None,
    ) -> None:
        self.directory, self.name = directory, name
        self._machine = machine or Machine()
        self._moves = 0
        self.child = self._launch(name, nics, self._machine)
        self._agent: socket.socket | None = None
        self._buffer = b""
        self._number = 0

    def _launch(self, name: str, nics: Sequence[Device], machine: Machine) -> Child:
        directory = self.directory
        directory.mkdir(parents=True, exist_ok=True)
        self._agent_path, self._qmp_path = directory / f"{name}.agent", directory / f"{name}.qmp"
        self._serial = directory / f"{name}.serial"
        for path in (self._agent_path, self._qmp_path):
            path.unlink(missing_ok=True)
        modules = {"QEMU_MODULE_DIR": str(QEMU.parents[1] / "lib/x86_64-linux-gnu/qemu")}
        return Child(machine.arguments(directory, name, nics), directory / f"{name}.log", env=modules)

    def wait_ready(self, *, seconds: float = 150) -> None:
        """Until the agent has reported. With `listen` QEMU boots when the switch has connected."""
        deadline = time.monotonic() + seconds
        self._agent = until(self._connect, f"agent socket of {self.name}", seconds=seconds)
        words = self._line(deadline)
        assert words[0] == "READY", words

    def migrate(self, nics: Sequence[Device], meanwhile: Callable[[], None]) -> dict[str, Any]:
        """Move the running guest into a new QEMU with these NICs; give QEMU's account of it.

        `meanwhile` is called when nearly all memory has been copied once, and until it returns the rest hardly goes on:
        what is written meanwhile is nearly all in pages that must be copied again.
        """
        self._moves += 1
        target = f"{self.name}-{self._moves}"
        door = self.directory / f"{target}.incoming"
        source, source_qmp = self.child, self._qmp_path
        child = self._launch(target, nics, replace(self._machine, incoming=door))
        target_qmp, self._qmp_path = self._qmp_path, source_qmp
        try:
            until(door.is_socket, f"{target} waits for the guest")
            # The rest must be a part of a page before the guest stops: it goes on until more is allowed.
            self._allow(bandwidth=MEDIUM, milliseconds=1, switchover=1_000_000)
            self.qmp("migrate", uri=f"unix:{door}")
            until(lambda: self._copied(child), f"nearly all of {self.name} has been copied", seconds=120)
            # Slower than its memory changes: or QEMU looks for changes without a pause, and the guest starves.
            self._allow(bandwidth=SLOW, milliseconds=1, switchover=1_000_000)
            meanwhile()
            self._allow(bandwidth=FAST, milliseconds=1000, switchover=0)
            until(lambda: self._state(child)["status"] == "completed", f"{self.name} has moved", seconds=120)
            account = self._state(child)
        except BaseException:
            child.kill()
            raise
        if self._agent is not None:
            self._agent.close()
        source.kill()
        self.child, self._qmp_path, self._buffer = child, target_qmp, b""
        self._agent = until(self._connect, f"agent socket of {target}")
        return account

    def _allow(self, *, bandwidth: int, milliseconds: int, switchover: int) -> None:
        """Set the speed, how long the guest may stand, and at which speed the rest goes then (0: as measured)."""
        self.qmp(
            "migrate-set-parameters",
            **{
                "max-bandwidth": bandwidth,
                "downtime-limit": milliseconds,
                "avail-switchover-bandwidth": switchover,
            },
        )

    def _state(self, target: Child) -> dict[str, Any]:
        self.child.check_alive()
        target.check_alive()
        state: dict[str, Any] = self.qmp("query-migrate")
        if state.get("status") in ("failed", "cancelled"):
            text = state.get("error-desc", "")
            raise AssertionError(
                f"{self.name}: the migration {state['status']}: {text}\n{target.output()[-SERIAL_TAIL:]}"
            )
        return state

    def _copied(self, target: Child) -> bool:
        ram = self._state(target).get("ram", {"remaining": 1, "total": 1})
        return bool(ram["remaining"] * 8 < ram["total"])

    def _connect(self) -> socket.socket:
        self.child.check_alive()
        agent = socket.socket(socket.AF_UNIX)
        try:
            agent.connect(str(self._agent_path))
        except OSError:
            agent.close()
            raise
        return agent

    def _receive(self, deadline: float) -> None:
        assert self._agent is not None, "wait_ready() comes first"
        self._agent.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            data = self._agent.recv(65536)
        except TimeoutError:
            self.child.check_alive()
            tail = self.console()[-SERIAL_TAIL:]
            raise AssertionError(
                f"{self.name}: the guest does not answer; its console ends in:\n{tail}"
            ) from None
        except ConnectionError:
            data = b""
        if not data:
            until(lambda: self.child.returncode is not None, f"{self.name} has ended")
            self.child.check_alive()
            raise AssertionError(f"{self.name}: the agent's connection is closed")
        self._buffer += data

    def console(self) -> str:
        """Return what the guest's kernel has printed."""
        return self._serial.read_text(errors="replace") if self._serial.exists() else ""

    def _line(self, deadline: float) -> list[str]:
        while b"\n" not in self._buffer:
            self._receive(deadline)
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode().split()

    def run(self, script: str, *, seconds: int = 60, check: bool = True) -> tuple[int, str]:
        """Run a shell script in the guest: exit code and output. With `check` a bad code raises."""
        assert self._agent is not None, "wait_ready() comes first"
        self._number += 1
        code64 = base64.b64encode(script.encode()).decode()
        self._agent.sendall(f"{self._number} {seconds} {code64}\n".encode())
        deadline = time.monotonic() + seconds * 1.5 + 20
        words = self._line(deadline)
        assert words[0] == str(self._number), words
        code, size = int(words[1]), int(words[2])
        while len(self._buffer) < size:
            self._receive(deadline)
        text, self._buffer = self._buffer[:size].decode(errors="replace"), self._buffer[size:]
        if check and code:
            raise AssertionError(f"{self.name}: exit code {code} from {script!r}:\n{text}")
        return code, text

    def set_address(self, device: str, address: str) -> None:
        """Bring `device` up with `address` ("10.0.0.1/24")."""
        self.run(f"ip addr add {address} dev {device} && ip link set {device} up")

    def ping(self, address: str, *, count: int = 3, seconds: int = 60) -> int:
        """Send `count` echo requests; how many were answered."""
        _, text = self.run(f"ping -c {count} -W 5 {address}", seconds=seconds, check=False)
        return text.count("bytes from")

    def wait_ping(self, address: str, *, seconds: float = 60) -> None:
        """Until one echo request is answered."""
        until(lambda: self.ping(address, count=1), f"{self.name} can ping {address}", seconds=seconds)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run one QMP command on a connection of its own; its answer."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(30)
            link.connect(str(self._qmp_path))
            with link.makefile("rw") as stream:
                stream.readline()
                answer: dict[str, Any] = {}
                for name, values in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": name, "arguments": values}) + "\n")
                    stream.flush()
                    answer = {}
                    while "return" not in answer and "error" not in answer:
                        answer = json.loads(stream.readline())
        if "error" in answer:
            raise AssertionError(f"QMP {command}: {answer['error']}")
        return answer["return"]

    def close(self) -> None:
        """End the guest at once."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        self.child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["Guest", "Machine", "Nic", "mac_address"]


def mac_address(number: int) -> str:
    """A locally administered address that no other test run on this machine is likely to use."""
    return f"02:{os.getpid() >> 8 & 0xFF:02x}:{os.getpid() & 0xFF:02x}:00:00:{number:02x}"
