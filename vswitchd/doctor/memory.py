"""Memory for DMA: huge pages (fewer IOTLB misses), and the right to lock it."""

from __future__ import annotations

from collections.abc import Iterator

from vswitchd.doctor.case import CLIENT_TYPE, SERVER_TYPE, VFIO_TYPES, Case
from vswitchd.doctor.finding import Finding, note, ok, problem
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Capability, Me

SUBJECT = "memory"
POOLS = "/sys/kernel/mm/hugepages"
DMA_PORT = 16 << 20
"""About what a VFIO port with rings of the default size locks (ports/vfio/memory.py: buffers come in chunks of 2 MB)."""
DMA_COMFORT = 1 << 30
HUGE_2M = 256
"""Pages of 2 MB to suggest: half a gigabyte holds the rings and buffers of a few ports."""
NO_LIMIT = (
    "LimitMEMLOCK=infinity in the service (deploy/systemd has it), or ulimit -l unlimited before the start"
)


def huge_pages(host: Host) -> dict[int, tuple[int, int]]:
    """Return {page size in kB: (pages, free pages)}."""
    found = {}
    for name in host.names(POOLS):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        total, free = (
            host.read(f"{POOLS}/{name}/{file}") or "" for file in ("nr_hugepages", "free_hugepages")
        )
        if size.isdigit() and total.isdigit() and free.isdigit():
            found[int(size)] = (int(total), int(free))
    return found


def check(host: Host, me: Me, case: Case) -> Iterator[Finding]:
    """Look at huge pages and at the limit of locked memory."""
    wanted = bool(case.names(VFIO_TYPES))
    pools = huge_pages(host)
    shown = ", ".join(
        f"{free} of {total} free of {size >> 10} MB" for size, (total, free) in sorted(pools.items()) if total
    )
    total, free = pools.get(2048, (0, 0))
    mend = (
        f"sysctl vm.nr_hugepages={total + HUGE_2M}",
        f"echo vm.nr_hugepages={total + HUGE_2M} >/etc/sysctl.d/61-vswitchd.conf",
    )
    if wanted and not total:
        yield note(
            SUBJECT,
            "no huge pages of 2 MB: VFIO ports take ordinary pages, at the price of IOTLB misses",
            *mend,
        )
    elif wanted and not free and not case.running:
        yield note(
            SUBJECT, f"all {total} huge pages of 2 MB are taken: VFIO ports take ordinary pages", *mend
        )
    elif shown:
        yield ok(SUBJECT, f"huge pages: {shown}")
    elif case.names({SERVER_TYPE, CLIENT_TYPE}):
        yield ok(SUBJECT, "no huge pages; guests on memfd (share=on) need none")
    else:
        yield ok(SUBJECT, "no huge pages, and no port that would use them")
    if wanted or me.memlock is None or Capability.IPC_LOCK in me.capabilities:
        yield _memlock(me, DMA_PORT * max(1, len(case.names(VFIO_TYPES))))


def _memlock(me: Me, least: int) -> Finding:
    if me.memlock is None:
        return ok(SUBJECT, "memory may be locked without limit")
    if Capability.IPC_LOCK in me.capabilities:
        return ok(SUBJECT, "memory may be locked without limit (CAP_IPC_LOCK)")
    text = f"only {me.memlock >> 10} kB may be locked (RLIMIT_MEMLOCK)"
    if me.memlock < least:
        return problem(SUBJECT, f"{text}: the VFIO ports need about {least >> 20} MB", NO_LIMIT)
    if me.memlock < DMA_COMFORT:
        return note(SUBJECT, f"{text}: a few VFIO ports use it up", NO_LIMIT)
    return ok(SUBJECT, f"{me.memlock >> 20} MB may be locked")
