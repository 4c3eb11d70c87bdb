"""Hosts in network namespaces: one end of a veth, or a tap moved in, an address, programs run inside."""

import contextlib
import itertools
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .proc import Child, run
from .wait import until

_numbers = itertools.count()


def unique(kind: str) -> str:
    """A device or namespace name (at most 15 characters) that parallel test runs do not share."""
    return f"{kind}{os.getpid() % 1000000}n{next(_numbers)}"


class NetNs:
    """A namespace that is deleted, with all that is in it, at the end."""

    def __init__(self) -> None:
        self.name = unique("vs")
        run(["ip", "netns", "add", self.name])
        self._outside: list[str] = []
        self._children: list[Child] = []
        self.run("ip", "link", "set", "lo", "up")

    def add_veth(self, address: str, *, inside: str = "eth0") -> str:
        """Make a veth pair; give the name of the end that stays outside. Offloads are off inside.

        A userspace switch reads the frames as they are: with transmit checksum offload they would carry none.
        """
        outside = unique("ve")
        run(["ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self.name])
        self._outside.append(outside)
        run(["ip", "link", "set", outside, "up"])
        self.set_address(inside, address)
        self.run("ethtool", "-K", inside, "tx", "off", "tso", "off", "gso", "off", "gro", "off", check=False)
        return outside

    def take(self, device: str, address: str) -> None:
        """Move `device` (a tap) in and give it an address. The tap's file descriptor keeps working."""
        run(["ip", "link", "set", device, "netns", self.name])
        self.set_address(device, address)

    def set_address(self, device: str, address: str) -> None:
        """Address and up; no IPv6, so that nothing is sent that a test did not ask for."""
        self.run("sysctl", "-q", f"net.ipv6.conf.{device}.disable_ipv6=1", check=False)
        self.run("ip", "addr", "add", address, "dev", device)
        self.run("ip", "link", "set", device, "up")

    def command(self, *words: str | Path) -> list[str]:
        """The words that run a program inside."""
        return ["ip", "netns", "exec", self.name, *(str(word) for word in words)]

    def run(self, *words: str | Path, timeout: float = 60, check: bool = True) -> str:
        """Run a program inside to its end; its output."""
        return run(self.command(*words), timeout=timeout, check=check).stdout

    def spawn(self, words: Sequence[str | Path], log: Path) -> Child:
        """Run a program inside in the background. It ends with the namespace at the latest."""
        child = Child(self.command(*words), log)
        self._children.append(child)
        return child

    def ping(self, address: str, *, count: int = 3) -> int:
        """Send `count` echo requests; how many were answered.

        One at a time: of several, ping waits for the last only twice the longest time so far, which a busy
        machine outlasts.
        """
        words = ("ping", "-n", "-c", "1", "-W", "5", address)
        return sum(self.run(*words, check=False).count("bytes from") for _ in range(count))

    def wait_ping(self, address: str, *, seconds: float = 60) -> None:
        """Until one echo request is answered."""
        until(lambda: self.ping(address, count=1), f"{self.name} can ping {address}", seconds=seconds)

    def close(self) -> None:
        """End what runs inside, delete the namespace and what was left outside."""
        for pid in run(["ip", "netns", "pids", self.name], check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for child in self._children:
            child.kill()
        run(["ip", "netns", "del", self.name], check=False)
        for device in self._outside:
            run(["ip", "link", "del", device], check=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
