"""The cores' share of the configuration: which CPUs poll, when they sleep, which receive queue is whose."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vswitchd import cores
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
        self.pinned: dict[tuple[dp.PortHandle, int], int] = {}

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
            datapath.set_cores(chosen)
            _log.info("polling on CPUs %s", ",".join(map(str, chosen)))

    def spread(self, datapath: dp.Datapath, ports: Iterable[tuple[LivePort, dp.PortHandle]]) -> None:
        """Pin the queues that pmd-rxq-affinity names to their CPU, let the datapath spread all others."""
        wanted: dict[tuple[dp.PortHandle, int], int] = {}
        for port, handle in ports:
            for queue, cpu in port.spec.affinity:
                if cpu in self._cpus:
                    wanted[handle, queue] = cpu
                else:
                    _log.warning(
                        "interface %s: queue %d wants CPU %d, which does not poll (pmd-cpu-mask)",
                        *(port.name, queue, cpu),
                    )
        self.pinned = wanted
        datapath.assign_rxqs(dict(wanted))
        datapath.rebalance()
