"""The parser's fuzz corpus."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from replay import datapath, replay


def test_corpus(tmp_path: Path) -> None:
    names = "parse edit edit_fields edit_key edit_layers edit_mpls crc32c offload flow_hash flow_key packet"
    replay("parse", datapath(*names.split()), tmp_path, at_least=20)
