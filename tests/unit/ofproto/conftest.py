"""Fixtures that tests of the agent share."""

import asyncio

import pytest
from of_peer import Switch
from of_real import Real


@pytest.fixture
def real():
    loop = asyncio.new_event_loop()
    world = Real(loop)
    yield world
    world.datapath.close()
    loop.close()


@pytest.fixture
def switch():
    """The agent over a datapath that only notes what it is told."""
    return Switch()


@pytest.fixture
def peer(switch):
    """A controller of `switch`."""
    return switch.peer()
