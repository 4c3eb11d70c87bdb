"""NORMAL between known hosts: what a core remembers of a verdict never outlives what it came from. The clock stands still."""

from collections.abc import Iterator

import pytest
from fakes.switchbox import SwitchBox

from vswitchd.datapath import dp

NORMAL = 0xFFFFFFFA
A, B, C = (bytes([2, 0, 0, 0, 0, n]) for n in (1, 2, 3))


def frame(src: bytes, dst: bytes, vid: int | None = None) -> bytes:
    """An IPv4-less frame of an experimental type, tagged or not."""
    tag = b"" if vid is None else b"\x81\x00" + vid.to_bytes(2, "big")
    return dst + src + tag + b"\x88\xb5" + bytes(46)


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    """A learning switch; A is behind port 1, B behind port 2, and they have spoken."""
    b = SwitchBox(4)
    b.dp.set_time_ms(5_000)
    b.rule(0, (), dp.output(NORMAL))
    talk(b)
    assert ports(b, 1, frame(A, B)) == [2]
    assert ports(b, 2, frame(B, A)) == [1]
    yield b
    b.assert_ledgers()
    b.close()


def ports(box: SwitchBox, number: int, *frames: bytes) -> list[int]:
    """Where the frames go, each frame one number."""
    out = box.send(number, *frames)
    return sorted(port for port, got in out.items() for _ in got)


def talk(box: SwitchBox) -> None:
    box.send(2, frame(B, A))
    box.send(1, frame(A, B))


def test_known_hosts_are_remembered_batchwise(box: SwitchBox) -> None:
    frames = [frame(A, B)] * 20 + [frame(A, C)] + [frame(A, B)] * 8
    out = box.send(1, *frames)
    assert out == {2: frames, 3: [frame(A, C)], 4: [frame(A, C)]}  # in order; C is flooded


def test_a_destination_that_moves(box: SwitchBox) -> None:
    box.send(3, frame(B, A))
    assert ports(box, 1, frame(A, B), frame(A, B)) == [3, 3]


def test_a_source_that_moves_is_learned(box: SwitchBox) -> None:
    assert ports(box, 3, frame(A, B)) == [2]
    assert ports(box, 2, frame(B, A)) == [3]
    assert ports(box, 1, frame(A, B)) == [2]
    assert ports(box, 2, frame(B, A)) == [1]


def test_forgotten_addresses(box: SwitchBox) -> None:
    box.bridge.fdb_flush()
    assert ports(box, 1, frame(A, B)) == [2, 3, 4]
    assert {entry[2:] for entry in box.bridge.fdb()}  # A was learned again


def test_addresses_pushed_out_of_a_table_that_got_smaller(box: SwitchBox) -> None:
    box.bridge.set_fdb(1, 300)
    assert ports(box, 1, frame(A, B)) in ([2, 3, 4], [2])
    assert box.bridge.fdb_stats()["entries"] == 1
    box.send(3, frame(C, A))  # takes the only place
    assert ports(box, 1, frame(A, B)) == [2, 3, 4]


def test_age(box: SwitchBox) -> None:
    box.dp.set_time_ms(5_000 + 301_000)
    assert ports(box, 1, frame(A, B)) == [2, 3, 4]


def test_a_source_is_refreshed_once_a_second(box: SwitchBox) -> None:
    for second in range(6, 1000, 100):
        box.dp.set_time_ms(second * 1000)
        assert ports(box, 1, frame(A, B)) == [2]
        assert ports(box, 2, frame(B, A)) == [1]


def test_vlans_of_the_output_port(box: SwitchBox) -> None:
    box.ports[2].set_vlan("access", 10)
    assert ports(box, 1, frame(A, B)) == [3, 4]
    box.ports[2].set_vlan()
    assert ports(box, 1, frame(A, B)) == [2]


def test_vlans_of_the_input_port(box: SwitchBox) -> None:
    box.ports[1].set_vlan("access", 10)
    assert ports(box, 1, frame(A, B)) == [2, 3, 4]  # another VLAN: unknown there, and tagged on the way out


def test_a_port_that_goes_and_another_in_its_place(box: SwitchBox) -> None:
    box.dp.detach(box.ports.pop(2))
    assert ports(box, 1, frame(A, B)) == [3, 4]
    box.add_port(2)
    box.dp.rebalance()
    assert ports(box, 1, frame(A, B)) == [2, 3, 4]


def test_tags_are_told_apart(box: SwitchBox) -> None:
    assert ports(box, 1, frame(A, B, 7)) == [2, 3, 4]
    assert ports(box, 2, frame(B, A, 7)) == [1]
    assert ports(box, 1, frame(A, B, 7), frame(A, B, 7), frame(A, B, 8), frame(A, B)) == [2, 2, 2, 2, 3, 4]


def test_a_tag_that_changes_is_not_remembered(box: SwitchBox) -> None:
    box.ports[3].set_vlan("access", 7)
    box.send(3, frame(C, A))
    box.send(1, frame(A, C, 7))
    for _ in range(3):
        assert box.send(1, frame(A, C, 7)) == {3: [frame(A, C)]}
        assert box.send(3, frame(C, A)) == {1: [frame(C, A, 7)]}


def test_a_port_that_is_down_takes_nothing(box: SwitchBox) -> None:
    dp.lib.vs_port_set_config(box.ports[2].cdata, 1)
    assert ports(box, 1, frame(A, B), frame(A, B)) == []
    dp.lib.vs_port_set_config(box.ports[2].cdata, 0)
    assert ports(box, 1, frame(A, B)) == [2]
