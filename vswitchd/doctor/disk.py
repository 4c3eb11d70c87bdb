"""Room for the configuration and the log: a full disk refuses every change of the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from vswitchd.doctor.case import Case
from vswitchd.doctor.finding import Finding, note, ok, problem
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me

SUBJECT = "disk"
LEAST, LITTLE = 16 << 20, 256 << 20


def check(host: Host, _me: Me, case: Case) -> Iterator[Finding]:
    """Look at the directories of state and log."""
    for path in dict.fromkeys((case.paths.state, case.paths.log)):
        space = host.space(path)
        if space is None:
            yield note(SUBJECT, f"{path} is not there yet; vswitchd makes it at its start")
            continue
        mb = space.free >> 20
        look = f"df -h {path}; du -xh {path} | sort -h | tail"
        if space.free < LEAST:
            yield problem(
                SUBJECT, f"{path}: {mb} MB are left; changes of the configuration will be refused", look
            )
        elif space.inodes_free is not None and space.inodes_free < 100:
            yield problem(SUBJECT, f"{path}: {space.inodes_free} inodes are left", f"df -i {path}")
        elif space.free < LITTLE:
            yield note(SUBJECT, f"{path}: {mb} MB are left", look)
        elif not host.may_use(path):
            yield problem(
                SUBJECT, f"{path} cannot be written by this user", f"ls -ld {path}; chown USER {path}"
            )
        else:
            yield ok(SUBJECT, f"{path}: {mb} MB free")
