"""The coverage-guided run of fuzz_session: `pip install atheris`, then

`python tests/fuzz/guided_session.py WORK_DIRECTORY tests/fuzz/corpus/session -max_total_time=600`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=["vswitchd.ports.vhostuser"]):
    import fuzz_session

if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_session.one)
    atheris.Fuzz()
