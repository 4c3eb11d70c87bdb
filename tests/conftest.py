"""How tests share the machine's two cores: files run side by side, tests with peers one after the other."""

from typing import Any

import pytest

ALONE = ("tests/interop/", "tests/stress/")
"""Folders whose tests use what is there once (huge pages, cores, names of devices)."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Say which tests stay together on one of pytest-xdist's workers."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "peers" if nodeid.startswith(ALONE) else nodeid.partition("::")[0]

    return Together(config, log)
