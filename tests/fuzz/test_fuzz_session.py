"""The session's fuzz corpus and mutations of it, with fixed seeds, in the ordinary run."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import fuzz_session

FILES = sorted(fuzz_session.CORPUS.iterdir())
ROUNDS = 60


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Change bytes and numbers, drop, double or swap records."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        if not out:
            break
        at = dice.randrange(len(out))
        what = dice.randrange(5)
        if what == 0:
            out[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        elif what == 1:
            out[at : at + 8] = dice.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)).to_bytes(8, "little")
        elif what == 2:
            del out[at : at + dice.choice((1, 4, 11, 20))]
        elif what == 3:
            out[at:at] = out[at : at + 64]
        else:
            out[at:at] = data[dice.randrange(len(data)) :][:64]
    return bytes(out)


def test_there_is_a_corpus():
    assert len(FILES) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_corpus(path):
    data = path.read_bytes()
    fuzz_session.one(data)
    dice = random.Random(path.name)
    for _ in range(ROUNDS):
        changed = mutate(data, dice)
        try:
            fuzz_session.one(changed)
        except BaseException:
            print(f"input: {changed.hex()}")
            raise
