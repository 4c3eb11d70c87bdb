"""Fixtures of the tests of NIC drivers."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # tests/, for fakes.*

from fakes.nic_models import Nic, dma_window


@pytest.fixture
def nics() -> Iterator[Callable[..., Nic]]:
    """Make NICs: nics(kind, flags, slot=...); all are closed at the end, and every buffer must be back in the pool."""
    made: list[Nic] = []

    def make(kind: str, *words: Any, **how: Any) -> Nic:
        how.setdefault("slot", len(made) % 2)
        made.append(Nic(kind, *words, **how))
        return made[-1]

    with dma_window():
        try:
            yield make
        finally:
            for nic in made:
                nic.close()
