"""A private OVS-DPDK (Debian's 3.1): the benchmark's peer, and a stand-in that proves the harness."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .need import OVS_DPDK
from .proc import Child, run
from .wait import until

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


@dataclass(frozen=True, slots=True)
class OvsSetup:
    """How it is started: cores as masks, huge pages in megabytes, `pmd-maxsleep` in us (None: spin), segments of guests.

    `own_net`: in a network namespace of its own; two daemons in one would want the same interface, ovs-netdev.
    """

    pmd_mask: int = 1
    lcore_mask: int = 1
    megabytes: int = 256
    max_sleep: int | None = None
    tso: bool = False
    own_net: bool = False


class OvsDpdk:
    """ovsdb-server and ovs-vswitchd with every directory of their own, no PCI devices, no controller."""

    def __init__(self, directory: Path, setup: OvsSetup | None = None) -> None:
        self.directory = directory
        self.setup = setup or OvsSetup()
        directory.mkdir(parents=True, exist_ok=True)
        self._env = {
            name: str(directory) for name in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        }
        self._db = f"unix:{directory}/db.sock"
        self._children: list[Child] = []
        self._sockets: list[Path] = []

    def start(self) -> Self:
        """Start both daemons and wait until the datapath is there."""
        database = self.directory / "conf.db"
        if not database.exists():
            run(["ovsdb-tool", "create", database, SCHEMA])
        server = Child(
            [
                "ovsdb-server",
                database,
                f"--remote=p{self._db}",
                f"--pidfile={self.directory}/ovsdb.pid",
                "--no-chdir",
            ],
            self.directory / "ovsdb.log",
            env=self._env,
        )
        self._children.append(server)
        until((self.directory / "db.sock").exists, "socket of ovsdb-server")
        setup = self.setup
        extra = f"--no-pci --in-memory --no-telemetry --file-prefix=ovs{server.pid}"
        config = [
            "dpdk-init=true",
            f"dpdk-extra={extra!r}".replace("'", '"'),
            f"dpdk-socket-mem={setup.megabytes}",
            f"dpdk-lcore-mask={setup.lcore_mask:#x}",
            f"pmd-cpu-mask={setup.pmd_mask:#x}",
        ]
        if setup.max_sleep is not None:
            config.append(f"pmd-maxsleep={setup.max_sleep}")
        if setup.tso:
            config.append("userspace-tso-enable=true")
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *(f"other_config:{item}" for item in config))
        self._children.append(
            Child(
                [
                    *(["unshare", "--net"] if setup.own_net else []),
                    OVS_DPDK,
                    self._db,
                    f"--pidfile={self.directory}/vswitchd.pid",
                    "-vconsole:warn",
                    "-vfile:info",
                    f"--log-file={self.directory}/vswitchd.log",
                    f"--unixctl={self.directory}/control",
                ],
                self.directory / "vswitchd.out",
                env=self._env,
                nice=0,
            )
        )
        until(
            lambda: self.vsctl("get", "Open_vSwitch", ".", "dpdk_initialized") == "true", "dpdk_initialized"
        )
        return self

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl on the private database."""
        return run(["ovs-vsctl", f"--db={self._db}", "--timeout=30", *words], env=self._env).stdout.strip()

    def ofctl(self, *words: str, stdin: str | None = None) -> str:
        """Run ovs-ofctl with OpenFlow 1.3."""
        return run(["ovs-ofctl", "-O", "OpenFlow13", *words], env=self._env, stdin=stdin).stdout

    def appctl(self, *words: str) -> str:
        """Run ovs-appctl on the daemon."""
        return run(["ovs-appctl", "-t", self.directory / "control", *words], env=self._env).stdout

    def add_bridge(self, name: str, *, secure: bool = False) -> None:
        """Add a userspace bridge: NORMAL from the start, or, when `secure`, without a flow."""
        mode = "secure" if secure else "standalone"
        self.vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", f"fail-mode={mode}")

    def add_vhost(self, bridge: str, port: str, ofport: int, *, client: Path | None = None) -> Path:
        """Add a vhost-user port; give the socket, which is `client` if the peer listens."""
        kind = ["type=dpdkvhostuser"]
        if client is not None:
            kind = ["type=dpdkvhostuserclient", f"options:vhost-server-path={client}"]
        self.vsctl(
            "add-port", bridge, port, "--", "set", "Interface", port, f"ofport_request={ofport}", *kind
        )
        self._sockets.append(self.directory / port)
        return client or self.directory / port

    def add_device(self, bridge: str, device: str, ofport: int) -> None:
        """Add an existing network device (veth)."""
        self.vsctl("add-port", bridge, device, "--", "set", "Interface", device, f"ofport_request={ofport}")

    def set_flows(self, bridge: str, flows: str) -> None:
        """Replace the flow table by `flows` (a line each) in one bundle."""
        control = self.directory / f"{bridge}.mgmt"
        # After a restart the bridge comes a little later than the daemon.
        until(
            lambda: (
                run(["ovs-ofctl", "-O", "OpenFlow13", "show", f"unix:{control}"], check=False).returncode == 0
            ),
            f"OpenFlow on {control}",
        )
        self.ofctl("del-flows", bridge)
        self.ofctl("--bundle", "add-flows", bridge, "-", stdin=flows)

    def statistics(self, port: str) -> dict[str, int]:
        """Interface statistics by name."""
        text = self.vsctl("get", "Interface", port, "statistics")
        return {key: int(value) for key, value in re.findall(r'"?(\w+)"?=(\d+)', text)}

    def cycles_per_packet(self) -> float:
        """Average processing cycles per packet since `clear_cycles`."""
        found = re.search(
            r"avg processing cycles per packet: ([\d.]+)", self.appctl("dpif-netdev/pmd-stats-show")
        )
        return float(found[1]) if found else float("nan")

    def clear_cycles(self) -> None:
        """Start counting cycles anew."""
        self.appctl("dpif-netdev/pmd-stats-clear")

    def pids(self) -> list[int]:
        """Its processes, the database first."""
        return [child.pid for child in self._children]

    def crash_and_restart(self) -> None:
        """kill -9 the switch daemon and start it again on the same database.

        OVS 3.1 does not bind over the sockets of its predecessor; an operator has to remove them.
        """
        self._children.pop().kill()
        self._children.pop().stop()
        for path in self._sockets:
            path.unlink(missing_ok=True)
        self.start()

    def close(self) -> None:
        """Stop both daemons."""
        while self._children:
            self._children.pop().stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
