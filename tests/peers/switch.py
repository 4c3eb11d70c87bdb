"""Our switch as a child process with private state: its programs, kill -9, restart, metrics page."""

import json
import os
import re
import socket
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .proc import Child, run
from .wait import until

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Metrics = dict[str, list[tuple[dict[str, str], float]]]


def parse_metrics(text: str) -> Metrics:
    """Read the Prometheus text format: for each sample name its (labels, value) pairs."""
    metrics: Metrics = {}
    for name, labels, value in _SAMPLE.findall(text):
        metrics.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
    return metrics


def total(metrics: Metrics, name: str, **labels: str) -> float:
    """Sum the samples of `name` that carry `labels`; 0 when there are none."""
    return sum(value for seen, value in metrics.get(name, []) if labels.items() <= seen.items())


def free_tcp_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Switch:
    """One daemon. A context manager that starts it and, at the end, stops it."""

    patience = 30
    """Seconds that vsctl waits for a change to be in force."""

    def __init__(
        self, state: Path, *, env: Mapping[str, str] | None = None, under: Sequence[str] = ()
    ) -> None:
        """Not started yet. `under` is a command to run the daemon by (valgrind)."""
        self.state = state
        self._under = list(under)
        self._env = dict(env or {})
        self._child: Child | None = None
        self._starts = 0

    @property
    def run_dir(self) -> Path:
        """Where its sockets are."""
        return self.state

    @property
    def child(self) -> Child:
        """The running daemon."""
        assert self._child is not None, "not started"
        return self._child

    def start(self) -> Self:
        """Start the daemon and wait until its control socket answers."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.state / f"daemon{self._starts}.out"
        self._starts += 1
        argv: list[str | Path] = [*self._under, sys.executable, "-m", "vswitchd", "--state", self.state]
        self._child = Child([*argv, "--metrics", "127.0.0.1:0"], log, nice=0, env=self._env)
        try:
            until(self._answers, f"the switch answers (log: {log})")
        except BaseException:
            self.crash()
            raise
        return self

    def _answers(self) -> bool:
        self.child.check_alive()
        return run(self._words("vsctl", "show"), check=False).returncode == 0

    def _words(self, program: str, *words: str | Path) -> list[str | Path]:
        return [sys.executable, "-m", f"ctl.{program}", f"--db=unix:{self.run_dir}/db.sock", *words]

    def vsctl(self, *words: str) -> str:
        """Run vsctl; its output without the last newline.

        To somebody without the right to make interfaces vsctl says by 65 that a new bridge has no LOCAL.
        """
        done = run(self._words("vsctl", f"--timeout={self.patience}", *words), check="add-br" not in words)
        faults = [line for line in done.stderr.splitlines() if "Error detected" in line]
        no_local = bool(faults) and all("internal port" in f and "no permission" in f for f in faults)
        if done.returncode and not (done.returncode == 65 and no_local and os.geteuid() != 0):
            raise AssertionError(f"vsctl {' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
        return done.stdout.strip()

    def ofctl(self, *words: str, stdin: str | None = None) -> str:
        """Run vsofctl."""
        return run(self._words("vsofctl", *words), stdin=stdin).stdout

    def appctl(self, *words: str) -> str:
        """Run vsappctl."""
        return run(self._words("vsappctl", *words)).stdout

    def json(self, *words: str) -> Any:
        """Run vsappctl with `-f json` and parse the answer."""
        return json.loads(self.appctl(*words, "-f", "json"))

    def add_bridge(self, name: str, *, secure: bool = False) -> None:
        """Add a bridge that does NORMAL from the start, or, when `secure`, has no flow."""
        mode = "secure" if secure else "standalone"
        self.vsctl("add-br", name, "--", "set-fail-mode", name, mode)

    def add_vhost(self, bridge: str, port: str, ofport: int, *, client: Path | None = None) -> Path:
        """Add a vhost-user port; give the socket, which is `client` if the peer listens."""
        kind = ["type=dpdkvhostuser"]
        if client is not None:
            kind = ["type=dpdkvhostuserclient", f"options:vhost-server-path={client}"]
        self.vsctl(
            "add-port", bridge, port, "--", "set", "Interface", port, f"ofport_request={ofport}", *kind
        )
        return client or self.run_dir / port

    def add_device(self, bridge: str, device: str, ofport: int) -> None:
        """Add an existing network device (veth)."""
        self.vsctl("add-port", bridge, device, "--", "set", "Interface", device, f"ofport_request={ofport}")

    def add_tap(self, bridge: str, device: str, ofport: int) -> None:
        """Add a tap that the switch makes."""
        self.vsctl(
            "add-port",
            bridge,
            device,
            "--",
            "set",
            "Interface",
            device,
            f"ofport_request={ofport}",
            "type=tap",
        )

    def set_flows(self, bridge: str, flows: str) -> None:
        """Replace the flow table by `flows`, one a line."""
        # After a restart the bridge comes a little later than the daemon.
        until((self.run_dir / f"{bridge}.mgmt").is_socket, f"OpenFlow socket of {bridge}")
        self.ofctl("del-flows", bridge)
        self.ofctl("add-flows", bridge, "-", stdin=flows)

    def statistics(self, port: str) -> dict[str, int]:
        """Interface statistics by name."""
        text = self.vsctl("get", "Interface", port, "statistics")
        return {key: int(value) for key, value in re.findall(r'"?(\w+)"?=(\d+)', text)}

    def metrics(self) -> Metrics:
        """Scrape the metrics page."""
        with urllib.request.urlopen(f"http://{self.metrics_address()}/metrics", timeout=60) as answer:
            return parse_metrics(answer.read().decode())

    def metrics_address(self) -> str:
        """HOST:PORT of the metrics page."""
        return self.vsctl("get", "Open_vSwitch", ".", "statistics:metrics_address").strip('"')

    def crash(self) -> None:
        """kill -9."""
        self.child.kill()
        self._child = None

    def crash_and_restart(self) -> None:
        """kill -9 the daemon, then start it again on the same state."""
        self.crash()
        self.start()

    def close(self) -> None:
        """Stop it with SIGTERM."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
