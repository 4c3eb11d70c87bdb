"""Faucet 1.10.12 and its statistics collector gauge, unmodified, on ports of the loopback."""

import json
import os
import signal
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .need import INSTALL, PEERS, missing
from .proc import Child
from .switch import Metrics, free_tcp_port, parse_metrics

VENV = PEERS / "faucet"


def need_faucet() -> None:
    """Require the virtual environment with faucet."""
    if not (VENV / ".complete").exists():
        missing(f"{VENV} is missing: {INSTALL}")


class Faucet:
    """The controller, or with `gauge` the collector, with a configuration (what its YAML file says).

    Not started yet. A configuration may name `place`, where its files are, and `metrics_port`.
    """

    def __init__(self, place: Path, *, gauge: bool = False) -> None:
        self.place = place
        self.port = free_tcp_port()
        self.metrics_port = free_tcp_port()
        self._name = "gauge" if gauge else "faucet"
        self._config = place / f"{self._name}.yaml"
        self._log = place / f"{self._name}.log"
        self._child: Child | None = None

    @property
    def target(self) -> str:
        """What the switch calls it."""
        return f"tcp:127.0.0.1:{self.port}"

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write its configuration, and tell it so if it runs. JSON is YAML."""
        fresh = self._config.with_suffix(".new")
        fresh.write_text(json.dumps(config, indent=1))
        fresh.rename(self._config)
        if self._child is not None:
            self._child.signal(signal.SIGHUP)

    def start(self) -> None:
        """Start it; the switch finds it by itself."""
        name = self._name.upper()
        env = {
            f"{name}_CONFIG": str(self._config),
            f"{name}_LOG": str(self._log),
            f"{name}_EXCEPTION_LOG": str(self.place / f"{self._name}.exceptions"),
            "FAUCET_PROMETHEUS_PORT": str(self.metrics_port),
            "FAUCET_PROMETHEUS_ADDR": "127.0.0.1",
            # It finds os-ken's manager there.
            "PATH": f"{VENV}/bin:{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        }
        words = [VENV / "bin" / self._name, "--ryu-ofp-listen-host=127.0.0.1"]
        words += [f"--ryu-ofp-tcp-listen-port={self.port}"]
        self._child = Child(words, self.place / f"{self._name}.out", env=env)

    def kill(self) -> None:
        """kill -9; may be said twice."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def log(self) -> str:
        """What it logged; empty before the first line."""
        return self._log.read_text() if self._log.exists() else ""

    def exceptions(self) -> str:
        """What it did not expect; empty when all is well."""
        path = self.place / f"{self._name}.exceptions"
        return path.read_text() if path.exists() else ""

    def metrics(self) -> Metrics:
        """Scrape its own Prometheus page; OSError before it is up."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60) as answer:
            return parse_metrics(answer.read().decode())
