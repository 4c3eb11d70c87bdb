"""The offload headers' fuzz corpus and mutations of it, replayed under AddressSanitizer and UBSan in the ordinary run."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "vswitchd"
VHOST, DATAPATH = PACKAGE / "ports" / "vhostuser", PACKAGE / "datapath"
SOURCES = [DATAPATH / f"{name}.c" for name in ("packet", "offload", "parse", "flow_key")]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def test_corpus(tmp_path: Path) -> None:
    corpus = sorted((HERE / "corpus" / "offload").iterdir())
    assert len(corpus) >= 10
    program = tmp_path / "fuzz_offload"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-DVS_REPLAY"]
    flags += [f"-I{DATAPATH}", f"-I{VHOST}", *SANITIZE]
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [*compiler, *flags, HERE / "fuzz_offload.c", *SOURCES, "-o", program]
    subprocess.run(command, check=True, env=plain)
    done = subprocess.run([program, *corpus], capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(corpus)} files\n"
