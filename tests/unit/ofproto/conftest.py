"""Fixtures that tests of the agent share."""

import asyncio

import pytest
from of_real import Real


@pytest.fixture
def real():
    loop = asyncio.new_event_loop()
    world = Real(loop)
    yield world
    world.datapath.close()
    loop.close()
