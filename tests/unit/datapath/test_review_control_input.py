"""Numbers that the control side might get wrong end in a refusal, not behind an array."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)
CONTROLLER, NORMAL = 0xFFFFFFFD, 0xFFFFFFFA


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(2)
    yield b
    b.close()


@pytest.mark.parametrize(
    ("table", "goto"), [(255, None), (0, 255), (3, 3), (3, 2), (0, -2), (254, 254), (0, 300)]
)
def test_tables_that_do_not_exist_or_lead_back(box: SwitchBox, table: int, goto: int | None) -> None:
    with pytest.raises(dp.DatapathError):
        box.bridge.add_rule(dp.RuleSpec(table, 1, (), apply=(dp.output(2),), goto=goto))
    box.rule(1, (), dp.output(2))
    assert box.send(1, FRAME) == {2: [FRAME]}


def test_the_last_table_is_reached(box: SwitchBox) -> None:
    for table in range(255):
        goto = table + 1 if table < 254 else None
        box.rule(1, (), *(() if goto else (dp.output(2),)), table=table, goto=goto)
    assert box.send(1, FRAME) == {2: [FRAME]}


@pytest.mark.parametrize(
    "action",
    [{"type": 7, "arg": 200}, {"type": 2, "field": 500}, {"type": dp.lib.VS_ACT_RECIRC}, {"type": 999}],
)
@pytest.mark.parametrize("where", ["apply", "write", "group", "packet_out"])
def test_actions_out_of_range(box: SwitchBox, action: dict[str, int], where: str) -> None:
    raw = dp.ffi.new("struct vs_action[1]", [action])
    lib, cdata = dp.lib, box.bridge.cdata
    if where == "packet_out":
        assert lib.vs_dp_packet_out(box.dp._dp, cdata, FRAME, len(FRAME), 1, raw, 1) < 0
    elif where == "group":
        bucket = dp.ffi.new("struct vs_bucket_spec[1]", [{"n_actions": 1}])
        assert lib.vs_bridge_group_set(cdata, 1, 0, raw, bucket, 1) < 0
    else:
        spec = dp.ffi.new("struct vs_rule_spec *")
        spec.goto_table = -1
        setattr(spec, f"n_{where}", 1)
        key = dp.ffi.new("struct vs_key *")
        assert lib.vs_bridge_rule_add(cdata, spec, key, key, raw) == 0


def test_normal_learns_nothing_from_a_controller(box: SwitchBox) -> None:
    box.rule(1, (), dp.output(NORMAL))
    box.send(1, FRAME)
    assert [row[0] for row in box.bridge.fdb()] == [1]
    box.bridge.packet_out(FRAME, CONTROLLER, (dp.output(NORMAL),))
    assert [row[0] for row in box.bridge.fdb()] == [1]
