"""Fixtures of the daemon's tests: the fake port types, and a bench inside a running loop."""

import asyncio

import pytest
from fake_switch import Bench, FakePort

from vswitchd.ports import base

FAKED = ("fake", "internal", "system", "tap", "patch")


@pytest.fixture
def fake_ports(monkeypatch):
    """Replace the registry by fakes: real drivers are tested elsewhere."""
    monkeypatch.setattr(base, "_openers", dict.fromkeys(FAKED, FakePort))


@pytest.fixture
def switch(tmp_path, fake_ports):
    """Call a coroutine function with a Bench, inside a new loop."""

    def run(test, **options):
        async def main():
            bench = Bench(tmp_path, **options)
            try:
                await test(bench)
            finally:
                bench.reconciler.close()
                bench.store.close()

        asyncio.run(main())

    return run
