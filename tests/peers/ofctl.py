"""Debian's ovs-ofctl, unmodified, on one target with one version of OpenFlow."""

import re
from pathlib import Path

from .proc import run

# Version, as ovs-ofctl's -O names it: what its output calls it.
NAMES = {"OpenFlow10": "", "OpenFlow13": r" \(OF1\.3\)"}


class Ofctl:
    """A call runs a command; options may stand before it, as "--bundle add-flows"."""

    def __init__(self, target: str, version: str = "OpenFlow13") -> None:
        self.target = target
        self.version = version
        self._name = NAMES[version]

    def words(self, command: str, *words: str | Path) -> list[str]:
        """The command line."""
        return ["ovs-ofctl", "-O", self.version, *command.split(), self.target, *map(str, words)]

    def __call__(
        self, command: str, *words: str | Path, stdin: str | None = None, timeout: float = 120
    ) -> str:
        """Run a command; its output without the head line of a reply."""
        text = run(self.words(command, *words), stdin=stdin, timeout=timeout).stdout
        return re.sub(rf"^\w+ reply{self._name} \(xid=0x\w+\):", "", text)

    def fails(self, command: str, *words: str | Path, stdin: str | None = None) -> list[str]:
        """Run a command that the switch refuses; the names of the errors."""
        done = run(self.words(command, *words), check=False, stdin=stdin)
        return re.findall(rf"OFPT_ERROR{self._name} \(xid=\w+\): (\w+)", done.stdout + done.stderr)

    def flows(self, *words: str) -> list[str]:
        """All flows as text, without counters and times, sorted."""
        text = self("--no-stats --no-names dump-flows", *words)
        return sorted(line.strip() for line in text.splitlines() if line.strip())
