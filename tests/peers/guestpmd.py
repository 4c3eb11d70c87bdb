"""dpdk-testpmd inside the guest that runs on the host's root: ports on VFIO devices, forwarding as they are."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from .guest import Guest
from .testpmd import PROMPT
from .wait import until

LOG, STDIN = "/run/testpmd.log", "/run/testpmd.in"
DRIVERS = "bus_pci bus_vdev mempool_ring net_e1000 net_virtio net_vmxnet3"
PLUGINS = f"""
set -e
# DPDK loads every driver of its directory, which takes half a minute in emulation: leave it those that are needed.
all=$(echo /usr/lib/x86_64-linux-gnu/dpdk/pmds-*)
if ! mountpoint -q $all; then
  mkdir -p /run/pmds-all /run/pmds
  mount --bind $all /run/pmds-all
  for name in {DRIVERS}; do ln -s /run/pmds-all/librte_$name.so.* /run/pmds/; done
  mount --bind /run/pmds $all
fi
mkdir -p /dev/hugepages
mountpoint -q /dev/hugepages || mount -t hugetlbfs hugetlbfs /dev/hugepages
"""


class GuestPmd:
    """testpmd on the devices of these addresses, which it forwards between in pairs. A context manager."""

    def __init__(self, guest: Guest, addresses: Sequence[str], *, options: str = "") -> None:
        """Start, wait for the prompt, forward."""
        self.guest = guest
        allowed = " ".join(f"-a {address}" for address in addresses)
        guest.run(f"""{PLUGINS}
            rm -f {STDIN}
            mkfifo {STDIN}
            (while :; do sleep 1000; done > {STDIN}) > /dev/null 2>&1 < /dev/null &
            echo $! > {STDIN}.pid
            LD_LIBRARY_PATH=/run/pmds-all stdbuf -oL dpdk-testpmd --lcores 0@0,1@0 --in-memory --no-telemetry {allowed} -- \\
                -i --nb-cores=1 --total-num-mbufs=8192 {options} < {STDIN} > {LOG} 2>&1 &
            echo $! > {LOG}.pid""")
        until(
            lambda: PROMPT.strip() in self._output(), "testpmd in the guest is there", seconds=90, every=0.5
        )
        self.command("set fwd io", "start")

    def _output(self) -> str:
        code, text = self.guest.run(f"cat {LOG}; kill -0 $(cat {LOG}.pid)", check=False)
        assert code == 0, f"testpmd in the guest has ended:\n{text[-4000:]}"
        return text

    def command(self, *lines: str) -> None:
        """Give it command lines."""
        self.guest.run("\n".join(f"echo '{line}' > {STDIN}" for line in lines))

    def close(self) -> None:
        """Tell it to quit, and wait until its devices are free."""
        self.command("stop", "quit")
        self.guest.run(f"""
            for i in $(seq 100); do kill -0 $(cat {LOG}.pid) 2> /dev/null || break; sleep 0.1; done
            kill -9 $(cat {LOG}.pid) 2> /dev/null; kill $(cat {STDIN}.pid); true""")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
