"""The cores' share of the configuration: which CPUs poll, when they sleep, which receive queue is whose."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vswitchd import cores
from vswitchd.datapath.core import DatapathError
from vswitchd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vswitchd.bridge import LivePort
    from vswitchd.datapath import dp

_log = logging.getLogger(__name__)


class CorePolicy:
    """Remembers what was applied, so that nothing is touched that did not change."""

    def __init__(self, allowed: Iterable[int] | None = None) -> None:
        self._allowed = sorted(allowed) if allowed is not None else cores.allowed_cpus()
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
            _log.info("polling on CPUs %s", ",".join(map(str, chosen)))

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
