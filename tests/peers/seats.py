"""Places that traffic starts and ends at, used alike: a namespace of the host, or one inside a guest, with one NIC."""

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .guest import Guest
from .need import PEERS
from .netns import NetNs
from .proc import Child
from .wait import until

_numbers = itertools.count(1)


class Job(Protocol):
    """A shell script that runs in the background."""

    def wait(self, *, seconds: float = 120) -> str:
        """Until it has ended, which must be with exit code 0; its output."""

    def stop(self, *, seconds: float = 60) -> str:
        """SIGTERM to the program it is, and `wait`. For scripts of one `exec`."""


class Seat(Protocol):
    """One IPv4 address on one device, and a shell there, in a directory for files. `probe` is on the path."""

    @property
    def address(self) -> str: ...

    def run(self, script: str, *, seconds: int = 60) -> str:
        """Run a script to its end, which must be with exit code 0; its output."""

    def start(self, script: str) -> Job:
        """Run a script in the background."""

    def ping(self, address: str, *, count: int = 3) -> int:
        """Send `count` echo requests, one at a time; how many were answered."""

    def wait_ping(self, address: str, *, seconds: int = 120) -> None:
        """Until an echo request is answered."""


@dataclass(slots=True)
class _GuestJob:
    guest: Guest
    path: str
    script: str

    def _done(self) -> bool:
        return self.guest.run(f"test -s {self.path}.code", check=False)[0] == 0

    def wait(self, *, seconds: float = 120) -> str:
        what = f"{self.guest.name} has done {self.script!r}"
        until(self._done, what, seconds=seconds, every=0.2)
        code, output = self.guest.run(f"cat {self.path}.code {self.path}.out")[1].split("\n", 1)
        assert int(code) == 0, f"{self.guest.name}: exit code {code} from {self.script!r}:\n{output}"
        return output

    def stop(self, *, seconds: float = 60) -> str:
        self.guest.run(f"kill $(cat {self.path}.pid)")
        return self.wait(seconds=seconds)


@dataclass(slots=True)
class GuestSeat:
    """A NIC of a guest, in a network namespace of its own, so that traffic between two of them leaves the guest."""

    guest: Guest
    device: str
    address: str
    _keeper: int = 0

    def __post_init__(self) -> None:
        """Move the device into a new namespace; a process that sleeps keeps that open."""
        text = self.guest.run("unshare -n sleep 100000000 > /dev/null 2>&1 & echo $!")[1]
        self._keeper = int(text)
        # The process has its namespace a moment after it was made.
        self.guest.run(
            f"while [ $(readlink /proc/{self._keeper}/ns/net) = $(readlink /proc/1/ns/net) ]; do sleep 0.01; done; "
            f"ip link set {self.device} netns {self._keeper}"
        )
        # No IPv6: a guest is to send nothing that a test did not ask for.
        self.run(
            f"ip link set lo up; echo 1 > /proc/sys/net/ipv6/conf/{self.device}/disable_ipv6; "
            f"ip addr add {self.address}/24 dev {self.device}; ip link set {self.device} up"
        )

    def run(self, script: str, *, seconds: int = 60) -> str:
        quoted = script.replace("'", "'\\''")
        return self.guest.run(
            f"cd /run; exec nsenter -t {self._keeper} -n sh -c '{quoted}'", seconds=seconds
        )[1]

    def start(self, script: str) -> Job:
        path = f"/run/job{next(_numbers)}"
        self.run(
            f"cat > {path} <<'END_OF_JOB'\ncd /run\n{script}\nEND_OF_JOB\n"
            f"(sh {path} > {path}.out & echo $! > {path}.pid; wait $!; echo $? > {path}.code) > /dev/null 2>&1 < /dev/null &"
        )
        return _GuestJob(self.guest, path, script)

    def ping(self, address: str, *, count: int = 3) -> int:
        text = self.run(f"for i in $(seq {count}); do ping -c 1 -W 10 {address}; done; true", seconds=300)
        return text.count("bytes from")

    def wait_ping(self, address: str, *, seconds: int = 120) -> None:
        self.run(f"until ping -c 1 -W 1 {address}; do :; done", seconds=seconds)


@dataclass(slots=True)
class _HostJob:
    child: Child

    def wait(self, *, seconds: float = 120) -> str:
        code = self.child.wait_exit(seconds=seconds)
        assert code == 0, f"exit code {code} from {self.child.argv}:\n{self.child.output()}"
        return self.child.output()

    def stop(self, *, seconds: float = 60) -> str:
        self.child.stop(seconds=seconds)
        return self.wait(seconds=seconds)


@dataclass(slots=True)
class HostSeat:
    """A namespace of the host. Files of its jobs are in `directory`."""

    host: NetNs
    address: str
    directory: Path

    def _words(self, script: str) -> list[str | Path]:
        return ["sh", "-c", f"cd {self.directory} && PATH={PEERS}:$PATH && {script}"]

    def run(self, script: str, *, seconds: int = 60) -> str:
        return self.host.run(*self._words(script), timeout=seconds)

    def start(self, script: str) -> Job:
        return _HostJob(self.host.spawn(self._words(script), self.directory / f"job{next(_numbers)}.log"))

    def ping(self, address: str, *, count: int = 3) -> int:
        return self.host.ping(address, count=count)

    def wait_ping(self, address: str, *, seconds: int = 120) -> None:
        self.host.wait_ping(address, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Transfer:
    """A TCP transfer of random bytes under way, for `finish`."""

    source: Seat
    sender: Job
    receiver: Job
    flag: str


def finish(*transfers: Transfer, seconds: float = 240) -> None:
    """Send no further block; all that was sent must arrive as it was, by SHA-256."""
    for each in transfers:
        each.source.run(f"touch {each.flag}")
    for each in transfers:
        sent = each.sender.wait(seconds=seconds).split()[0]
        got = each.receiver.wait(seconds=seconds).split()[0]
        assert sent != hashlib.sha256().hexdigest(), "nothing was sent"
        assert got == sent


def transfer(source: Seat, target: Seat, block: int, *, pause: float | None = None) -> Transfer:
    """Start a TCP transfer of a block of random bytes.

    With `pause` it is sent again and again until it is finished, with this many seconds in between, which leaves
    the machine something to do other things with.
    """
    number = next(_numbers)
    port, flag = 5000 + number, f"flag{number}"
    receiver = target.start(f"probe listen {port} | sha256sum")
    # The block is sent before the flag is looked at.
    sender = source.start(
        f"{'' if pause is not None else f'touch {flag}; '}head -c {block} /dev/urandom > block{number}; mkfifo copy{number}; "
        f"(sha256sum < copy{number} > sum{number}) & "
        f"while cat block{number} && [ ! -e {flag} ]; do sleep {pause or 0}; done | tee copy{number} | "
        f"probe connect {target.address} {port} && wait && cat sum{number} && rm block{number}"
    )
    return Transfer(source, sender, receiver, flag)


@dataclass(frozen=True, slots=True)
class Held:
    """What `probe hold` says of the datagrams it found: see probe.c. `next` is the highest number plus one."""

    received: int
    corrupt: int
    first: int
    next: int
    missing: int
    gaps: int
    longest: int
    late: int

    @classmethod
    def parse(cls, text: str) -> "Held":
        """Read its line."""
        return cls(**{name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", text)})
