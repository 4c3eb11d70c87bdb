"""How tests share the machine's two cores: files run side by side, tests with peers one after the other."""

from collections.abc import Sequence

import pytest

ALONE = {"interop", "stress"}
"""Folders whose tests use what is there once (huge pages, cores, names of devices)."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Say which tests stay together (pytest-xdist with --dist loadgroup)."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = "peers" if ALONE & set(item.path.parts) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
