"""The parser's fuzz corpus, replayed under AddressSanitizer and UBSan in the ordinary run."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATAPATH = HERE.parents[1] / "vswitchd" / "datapath"
SOURCES = [DATAPATH / f"{name}.c" for name in ("parse", "edit", "edit_key", "flow_key", "packet")]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def test_corpus(tmp_path: Path) -> None:
    corpus = sorted((HERE / "corpus" / "parse").iterdir())
    assert len(corpus) >= 20
    program = tmp_path / "fuzz_parse"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-std=gnu11", "-O1", "-g", "-DVS_REPLAY", f"-I{DATAPATH}", *SANITIZE]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    subprocess.run([*compiler, *flags, HERE / "fuzz_parse.c", *SOURCES, "-o", program], check=True, env=plain)
    done = subprocess.run([program, *corpus], capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(corpus)} files\n"
