"""Many rules of few masks in the first table: packets are looked up there, with and without the cache, and nothing else changes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

RULES = 400
IPV4 = ("ETH_TYPE", 0x800, 0xFFFF)
FRAMES = [
    bytes(
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(dst=f"10.0.{i // 256}.{i % 256}") / UDP()
    )
    for i in range(RULES + 8)
]


def match(i: int) -> tuple[tuple[str, int, int], ...]:
    return (IPV4, ("IPV4_DST", 0x0A000000 + i, 0xFFFFFFFF))


@pytest.fixture(params=[0, 1 << 12], ids=["table", "cache"])
def box(request: pytest.FixtureRequest) -> Iterator[SwitchBox]:
    b = SwitchBox(3, emc_entries=request.param)
    yield b
    b.assert_ledgers()
    b.close()


def ports_of(box: SwitchBox, flows: list[int]) -> list[int]:
    """Where packets of these flows go; 0: nowhere. Sent in one batch or two."""
    out = box.send(1, *(FRAMES[i] for i in flows))
    where = {frame: port for port, frames in out.items() for frame in frames}
    assert sum(map(len, out.values())) == sum(FRAMES[i] in where for i in flows)
    return [where.get(FRAMES[i], 0) for i in flows]


def test_rules_come_change_and_go(box: SwitchBox) -> None:
    """Against a dictionary: rules of two priorities, some drop, some in the next table, some to a group; staged ones are not seen."""
    order = random.Random(11)
    rules: dict[tuple[int, int], tuple[int, int]] = {}  # (flow, priority) -> handle, port
    packets: dict[int, int] = {}
    box.bridge.set_group(1, 2, [dp.BucketSpec((dp.output(3),))])
    box.bridge.add_rule(dp.RuleSpec(1, 1, apply=(dp.output(2),)))
    for round_ in range(60):
        for _ in range(RULES if round_ == 0 else 40):
            flow, priority = order.randrange(RULES), order.choice((5, 6))
            old = rules.pop((flow, priority), None)
            if old is not None:
                box.bridge.remove_rule(old[0])
                packets.pop(old[0], None)
            what = order.random()
            if what < 0.2 and old is not None:
                continue
            if what < 0.3:
                spec, port = dp.RuleSpec(0, priority, match(flow), goto=1), 2
            elif what < 0.4:
                spec, port = dp.RuleSpec(0, priority, match(flow), apply=(dp.group(1),)), 3
            else:
                port = order.choice((0, 2, 3))
                spec = dp.RuleSpec(0, priority, match(flow), apply=(dp.output(port),) if port else ())
            rules[flow, priority] = box.bridge.add_rule(spec), port
        box.bridge.commit()
        flows = order.choices(range(RULES + 8), k=64)
        expected = []
        for flow in flows:
            rule, port = rules.get((flow, 6)) or rules.get((flow, 5)) or (0, 0)
            expected.append(port)
            packets[rule] = packets.get(rule, 0) + 1
        assert ports_of(box, flows) == expected
        box.retire()
        box.bridge.take_retired()
    box.dp.harvest()
    for rule, _ in rules.values():
        assert box.bridge.rule_stats(rule)[0] == packets.get(rule, 0)


def test_a_removed_rule_gives_its_last_counts_and_its_number_starts_anew(box: SwitchBox) -> None:
    handles = [box.bridge.add_rule(dp.RuleSpec(0, 1, match(i), apply=(dp.output(2),))) for i in range(RULES)]
    box.bridge.commit()
    for _ in range(3):
        assert ports_of(box, [5, 6]) == [2, 2]
    box.bridge.remove_rule(handles[5])
    box.bridge.commit()
    box.retire()
    assert [(r.rule, r.packets) for r in box.bridge.take_retired()] == [(handles[5], 3)]
    box.dp.housekeeping()
    fresh = box.bridge.add_rule(dp.RuleSpec(0, 1, match(RULES), apply=(dp.output(3),)))
    box.bridge.commit()
    assert ports_of(box, [5, RULES, 6]) == [0, 3, 2]
    box.dp.harvest()
    assert fresh == handles[5]  # the number was given again
    assert box.bridge.rule_stats(fresh)[0] == 1
    assert box.bridge.table_stats()[0] == (9, 8)


def test_equal_values_of_many_priorities_form_a_chain(box: SwitchBox) -> None:
    for i in range(RULES):
        box.bridge.add_rule(dp.RuleSpec(0, 1, match(i), apply=(dp.output(2),)))
    chain = [
        box.bridge.add_rule(dp.RuleSpec(0, p, match(7), apply=(dp.output(2 + p % 2),))) for p in range(2, 12)
    ]
    box.bridge.commit()
    for priority in range(11, 1, -1):
        assert ports_of(box, [7, 8]) == [2 + priority % 2, 2]
        box.bridge.remove_rule(chain.pop())
        box.bridge.commit()
        box.retire()
    assert ports_of(box, [7]) == [2]


def test_tables_grow_and_shrink_under_lookups(box: SwitchBox) -> None:
    """Through all sizes of the hash table and back: each flow keeps its rule."""
    order = random.Random(3)
    handles: dict[int, int] = {}
    left = list(range(RULES))
    while len(handles) < RULES:
        for i in left[len(handles) : len(handles) + 9]:
            handles[i] = box.bridge.add_rule(dp.RuleSpec(0, 1, match(i), apply=(dp.output(2 + i % 2),)))
        box.bridge.commit()
        flows = order.choices(range(RULES), k=16)
        assert ports_of(box, flows) == [2 + i % 2 if i in handles else 0 for i in flows]
    while handles:
        for i in order.sample(sorted(handles), min(len(handles), 37)):
            box.bridge.remove_rule(handles.pop(i))
        box.bridge.commit()
        box.retire()
        flows = order.choices(range(RULES), k=16)
        assert ports_of(box, flows) == [2 + i % 2 if i in handles else 0 for i in flows]
    assert box.bridge.stats()["n_masks"] == 0


def test_the_cache_is_left_alone_when_it_knows_too_little() -> None:
    """Every packet of another flow than the ones before: after a turn of 4,096 nothing is inserted any more."""
    box = SwitchBox(2, emc_entries=1 << 14)
    for i in range(RULES):
        box.bridge.add_rule(dp.RuleSpec(0, 1, (("IPV4_DST", i, 0xFFF),), apply=(dp.output(2),)))
    box.rule(0, (("IPV4_SRC", 1, 0xFFFFFFFF),), dp.output(2))
    frame = bytearray(FRAMES[0])
    for i in range(6016):
        frame[26:34] = (i + 2).to_bytes(4, "big") + (i % RULES).to_bytes(4, "big")
        box.feed(1, bytes(frame))
        if i % 32 == 31:
            assert box.dp.poll() == 32
            assert len(box.take()[2]) == 32
    stats = box.dp.core_stats()[0]
    assert 3500 < stats.emc_inserted <= 4096
    assert stats.emc_misses == stats.rx_packets
    box.close()
