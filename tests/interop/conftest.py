"""Fixtures of the interop tests: a short private directory, a switch and a stack for other peers."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from conformance_world import World, world_of
from peers import need
from peers.backend import Backend
from peers.ovs import OvsDpdk, OvsSetup
from peers.ryu_codec import RyuCodec
from peers.switch import Switch


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory whose name is short enough for unix sockets; kept, and named, when VS_KEEP is set."""
    path = Path(tempfile.mkdtemp(prefix="vsi"))
    yield path
    if os.environ.get("VS_KEEP"):
        print(f"{request.node.name}: kept {path}")
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Enter peers here: they are closed, last first, before the switch is."""
    with ExitStack() as peers:
        yield peers


@pytest.fixture
def backend(place: Path) -> Iterator[Backend]:
    """The switch under test; with VS_STANDIN=ovs Open vSwitch, to tell our faults from the harness's."""
    running: Switch | OvsDpdk
    if os.environ.get("VS_STANDIN") == "ovs":
        need.need_ovs_dpdk()
        cores = sum(1 << core for core in os.sched_getaffinity(0))
        running = OvsDpdk(place / "ovs", OvsSetup(pmd_mask=cores, lcore_mask=1, max_sleep=200))
    else:
        running = Switch(place / "state")
    with running:
        yield running


@pytest.fixture(scope="module")
def conformance() -> Iterator[World]:
    """The switch and Ryu of the conformance suite; tests use `of`."""
    with tempfile.TemporaryDirectory(prefix="vsc") as place, world_of(Path(place)) as world:
        yield world


@pytest.fixture
def of(request: pytest.FixtureRequest, conformance: World) -> World:
    """The conformance suite's world without flows, groups and meters."""
    mark = request.node.get_closest_marker("statement")
    request.node.user_properties.append(("statement", (*mark.args, request.node.name)))
    conformance.reset()
    return conformance


@pytest.fixture(scope="module")
def ryu() -> Iterator[RyuCodec]:
    """Ryu's codec."""
    codec = RyuCodec()
    yield codec
    codec.close()
