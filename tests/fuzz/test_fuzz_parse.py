"""The parser's fuzz corpus."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from replay import datapath, replay


def test_corpus(tmp_path: Path) -> None:
    replay("parse", datapath("parse", "edit", "edit_key", "flow_key", "packet"), tmp_path, at_least=20)
