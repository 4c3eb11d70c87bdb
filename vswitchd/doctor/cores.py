"""The cores that poll: alone on their core, off CPU 0, out of the scheduler's reach, at full clock."""

from __future__ import annotations

from collections.abc import Iterator

from vswitchd.doctor import boot
from vswitchd.doctor.case import Case
from vswitchd.doctor.finding import Finding, note, ok
from vswitchd.doctor.host import Host
from vswitchd.doctor.process import Me, cpu_list

SUBJECT = "cores"
CPU = "/sys/devices/system/cpu"


def mask_of(cpus: list[int]) -> str:
    """Return a hexadecimal mask, as pmd-cpu-mask wants it."""
    return f"0x{sum(1 << cpu for cpu in cpus):x}"


def _set_mask(cpus: list[int]) -> str:
    return f"vsctl set Open_vSwitch . other_config:pmd-cpu-mask={mask_of(cpus)}"


def _shown(cpus: list[int] | tuple[int, ...]) -> str:
    return f"CPU{'s' if len(cpus) > 1 else ''} {','.join(map(str, cpus))}"


def siblings(host: Host, cpu: int) -> tuple[int, ...]:
    """Return the hyperthreads that share a CPU's core with it."""
    found = cpu_list(host.read(f"{CPU}/cpu{cpu}/topology/thread_siblings_list") or "")
    return tuple(other for other in found if other != cpu)


def check(host: Host, me: Me, case: Case) -> Iterator[Finding]:
    """Look at every CPU that polls."""
    polling = list(case.polling)
    if not polling:
        return
    if len(me.cpus) == 1:
        yield _alone(host, me)
    elif 0 in polling:
        rest = [cpu for cpu in polling if cpu] or [cpu for cpu in me.cpus if cpu][:1]
        text = "CPU 0 polls: interrupts and the kernel's own work land there and delay packets"
        yield note(SUBJECT, text, _set_mask(rest))
    else:
        yield ok(SUBJECT, f"{_shown(polling)} poll{'s' if len(polling) == 1 else ''}")
    yield from _threads(host, me, polling)
    yield from _isolated(host, me, polling)
    slow = [
        cpu
        for cpu in polling
        if (host.read(f"{CPU}/cpu{cpu}/cpufreq/scaling_governor") or "performance") != "performance"
    ]
    if slow:
        word = host.read(f"{CPU}/cpu{slow[0]}/cpufreq/scaling_governor")
        yield note(
            SUBJECT,
            f'{_shown(slow)}: governor "{word}" lowers the clock',
            f"cpupower -c {','.join(map(str, slow))} frequency-set -g performance",
        )


def _alone(host: Host, me: Me) -> Finding:
    online = host.read(f"{CPU}/online") or ""
    text = f"{_shown(me.cpus)} is all this process may use: polling and control share it"
    if len(cpu_list(online)) > 1:
        return note(
            SUBJECT, text, f"start it by taskset -c {online}; CPUAffinity= or AllowedCPUs= in the service"
        )
    return note(SUBJECT, f"{text}, as this machine has no other")


def _threads(host: Host, me: Me, polling: list[int]) -> Iterator[Finding]:
    """Two threads of one core get about half of it each."""
    kept: list[int] = []
    doubled: list[tuple[int, int]] = []
    lent: list[tuple[int, int]] = []
    for cpu in polling:
        others = siblings(host, cpu)
        if taken := [other for other in others if other in kept]:
            doubled.append((taken[0], cpu))
            continue
        kept.append(cpu)
        lent += [(cpu, other) for other in others if other not in polling and other in me.cpus]
    if doubled:
        pairs = ", ".join(f"{a} and {b}" for a, b in doubled)
        yield note(
            SUBJECT, f"CPUs {pairs} poll on one core each: its threads share its power", _set_mask(kept)
        )
    if lent:
        pairs = ", ".join(f"{b} beside {a}" for a, b in lent)
        offline = "; ".join(f"echo 0 >{CPU}/cpu{other}/online" for _, other in lent if other)
        yield note(
            SUBJECT,
            f"hyperthreads that others may use share a polling core: CPU {pairs}",
            offline or "poll elsewhere than beside CPU 0",
        )


def _isolated(host: Host, me: Me, polling: list[int]) -> Iterator[Finding]:
    isolated = set(cpu_list(host.read(f"{CPU}/isolated") or ""))
    open_to_all = [cpu for cpu in polling if cpu not in isolated]
    if not open_to_all or len(me.cpus) == 1:
        if polling and not open_to_all:
            yield ok(SUBJECT, "what polls is isolated from the scheduler")
        return
    cpus = ",".join(map(str, polling))
    words = f"isolcpus=managed_irq,domain,{cpus} nohz_full={cpus} rcu_nocbs={cpus}"
    text = f"{_shown(open_to_all)}: not isolated, so that other programs interrupt polling (matters for latency alone)"
    yield note(SUBJECT, text, boot.words(host, words))
