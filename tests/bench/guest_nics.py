"""Our switch beside dpdk-testpmd in a QEMU guest, on NICs of the same model: packets a second, turn by turn.

One boot. Each model has two pairs of NICs: our daemon forwards between the two of one, testpmd between the two of the
other. Both run all the time, one of them stopped by SIGSTOP, so that turns of a second or two can alternate. The host keeps
a window of frames on the way through whoever's turn it is, and counts what comes back.
"""

import argparse
import os
import select
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.guestpmd import LOG, GuestPmd
from peers.guestswitch import BRIDGE, TREE, GuestSwitch
from peers.machine import Machine
from peers.nicpeer import EXPERIMENTAL, SHORTEST, Cable, Emulated
from peers.wait import until

from bench import guest_report as report
from bench.run import RESULTS, describe

VIRTIO = "iommu_platform=on,disable-legacy=on"
# An igb takes slots 16 and 17 above its own for its VFs.
MODELS = {
    "igb": ("igb", (4, 6, 8, 10), ""),
    "e1000e": ("e1000e", (5, 7, 9, 11), ""),
    "vmxnet3": ("vmxnet3", (12, 13, 14, 15), ""),
    "virtio": ("virtio-net-pci", (16, 17, 18, 19), VIRTIO),
}
"""Model of QEMU, slots of the NICs (two of ours, two of testpmd's), properties."""
FRAME = b"\x02\0\0\0\0\x08\x02\0\0\0\0\x09" + EXPERIMENTAL
FRAME = FRAME.ljust(SHORTEST, b"\x5a")
QUEUE, DEPTH = Path("/proc/sys/net/unix/max_dgram_qlen"), 511
"""How many datagrams may wait at a socket."""
LOST = 3.0
"""Seconds without a frame after which those on the way count as lost."""
WARM = 0.3
"""Seconds of a turn that are not counted."""


@dataclass(slots=True)
class Loop:
    """The two cables of a pair, and how many frames are on the way from each to the other."""

    cables: tuple[Cable, Cable]
    window: int
    away: list[int] = field(default_factory=lambda: [0, 0])
    lost: int = 0

    def turn(self) -> int:
        """Take what came, send what the window allows; how many came."""
        came = 0
        for at in (0, 1):
            while (frame := self.cables[at].receive()) is not None:
                if frame == FRAME:
                    came += 1
                    self.away[1 - at] = max(0, self.away[1 - at] - 1)
        for at in (0, 1):
            while self.away[at] < self.window and self.cables[at].send(FRAME):
                self.away[at] += 1
        return came

    def run(self, seconds: float) -> tuple[int, float]:
        """Frames that came back, and how long it took."""
        count, start = 0, time.monotonic()
        now = last = start
        while now < start + seconds:
            came = self.turn()
            count += came
            now = time.monotonic()
            if came:
                last = now
            elif now > last + LOST:
                self.lost, self.away, last = self.lost + sum(self.away), [0, 0], now
            else:
                select.select([cable.socket for cable in self.cables], [], [], 0.02)
        return count, now - start


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@dataclass(slots=True)
class Bench:
    """The guest with the daemon in it, and the cables of all NICs."""

    switch: GuestSwitch
    cables: dict[str, Cable]
    words: argparse.Namespace

    def measure(self, model: str) -> list[report.Sample]:
        """All rounds of a model."""
        names = [nic_name(model, number) for number in range(4)]
        addresses = [address(slot) for slot in MODELS[model][1]]
        loops = [Loop((self.cables[a], self.cables[b]), self.words.window) for a, b in (names[:2], names[2:])]
        samples = []
        with (
            self._ports(names[:2], addresses[:2]),
            self._stopped(),
            GuestPmd(self.switch.guest, addresses[2:]),
        ):
            pids = (str(self.switch.pid), f"$(cat {LOG}.pid)")
            try:
                for number in range(self.words.rounds + 1):
                    for who in (0, 1):
                        self.switch.guest.run(f"kill -STOP {pids[1 - who]}; kill -CONT {pids[who]}")
                        loops[who].run(WARM)
                        sample = self._turn(number, model, report.WHO[who], loops[who])
                        if number > 0:  # before that the daemon catches up, caches of QEMU fill
                            samples.append(sample)
                            print(sample, flush=True)
            finally:
                self.switch.guest.run(f"kill -STOP {pids[0]}; kill -CONT {pids[1]}")
        return samples

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """Meanwhile the daemon does not take the processor from testpmd, which starts and ends."""
        self.switch.guest.run(f"kill -STOP {self.switch.pid}")
        try:
            yield
        finally:
            self.switch.guest.run(f"kill -CONT {self.switch.pid}")

    def _turn(self, number: int, model: str, who: str, loop: Loop) -> report.Sample:
        pid, lost = self.switch.child.pid, loop.lost
        start = cpu_seconds(pid)
        count, took = loop.run(self.words.seconds)
        spent = cpu_seconds(pid) - start
        return report.Sample(number, model, who, count / took, count / spent, loop.lost - lost)

    @contextmanager
    def _ports(self, names: Sequence[str], addresses: Sequence[str]) -> Iterator[None]:
        """Ports 1 and 2 of the bridge, with their links up, on these devices."""
        switch = self.switch
        for number, (name, pci) in enumerate(zip(names, addresses, strict=True), 1):
            values = ["type=vfio", f"options:pci={pci}", f"ofport_request={number}"]
            switch.vsctl("--no-wait", "add-port", BRIDGE, name, "--", "set", "Interface", name, *values)
        for name in names:
            until(lambda name=name: self._link(name) == "up", f"the link of {name} is up", seconds=120)
        yield
        switch.vsctl("del-port", BRIDGE, names[0], "--", "del-port", BRIDGE, names[1])

    def _link(self, name: str) -> str:
        text = self.switch.vsctl("get", "Interface", name, "link_state", "error")
        state, error = text.splitlines()
        assert error in ("", "[]", '""'), error
        return state.strip('"')


