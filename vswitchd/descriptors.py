"""File descriptors: as many as the system allows, and some kept back so that an operator can still connect."""

from __future__ import annotations

import os
import resource

RESERVE = 64
"""What ports leave for control sockets, controllers, the metrics page and the log."""


def raise_limit() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one; return the limits as they were (soft, hard)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def shortage() -> str:
    """Return one line that says that no port can have descriptors any more; "" while there are enough."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    text = (
        f"too few file descriptors are left (limit {limit}, {RESERVE} kept for control connections): raise it"
        " with LimitNOFILE= of the service or ulimit -n, and start vswitchd again"
    )
    try:
        lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return text
    os.close(lowest)
    # The kernel gives the lowest free number, so at least as many as that are open.
    return text if limit != resource.RLIM_INFINITY and lowest >= limit - RESERVE else ""
