"""The load generator's ring layouts with our daemon between its ports: no more frames than the rings hold, so none may be lost."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.load.client import Generator
from peers.switch import Switch

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "packed": ({"packed": True}, {"count": 1000, "flows": 50, "latency": True}),
    "packed without order": ({"packed": True, "in_order": False, "mergeable": False}, {"count": 1000}),
    "packed in several buffers": ({"packed": True, "max_frame": 9000}, {"count": 150, "size": 9000}),
    "split in several buffers": ({"max_frame": 9000, "rx_buffer": 1500}, {"count": 128, "size": 9000}),
    "one large buffer": ({"max_frame": 9000, "mergeable": False}, {"count": 500, "size": 9000}),
    "packed segments in 16 pieces": (
        {"packed": True, "tso": True, "max_frame": 65_550},
        {"count": 20, "size": 65_000, "proto": "tcp", "tso": True},
    ),
    "tagged": ({}, {"count": 1000, "vlan": 100, "size": 68}),
}


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    bridge = f"vsl{os.getpid() % 100000}"
    with Switch(tmp_path_factory.mktemp("switch")) as switch:
        switch.add_bridge(bridge, secure=True)
        found = [switch.add_vhost(bridge, f"load{number}", number) for number in (1, 2)]
        switch.set_flows(bridge, "in_port=1,actions=output:2\nin_port=2,actions=output:1\n")
        yield found


@pytest.mark.parametrize("case", CASES)
def test_all_frames_come_whole_and_in_order(sockets: list[Path], case: str) -> None:
    options, words = CASES[case]
    core = max(os.sched_getaffinity(0))
    with Generator(sockets, core, huge=False, **options) as load:
        load.traffic(0, 1, **words)
        load.traffic(1, 0, **words)
        load.start()
        done = load.finish()
    assert [(s.sent, s.received) for s in done.streams] == [(words["count"], words["count"])] * 2
    assert (done.corrupt, done.out_of_order, done.foreign) == (0, 0, 0)
