"""Ryu 4.34 with applications of its own, unmodified, on ports of the loopback; its REST interface."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .need import missing
from .proc import Child, run
from .switch import free_tcp_port
from .wait import until

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-ryu/bin/python"


def need_ryu() -> None:
    """Require the virtual environment with Ryu."""
    if not PYTHON.exists():
        missing(f"{PYTHON} is missing: run tests/peers/ryu_venv.sh")


class Ryu:
    """ryu-manager with `apps`. `under` is a command to run it by (ip netns exec NAME). Not started yet."""

    def __init__(self, place: Path, *apps: str, under: Sequence[str] = ()) -> None:
        self.port = free_tcp_port()
        self._web = free_tcp_port()
        self._apps = apps
        self._place = place
        self._under = under
        self._child: Child | None = None
        self._starts = 0

    @property
    def target(self) -> str:
        """What the switch calls it."""
        return f"tcp:127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; the switch finds it by itself."""
        self._starts += 1
        words: list[str | Path] = [*self._under, PYTHON, ROOT / "tests/peers/ryu_manager.py"]
        words += ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(self.port)]
        # At 10, debug, it logs the errors that the switch sends.
        words += ["--default-log-level", "10", "--wsapi-host", "127.0.0.1", "--wsapi-port", str(self._web)]
        words += self._apps
        self._child = Child(words, self._place / f"ryu{self._starts}.log")

    def kill(self) -> None:
        """kill -9; may be said twice."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def output(self) -> str:
        """All that it has logged since its last start."""
        assert self._child is not None, "not started"
        return self._child.output()

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """Call its REST interface; the parsed answer, None if that is empty. OSError: not there, or an error."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._web}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{method} {path}: {error.code} {error.read()!r}") from None
        return json.loads(text) if text else None

    def wait_for(self, datapath_id: str) -> int:
        """Until ofctl_rest knows the switch; its datapath id as a number."""
        number = int(datapath_id, 16)
        until(lambda: number in self.rest("GET", "/stats/switches"), f"Ryu knows switch {datapath_id}")
        return number


def flows_of(socket: Path, version: str = "OpenFlow13") -> list[str]:
    """All flows of a bridge by ovs-ofctl, without counters."""
    words = ["ovs-ofctl", "-O", version, "--no-stats", "--no-names", "dump-flows", f"unix:{socket}"]
    return [line.strip() for line in run(words).stdout.splitlines() if "actions=" in line]
