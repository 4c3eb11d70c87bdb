"""No path of the datapath needs more than 5 % over the instructions a packet that the tree says (tests/bench/instructions.json)."""

from collections import Counter

import pytest
from bench import instructions
from peers.need import need_program

DUMP = """# callgrind format
desc: Trigger: Client Request: miss, 1 table
events: Ir
fl=(1) a.c
fn=(1) outer
10 5
+1 2
cfn=(2) inner
calls=1 20
* 100
-3 1

fn=(2)
20 90
fi=(2) b.h
7 10

fn=(3) main
0 108

totals: 108
"""


def test_every_path_keeps_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    need_program("valgrind")
    figures = instructions.Figures.read()
    counted = {case: one.each for case, one in instructions.count().items()}
    worse, better = instructions.compare(figures.instructions, counted)
    if better:
        with capsys.disabled():
            print(f"\nbetter than the figures; {instructions.WRITE} keeps it so:", *better, sep="\n  ")
    hint = f"if it is worth that: {instructions.WRITE}"
    if (compiler := instructions.compiler()) != figures.compiler:
        hint = f"the figures are of {figures.compiler}, this is {compiler}: see tests/bench/instructions.py"
    assert not worse, "\n".join([*worse, hint])


def test_a_dump_says_what_each_function_itself_took() -> None:
    found = instructions.parse_dump(DUMP)
    assert found == ("miss, 1 table", 108, Counter(outer=8, inner=100))


def test_what_grew_sank_came_and_went_is_told() -> None:
    worse, better = instructions.compare(
        {"same": 100.0, "grown": 100.0, "sunk": 100.0, "gone": 1.0},
        {"same": 105.0, "grown": 105.1, "sunk": 94.9, "new": 3.0},
    )
    assert worse == [
        "gone: has a figure, but is not counted",
        "grown: 100.0 -> 105.1 instructions a packet (+5.1%)",
        "new: 3.0 instructions a packet, no figure yet",
    ]
    assert better == ["sunk: 100.0 -> 94.9 instructions a packet (-5.1%)"]
