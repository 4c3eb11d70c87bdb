"""How tests share the machine's two cores, and the table of statements that ends a run of the conformance suite."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")  # nothing hangs on how busy the machine is

CHAINS = {
    "guests": tuple(f"tests/interop/test_{name}" for name in ("vfio_", "qemu", "kill9_guest")),
    "testpmd": ("tests/interop/test_testpmd",),
}
"""Tests one after the other, for they take much of what is there once: cores for emulation, memory, huge pages."""
SLOW = ("tests/interop/", "tests/stress/")
"""Folders of tests that wait more than they compute. They bring names of their own, so their files run side by side."""


def _chain(nodeid: str) -> str | None:
    return next((name for name, files in CHAINS.items() if nodeid.startswith(files)), None)


def _turn(item: pytest.Item) -> int:
    """Chains come first, in their order: they end last. What is short fills the gaps at the end."""
    if (chain := _chain(item.nodeid)) is not None:
        return list(CHAINS).index(chain)
    return len(CHAINS) + (not item.nodeid.startswith(SLOW))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what takes longest first, where tests run side by side."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say which tests stay together on one of pytest-xdist's workers: a chain, or a file. They start in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _chain(nodeid) or nodeid.partition("::")[0]

    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the statements of OpenFlow 1.3.5 that tests showed, in the order of the specification."""
    rows = []
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            found = dict(getattr(report, "user_properties", ())).get("statement")
            if found is not None and (report.when == "call" or outcome != "passed"):
                rows.append((*found, outcome))
    if not rows:
        return
    rows.sort(key=lambda row: [int(part) if part.isdigit() else 0 for part in row[0].split(".")])
    terminalreporter.section(f"OpenFlow 1.3.5: {len(rows)} statements")
    for section, text, _name, outcome in rows:
        terminalreporter.write_line(f"{section:10} {outcome:7} {text}")
