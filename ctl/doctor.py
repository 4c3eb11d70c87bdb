"""vsappctl doctor where no daemon answers: the same checks, by this process, on the stored configuration."""

from __future__ import annotations

import errno

from vswitchd import paths
from vswitchd.doctor import cases, examine
from vswitchd.doctor.host import Host
from vswitchd.errors import ConfigError, RpcError

ABSENT = frozenset({errno.ENOENT, errno.ECONNREFUSED})


def absent(error: RpcError) -> bool:
    """Say whether an error means that no daemon runs (and not that one is stuck, or not ours to ask)."""
    return error.errno in ABSENT


def diagnose(state: str | None, args: list[str]) -> dict[str, object]:
    """Return what the daemon would answer: {"text", "data"}. Raises ConfigError for a port that is not configured."""
    case, remarks = cases.of_files(paths.find(state))
    unknown = set(args) - {port.name for port in case.ports}
    if unknown:
        raise ConfigError(
            f"no port named {', '.join(sorted(unknown))} is configured in {case.paths.config_db}"
        )
    found = [*remarks, *examine.examine(Host(), case, args)]
    text, data = examine.report(
        case, f"no vswitchd runs on {case.paths.state}; looked at as this user:", found
    )
    return {"text": text, "data": data}
