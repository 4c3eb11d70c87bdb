"""How tests share the machine's two cores, and the table of statements that ends a run of the conformance suite."""

from typing import Any

import pytest

ALONE = ("tests/interop/", "tests/stress/")
"""Folders whose tests use what is there once (huge pages, cores, names of devices)."""
ASIDE = tuple(f"tests/interop/test_{name}" for name in ("of13_", "codec_", "ryu_recorded", "vsofctl_replace"))
"""Tests in there that do not: they bring a network namespace of their own, or start no switch."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say which tests stay together on one of pytest-xdist's workers."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            alone = nodeid.startswith(ALONE) and not nodeid.startswith(ASIDE)
            return "peers" if alone else nodeid.partition("::")[0]

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
