"""A patch port that fills up in the middle of a batch: what the next bridge does must not touch the batch that is under way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

BATCH = 32
FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)
INPUT, PATCH, PEER, OTHER = 5, 10, 11, 6
IN_PORT, NORMAL, FLOOD, ALL = 0xFFFFFFF8, 0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    """br0 with a patch port to a bridge without rules, and behind it, in its list of members, the ports 5 and 6."""
    b = SwitchBox(0)
    b.patch(PATCH, b.bridge, PEER, b.dp.create_bridge("br1"))
    b.add_port(INPUT)
    b.add_port(OTHER)
    b.dp.rebalance()
    yield b
    b.close()


def test_what_a_patch_port_took_counts_as_forwarded(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(PATCH))
    assert box.send(INPUT, *[FRAME] * BATCH) == {}
    counters = box.ports[INPUT].counters()
    assert counters.rx_drops == {}
    assert counters.rx_forwarded == BATCH
    peer = next(p for p in box.dp.ports.values() if p.name == "b")
    assert peer.counters().rx_drops == {"table_miss": BATCH}
    box.assert_ledgers()


@pytest.mark.parametrize("port", [NORMAL, FLOOD, ALL])
def test_a_flood_never_returns_to_its_input(box: SwitchBox, port: int) -> None:
    box.rule(1, (), dp.output(port))
    assert box.send(INPUT, *[FRAME] * BATCH) == {OTHER: [FRAME] * BATCH}
    box.assert_ledgers()


def test_the_input_port_is_the_same_before_and_after(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(PATCH), dp.output(IN_PORT))
    assert box.send(INPUT, *[FRAME] * BATCH) == {INPUT: [FRAME] * BATCH}
    box.assert_ledgers()


def test_without_a_place_for_programs_the_batch_still_holds_together(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(PATCH), dp.output(OTHER))
    for _ in range(BATCH + 1):  # the control core runs packet-outs one by one
        box.bridge.packet_out(FRAME, INPUT, (dp.output(0xFFFFFFF9),))
    assert box.take() == {OTHER: [FRAME] * (BATCH + 1)}
