"""A QEMU guest in software emulation: Debian kernel, tiny initramfs, commands over a virtio-serial port."""

import base64
import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .need import INITRAMFS, QEMU, VMLINUX
from .proc import Child
from .wait import until

KERNEL_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on audit=0 "
    "selinux=0 apparmor=0"
)
SERIAL_TAIL = 1500


@dataclass(frozen=True, slots=True)
class Nic:
    """One vhost-user virtio-net device. `listen`: QEMU makes the socket, the switch connects."""

    socket: Path
    mac: str
    listen: bool
    queues: int = 1
    options: str = ""  # further properties of virtio-net-pci, as "packed=on,mrg_rxbuf=off"

    def arguments(self, number: int) -> list[str]:
        """QEMU arguments of device `number`."""
        chardev = f"socket,id=vh{number},path={self.socket}," + (
            "server=on,wait=off" if self.listen else "reconnect=1"
        )
        several = f",queues={self.queues}" if self.queues > 1 else ""
        device = (
            f"virtio-net-pci,netdev=n{number},mac={self.mac},romfile=,vectors={2 * self.queues + 2}"
            + (",mq=on" if self.queues > 1 else "")
            + (f",{self.options}" if self.options else "")
        )
        return [
            "-chardev",
            chardev,
            "-netdev",
            f"vhost-user,id=n{number},chardev=vh{number}{several}",
            "-device",
            device,
        ]


class Guest:
    """A running guest. Its devices are eth0, eth1... in the order of `nics`.

    The memory is a shared memfd, as vhost-user needs. Boot takes 5 s on an idle processor, several times
    that on a busy one, so every deadline here is generous.
    """

    def __init__(
        self,
        directory: Path,
        nics: Sequence[Nic],
        *,
        name: str = "guest",
        megabytes: int = 192,
        extra: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.name = directory, name
        self._agent_path, self._qmp_path = directory / f"{name}.agent", directory / f"{name}.qmp"
        self._serial = directory / f"{name}.serial"
        for path in (self._agent_path, self._qmp_path):
            path.unlink(missing_ok=True)
        root = QEMU.parents[1]
        argv: list[str | Path] = [
            QEMU,
            "-L",
            root / "share/qemu",
            "-L",
            root / "share/seabios",
            "-L",
            "/usr/share/qemu",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35,memory-backend=mem",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "1",
            "-m",
            f"{megabytes}M",
            "-object",
            f"memory-backend-memfd,share=on,id=mem,size={megabytes}M",
            "-kernel",
            VMLINUX,
            "-initrd",
            INITRAMFS,
            "-append",
            KERNEL_LINE,
            "-serial",
            f"file:{self._serial}",
            "-qmp",
            f"unix:{self._qmp_path},server=on,wait=off",
            "-device",
            "virtio-serial-pci,id=serial",
            "-chardev",
            f"socket,id=agent,path={self._agent_path},server=on,wait=off",
            "-device",
            "virtserialport,bus=serial.0,chardev=agent,name=agent",
        ]
        for number, nic in enumerate(nics):
            argv += nic.arguments(number)
        self.child = Child(
            [*argv, *extra],
            directory / f"{name}.log",
            env={"QEMU_MODULE_DIR": str(root / "lib/x86_64-linux-gnu/qemu")},
        )
        self._agent: socket.socket | None = None
        self._buffer = b""
        self._number = 0

    def wait_ready(self, *, seconds: float = 150) -> None:
        """Until the agent has reported. With `listen` QEMU boots when the switch has connected."""
        deadline = time.monotonic() + seconds
        self._agent = until(self._connect, f"agent socket of {self.name}", seconds=seconds)
        words = self._line(deadline)
        assert words[0] == "READY", words

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
        if not data:
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


def mac_address(number: int) -> str:
    """A locally administered address that no other test run on this machine is likely to use."""
    return f"02:{os.getpid() >> 8 & 0xFF:02x}:{os.getpid() & 0xFF:02x}:00:00:{number:02x}"
