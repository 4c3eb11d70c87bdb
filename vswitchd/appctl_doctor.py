"""vsappctl doctor: what keeps this machine from running the switch well, and what mends it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from vswitchd.appctl import Answer, Command
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from vswitchd.daemon import Daemon


async def _doctor(daemon: Daemon, args: list[str]) -> Answer:
    from vswitchd.doctor import cases, examine  # noqa: PLC0415 - a daemon starts without it
    from vswitchd.doctor.host import Host  # noqa: PLC0415

    case = cases.of_daemon(daemon)
    unknown = set(args) - {port.name for port in case.ports}
    if unknown:
        raise ConfigError(f"no port named {', '.join(sorted(unknown))}")
    host = Host()
    # Looking for who holds a device reads all of /proc: not on the control thread.
    found = await asyncio.to_thread(examine.examine, host, case, args)
    text, data = examine.report(
        case, f"vswitchd {daemon.version} (pid {os.getpid()}), {daemon.paths.state}:", found
    )
    return Answer(text, data)


COMMANDS = (Command("doctor", "[PORT]...", 0, None, _doctor),)
