"""Tables of many masks: whatever rules come, change and go, a look-up finds what a list of all rules says."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp
from vswitchd.datapath.action import pack_match
from vswitchd.datapath.trace import Kind

Match = tuple[tuple[str, int, int], ...]
ALL32, ALL128 = 0xFFFFFFFF, (1 << 128) - 1
V6 = 0xFD << 120
HEAP = 8
"""Rules of a merged subtable that agree in all that it hashes (VS_MERGED_MOST)."""


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(3, emc_entries=0)
    yield b
    b.assert_ledgers()
    b.close()


def prefix(r: random.Random, bits: int) -> int:
    """A mask of some leading bits."""
    full = (1 << bits) - 1
    return full << r.randrange(bits + 1) & full


def match(r: random.Random, frame: bytes) -> Match:
    """Some bits of some fields that agree with a frame, mostly; addresses above all."""
    found: dict[str, tuple[int, int]] = {"ETH_TYPE": (int.from_bytes(frame[12:14], "big"), 0xFFFF)}
    if frame[12:14] == b"\x08\x00":
        found["IPV4_SRC"] = int.from_bytes(frame[26:30], "big"), prefix(r, 32)
        found["IPV4_DST"] = int.from_bytes(frame[30:34], "big"), prefix(r, 32)
        found["IP_PROTO"] = frame[23], 0xFF
        found["TP_SRC"] = int.from_bytes(frame[34:36], "big"), 0xFFFF
        found["TP_DST"] = int.from_bytes(frame[36:38], "big"), prefix(r, 16)
    else:
        found["IPV6_SRC"] = int.from_bytes(frame[22:38], "big"), prefix(r, 128)
        found["IPV6_DST"] = int.from_bytes(frame[38:54], "big"), r.getrandbits(128)
    found["ETH_DST"] = int.from_bytes(frame[:6], "big"), 1 << 40
    found["IN_PORT"] = r.choice((1, 2)), ALL32
    names = r.sample(sorted(found), r.randrange(len(found) + 1))
    return tuple((name, *found[name]) for name in names)


def frames(r: random.Random, n: int) -> list[bytes]:
    """Of few networks, so that rules nest."""
    found = []
    for _ in range(n):
        ether = Ether(dst=r.choice(("02:00:00:00:00:02", "03:00:00:00:00:02")), src="02:00:00:00:00:01")
        l4 = r.choice((UDP, TCP))(sport=r.choice((53, 1000)), dport=r.choice((80, 81, 443, 33000)))
        if r.random() < 0.2:
            ends = [V6 | r.getrandbits(6) << 58 | r.getrandbits(2) for _ in (0, 1)]
            found.append(bytes(ether / IPv6(src=text6(ends[0]), dst=text6(ends[1])) / l4))
        else:
            ends4 = [0x0A000000 | r.getrandbits(3) << 14 | r.getrandbits(5) for _ in (0, 1)]
            found.append(bytes(ether / IP(src=text4(ends4[0]), dst=text4(ends4[1])) / l4))
    return found


def text4(address: int) -> str:
    return ".".join(map(str, address.to_bytes(4, "big")))


def text6(address: int) -> str:
    return ":".join(f"{address >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


class Model:
    """All rules in a dictionary; a packet's key is asked against each."""

    def __init__(self, box: SwitchBox) -> None:
        self.box = box
        self.rules: dict[int, tuple[int, int, int]] = {}  # handle -> priority, value, mask
        self.packets: dict[int, int] = {}

    def add(self, priority: int, which: Match) -> int:
        spec = dp.RuleSpec(0, priority, which, apply=(dp.output(3),))
        handle = self.box.bridge.add_rule(spec)
        value, mask = (int.from_bytes(part, "big") for part in pack_match(which))
        self.rules[handle] = priority, value, mask
        self.packets[handle] = 0
        return handle

    def remove(self, handle: int) -> None:
        self.box.bridge.remove_rule(handle)
        del self.rules[handle], self.packets[handle]

    def masks(self) -> int:
        return len({mask for _, _, mask in self.rules.values()})

    def check(self, frame: bytes) -> None:
        trace = self.box.bridge.trace(frame, 1)
        key = int.from_bytes(trace.first, "big")
        best = max((p for p, value, mask in self.rules.values() if key & mask == value), default=-1)
        found = next(event.rule for event in trace.events if event.kind == Kind.RULE)
        assert (self.rules[found][0] if found else -1) == best
        if found:
            _, value, mask = self.rules[found]
            assert key & mask == value
            assert self.box.send(1, frame) == {3: [frame]}
            self.packets[found] += 1
        else:
            assert self.box.send(1, frame) == {}


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_list(box: SwitchBox, seed: int) -> None:
    """Through the few masks that have subtables of their own, many that are merged, and back to none."""
    r = random.Random(seed)
    some, model, priorities = frames(r, 40), Model(box), r.sample(range(60000), 4000)
    most = 0
    for round_ in range(24):
        grow = round_ < 16
        for _ in range(r.randrange(5, 40) if grow else 5):
            which = match(r, r.choice(some))
            first = model.add(priorities.pop(), which)
            if r.random() < 0.3:  # another priority of the same match; at times instead of the first one
                model.add(priorities.pop(), which)
            if r.random() < 0.1:
                model.remove(first)
        for handle in r.sample(sorted(model.rules), len(model.rules) // (8 if grow else 2)):
            model.remove(handle)
        box.bridge.commit()
        if r.random() < 0.7:
            box.retire()
            box.bridge.take_retired()
            assert box.bridge.stats()["n_masks"] == model.masks()
        for frame in r.sample(some, 8):
            model.check(frame)
        most = max(most, model.masks())
    assert most > 60
    box.dp.harvest()
    for handle, n in model.packets.items():
        assert box.bridge.rule_stats(handle)[0] == n
    for handle in sorted(model.rules):
        model.remove(handle)
    box.bridge.commit()
    box.retire()
    assert (box.bridge.stats()["n_masks"], box.bridge.stats()["n_subtables"]) == (0, 0)


def test_hundreds_of_masks_are_searched_as_few(box: SwitchBox) -> None:
    """All pairs of prefix lengths from 16 on: 289 masks, and what a look-up searches."""
    r, model, taken = random.Random(1), Model(box), []
    for priority in range(2000):
        source, destination = (0x0A000000 | r.getrandbits(24) for _ in (0, 1))
        taken.append(bytes(Ether() / IP(src=text4(source), dst=text4(destination)) / UDP()))
        pair = [ALL32 << 32 - r.randrange(16, 33) & ALL32 for _ in (0, 1)]
        found = ("ETH_TYPE", 0x800, 0xFFFF), ("IPV4_SRC", source, pair[0]), ("IPV4_DST", destination, pair[1])
        model.add(priority, found)
    box.bridge.commit()
    assert box.bridge.stats()["n_masks"] == 289
    assert box.bridge.stats()["n_subtables"] < 20
    for frame in r.sample(taken, 20):
        model.check(frame)


@pytest.mark.parametrize("order", [1, -1])
def test_rules_that_agree_in_all_that_is_coarse(box: SwitchBox, order: int) -> None:
    """Nested prefixes of one host: no coarse mask tells them apart, so all lie in one heap of each subtable, and no heap is long."""
    r, model = random.Random(2), Model(box)
    host = 0x0A010203
    for at in range(289)[::order]:
        found = [("ETH_TYPE", 0x800, 0xFFFF)]
        for name, length in (("IPV4_SRC", 16 + at // 17), ("IPV4_DST", 16 + at % 17)):
            found.append((name, host, ALL32 << 32 - length & ALL32))
        model.add(at, tuple(found))
    box.bridge.commit()
    assert box.bridge.stats()["n_subtables"] * HEAP >= 289
    for _ in range(30):
        ends = [host ^ 1 << r.randrange(20) if r.random() < 0.8 else host for _ in (0, 1)]
        model.check(bytes(Ether() / IP(src=text4(ends[0]), dst=text4(ends[1])) / UDP()))
