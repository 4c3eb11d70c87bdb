"""Fixtures of the vhost-user tests."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # tests/, for fakes.*

from fakes.loose_port import LoosePort
from fakes.mock_guest import MODERN, Guest
from vhostuser_peer import Peer


@pytest.fixture(autouse=True, scope="module")
def nothing_left_over() -> None:
    """What tests of other files left to the collector does not close its descriptors while ours are counted."""
    gc.collect()


@pytest.fixture
def loose() -> Iterator[Callable[..., LoosePort]]:
    """Make ports by hand: loose(features=..., guest=...); all are closed at the end."""
    made: list[LoosePort] = []

    def make(features: int = MODERN, guest: Guest | None = None) -> LoosePort:
        made.append(LoosePort(guest or Guest(), features))
        return made[-1]

    yield make
    for port in made:
        port.close()


@pytest.fixture
def eventfd() -> Iterator[Callable[[], int]]:
    """Make eventfds that do not block; closed at the end."""
    made: list[int] = []

    def make() -> int:
        made.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        return made[-1]

    yield make
    for fd in made:
        os.close(fd)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A session on a fake device; afterwards all that was made is freed, once, and no descriptor is left."""
    before = set(os.listdir("/proc/self/fd"))
    one = Peer()
    yield one
    one.close()
    made = [handle for name, handle in one.device.calls if name.startswith("make ")]
    gone = [handle for name, handle in one.device.calls if name.startswith(("free ", "unmap"))]
    assert set(made) <= set(gone)
    assert len(gone) == len(set(gone))
    assert set(os.listdir("/proc/self/fd")) <= before
