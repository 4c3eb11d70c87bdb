"""Our switch inside a QEMU guest that runs on the host's root; the command-line programs run on the host, by relays.

The daemon's directory has one name on both sides: in the guest a tmpfs lies there, on the host sockets that a relay
carries to the guest's of the same name. In emulation Python takes 28 times as long: what need not run there does not.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from .guest import Guest
from .machine import MANAGEMENT, Device, Machine
from .need import WIRE
from .proc import Child, run
from .switch import Switch, free_tcp_port
from .wait import until

TREE = Path(__file__).resolve().parents[2]
CONTROL, OPENFLOW, METRICS = 6640, 6653, 9476  # TCP ports of the guest
BRIDGE = "br0"
"""The bridge whose OpenFlow socket is carried to the host."""


class GuestSwitch(Switch):
    """The daemon in the guest. Everything but starting and ending it is as with one of the host."""

    patience = 240

    def __init__(self, directory: Path, machine: Machine, devices: Sequence[Device]) -> None:
        """Start the guest, which boots meanwhile. `directory`: short, and not below what the guest hides (/run, /dev)."""
        super().__init__(directory / "state")
        self._ways = {free_tcp_port(): port for port in (CONTROL, OPENFLOW, METRICS)}
        self.cache = directory / "cache"
        self.guest = Guest(directory, devices, machine=replace(machine, hostroot=True, forward=self._ways))
        self._relays: list[Child] = []
        self._pid = 0
        try:
            self._compile()
            self.guest.wait_ready(seconds=300)
            self._settle()
        except BaseException:
            self.guest.close()
            raise

    def _compile(self) -> None:
        """Leave bytecode of what the daemon imports where the guest's Python looks for it: compiling takes a minute there."""
        words = [sys.executable, "-m", "compileall", "-q", TREE / "vswitchd"]
        env = {"PYTHONPYCACHEPREFIX": str(self.cache), "PYTHONDONTWRITEBYTECODE": ""}
        run(words, env=env)
        run([sys.executable, "-c", "import vswitchd.__main__, vswitchd.daemon"], env=env)

    def _settle(self) -> None:
        """Addresses, the daemon's directory, and relays on both sides."""
        state = self.state
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        sockets = {CONTROL: state / "db.sock", OPENFLOW: state / f"{BRIDGE}.mgmt"}
        script = [
            "modprobe -a tun vfio-pci vfio_iommu_type1",
            "for key in all default; do echo 1 > /proc/sys/net/ipv6/conf/$key/disable_ipv6; done",
            f"ip addr add {MANAGEMENT}/24 dev eth0 && ip link set eth0 up",
            f"mount -t tmpfs -o mode=700 tmpfs {state}",
        ]
        script += [
            f"setsid wire relay tcp:{MANAGEMENT}:{port} unix:{path} < /dev/null > /dev/null 2>&1 &"
            for port, path in sockets.items()
        ]
        self.guest.run("\n".join(script))
        for outside, inside in self._ways.items():
            if inside in sockets:
                words: list[str | Path] = [
                    WIRE,
                    "relay",
                    f"unix:{sockets[inside]}",
                    f"tcp:127.0.0.1:{outside}",
                ]
                self._relays.append(Child(words, state.parent / f"relay{inside}.log"))

    @property
    def child(self) -> Child:
        """QEMU."""
        return self.guest.child

    @property
    def pid(self) -> int:
        """The daemon's, in the guest."""
        return self._pid

    def start(self) -> Self:
        """Start the daemon in the guest and wait until it answers."""
        env = f"PYTHONPYCACHEPREFIX={self.cache} PYTHONPATH={TREE}"
        words = f"{sys.executable} -m vswitchd --state {self.state} --metrics {MANAGEMENT}:{METRICS}"
        log = f"/run/daemon{self._starts}.out"
        self._starts += 1
        text = self.guest.run(f"{env} setsid {words} < /dev/null > {log} 2>&1 &\necho $!")[1]
        self._pid = int(text)
        until(self._answers, f"the switch in the guest answers ({log} there)", seconds=300, every=0.5)
        return self

    def _answers(self) -> bool:
        self.child.check_alive()
        alive = self.guest.run(f"kill -0 {self._pid}", check=False)[0] == 0
        assert alive, f"the daemon in the guest has ended:\n{self.daemon_output()}"
        return run(self._words("vsctl", "show"), check=False).returncode == 0

    def daemon_output(self) -> str:
        """What the daemon that was started last has written."""
        return self.guest.run(f"tail -c 8000 /run/daemon{self._starts - 1}.out")[1]

    def metrics_address(self) -> str:
        """HOST:PORT of the metrics page, on the host."""
        return next(f"127.0.0.1:{outside}" for outside, inside in self._ways.items() if inside == METRICS)

    def crash(self) -> None:
        """kill -9 in the guest, until the kernel has taken its devices back."""
        self.guest.run(f"kill -9 {self._pid}; while kill -0 {self._pid} 2>/dev/null; do sleep 0.1; done")

    def close(self) -> None:
        """End the relays and the guest, with all that is in it."""
        for relay in self._relays:
            relay.kill()
        self.guest.close()
