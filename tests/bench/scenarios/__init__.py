"""The scenarios by name, in the order in which they run."""

from bench.scenario import Scenario

from . import attack, flows, idle, latency, pipelines, ports, setup, sizes, updates

SCENARIOS: dict[str, Scenario] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (flows, sizes, pipelines, setup, attack, updates, ports, latency, idle)
}
