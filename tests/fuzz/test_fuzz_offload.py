"""The offload headers' fuzz corpus and mutations of it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from replay import datapath, replay


def test_corpus(tmp_path: Path) -> None:
    replay("offload", datapath("packet", "offload", "parse", "flow_key"), tmp_path, at_least=10)
