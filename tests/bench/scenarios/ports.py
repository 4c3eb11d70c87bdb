"""How many ports one core can have: traffic on two of them, and on all."""

from functools import partial
from pathlib import Path

from bench.contenders import Layout
from bench.flowmods import encoded, wires
from bench.scenario import SPEED, Case, Group, Scenario, Traffic, both

PORTS = (2, 16, 128, 512)


def _rules(number: int) -> list[bytes]:
    return encoded(wires(number))


def _group(number: int) -> Group:
    # Rings of 256 where there are many: a port's memory fits into one huge page then, and all of it is used soon.
    generator = {"ring": 256} if number > 64 else {}
    cases = [Case(f"{number} ports, 2 used", both())]
    if number > 2:
        pairs = [Traffic(at, at ^ 1) for at in range(number)]
        cases.append(Case(f"{number} ports, all used", pairs, warm=number / 100))
    return Group(f"ports {number}", Layout(ports=number), partial(_rules, number), cases, generator)


def groups(_work: Path, quick: bool) -> list[Group]:
    return [_group(number) for number in ((2, 16) if quick else PORTS)]


SCENARIO = Scenario(
    "ports", "vhost-user ports on one core, 64 bytes, one flow a port", groups, SPEED, seconds=(69, 13)
)