def nic_name(model: str, number: int) -> str:
    """Name of a NIC, its cable and its port."""
    return f"{model[:2]}-{number}"


def address(slot: int) -> str:
    """PCI address of a device of the root bus."""
    return f"0000:00:{slot:02x}.0"


@contextmanager
def bench_of(words: argparse.Namespace) -> Iterator[Bench]:
    """Boot the guest, bind the NICs to vfio-pci, start the daemon."""
    with tempfile.TemporaryDirectory(prefix="vsn") as name, ExitStack() as stack:
        directory = Path(name)
        nics = [
            Emulated(
                nic_name(model, number),
                kind,
                f"02:00:00:00:20:{slot:02x}",
                f"addr={slot:#x}",
                directory,
                options,
            )
            for model, (kind, slots, options) in MODELS.items()
            if model in words.models
            for number, slot in enumerate(slots)
        ]
        cables = {nic.name: Cable(nic) for nic in nics}
        for cable in cables.values():
            stack.callback(cable.close)
        switch = GuestSwitch(directory, Machine(megabytes=1024, iommu=True, hugepages=192), nics)
        stack.callback(switch.close)
        places = " ".join(address(slot) for model in words.models for slot in MODELS[model][1])
        switch.guest.run(f"{TREE}/deploy/vs-bind bind --force vfio-pci {places}")
        switch.start()
        switch.vsctl("set", "Open_vSwitch", ".", "other_config:vs-idle-sleep-us=never")
        switch.add_bridge(BRIDGE, secure=True)
        switch.set_flows(BRIDGE, "in_port=1 actions=output:2\nin_port=2 actions=output:1")
        yield Bench(switch, cables, words)


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    result = argparse.ArgumentParser(prog="guest_nics", description=__doc__.splitlines()[0])
    result.add_argument("models", nargs="*", metavar="model", help=f"of {' '.join(MODELS)} (default all)")
    result.add_argument("--rounds", type=int, default=8)
    result.add_argument("--seconds", type=float, default=2.0, help="time of a turn (default %(default)s)")
    text = "frames on the way each way (default %(default)s); 1000000: both ends send as fast as they can"
    result.add_argument(
        "--core", type=int, help="of QEMU and of the host's end of the cables (default: the last)"
    )
    result.add_argument("--window", type=int, default=64, help=text)
    result.add_argument(
        "--out", type=Path, default=RESULTS, help="directory of the results (default %(default)s)"
    )
    return result


def deepen() -> None:
    """Give the cables room for a window: a namespace of its own, for the kernel lets ten datagrams wait and no more."""
    if QUEUE.read_text().split() != [str(DEPTH)]:
        command = f"echo {DEPTH} > {QUEUE} && ip link set lo up && exec "
        words = shlex.join([sys.executable, *sys.argv])
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", command + words])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, write table and CSV."""
    words = parser().parse_args(argv)
    if unknown := set(words.models) - set(MODELS):
        raise SystemExit(
            f"guest_nics: no model called {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}"
        )
    if os.geteuid() != 0:
        raise SystemExit("guest_nics: needs root: the guest runs on the root directory of this machine")
    deepen()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if words.core is None else words.core})
    words.models = words.models or list(MODELS)
    head = f"{describe()}, window {words.window}"
    print(head, flush=True)
    samples: list[report.Sample] = []
    with bench_of(words) as bench:
        for model in words.models:
            samples += bench.measure(model)
    words.out.mkdir(parents=True, exist_ok=True)
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-guest-nics"
    report.write_csv(words.out / f"{stem}.csv", samples)
    (words.out / f"{stem}.txt").write_text(f"{head}\n\n{report.text(samples)}")
    print(f"\n{report.text(samples)}\nwritten: {words.out}/{stem}.txt, .csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
