"""The cores' share of the configuration: which CPUs poll, when they sleep, which receive queue is whose.

The control thread keeps off the CPUs that poll as long as there is another: a scheduler that puts it on one of them
takes a quarter of that core's packets for a thousand flow-mods a second.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vswitchd import cores
from vswitchd.datapath.core import DatapathError
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vswitchd.bridge import LivePort
    from vswitchd.datapath import dp

_log = logging.getLogger(__name__)


class CorePolicy:
    """Remembers what was applied, so that nothing is touched that did not change."""

    def __init__(self, allowed: Iterable[int], bind: Callable[[list[int]], None]) -> None:
        """`allowed`: the process's CPUs as it was started; `bind` moves the control thread (`cores.bind`)."""
        self._allowed = sorted(allowed)
        self._bind = bind
        self._cpus: list[int] = []
        self._sleep: tuple[int | None] | None = None
        self._said = ""
        self._pinned: dict[tuple[str, int], int] | None = None

    def configure(self, datapath: dp.Datapath, other_config: Mapping[str, str]) -> None:
        """Apply pmd-cpu-mask, vs-idle-sleep-us and pmd-sleep-max of Open_vSwitch:other_config."""
        chosen, warning = cores.choose(other_config.get("pmd-cpu-mask"), self._allowed)
        sleep: int | None = cores.DEFAULT_IDLE_SLEEP_US
        try:
            sleep = cores.parse_idle_sleep(
                other_config.get("vs-idle-sleep-us"), other_config.get("pmd-sleep-max")
            )
        except ConfigError as error:
            warning = f"{warning}; {error}" if warning else str(error)
        if warning and warning != self._said:
            _log.warning("%s", warning)
        self._said = warning
        if self._sleep != (sleep,):
            self._sleep = (sleep,)
            datapath.set_idle_sleep(sleep)
        if self._cpus != chosen:
            self._cpus = chosen
            try:
                datapath.set_cores(chosen)
            except DatapathError as error:
                _log.error("%s", error)
            self._keep_off(chosen)

    def _keep_off(self, polling: list[int]) -> None:
        control = cores.control_cpus(polling, self._allowed)
        try:
            self._bind(control)
        except OSError as error:
            _log.warning("the control thread cannot be kept on CPUs %s: %s", _list(control), error.strerror)
        _log.info("polling on CPUs %s, control thread on %s", _list(polling), _list(control))

    def spread(self, datapath: dp.Datapath, ports: Iterable[LivePort]) -> None:
        """Pin the queues that pmd-rxq-affinity names to their CPU, let the datapath spread all others."""
        wanted = {(port.name, queue): cpu for port in ports for queue, cpu in port.spec.affinity}
        if wanted != self._pinned:
            self._pinned = wanted
            for (name, queue), cpu in wanted.items():
                if cpu not in self._cpus:
                    text = "interface %s: queue %d wants CPU %d, which does not poll (pmd-cpu-mask)"
                    _log.warning(text, name, queue, cpu)
        datapath.assign_rxqs(wanted)


def _list(cpus: Iterable[int]) -> str:
    return ",".join(map(str, cpus))
