"""The rings' fuzz corpus and mutations of it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from replay import VHOST, datapath, replay


def test_corpus(tmp_path: Path) -> None:
    replay(
        "vring",
        [*sorted(VHOST.glob("*.c")), *datapath("packet", "offload", "qsbr", "watch")],
        tmp_path,
        at_least=10,
    )
