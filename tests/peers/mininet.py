"""Mininet's own command, `mn`, in namespaces of its own together with our switch and a controller."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .netns import NetNs
from .proc import run
from .switch import Switch
from .testcontroller import TOOLS

CUSTOM = Path(__file__).resolve().parents[2] / "deploy/mininet/vswitchd.py"

# Mininet 2.3 looks by an empty connection whether the server listens, and waits for the server's line about that.
# iperf 2.1, which Debian 12 has, prints none.
IPERF = f"""#!/bin/sh
case " $* " in *" -s "*) echo "0.0 bits/sec" ;; esac
exec {TOOLS}/usr/bin/iperf "$@"
"""


class Mininet:
    """A network namespace with a daemon in it. `under` runs a program there.

    `mn` ends programs by name and removes files of /tmp when something fails: it sees no processes but its own, and
    may not write to /tmp.
    """

    def __init__(self, place: Path, stack: ExitStack) -> None:
        self.place = place
        self.space = stack.enter_context(NetNs())
        self.under = self.space.command()
        self.switch = stack.enter_context(Switch(place / "state", under=self.under))
        programs = place / "bin"
        programs.mkdir()
        for name in ("vsctl", "vsofctl"):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m ctl.{name} "$@"\n')
            (programs / name).chmod(0o755)
        (programs / "iperf").write_text(IPERF)
        (programs / "iperf").chmod(0o755)
        path = [programs, *(TOOLS / part for part in ("usr/bin", "usr/sbin", "sbin", "bin"))]
        self._env = {
            "PATH": ":".join([*map(str, path), os.environ.get("PATH", ""), "/usr/sbin:/sbin"]),
            "PYTHONPATH": f"{TOOLS}/usr/lib/python3/dist-packages:{CUSTOM.parents[2]}",
            "VS_STATE": str(self.switch.state),
        }

    def mn(self, words: Sequence[str], commands: str) -> str:
        """Run `mn` with our switches, give it `commands`; its output."""
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        read_only = 'mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp && exec "$@"'
        inside = ["sh", "-c", read_only, "-", "/usr/bin/python3", TOOLS / "usr/bin/mn"]
        words = ["--custom", str(CUSTOM), "--switch", "vswitch", *words]
        done = run([*self.under, *apart, *inside, *words], env=self._env, stdin=commands, timeout=300)
        return done.stdout + done.stderr
