"""The bash completion of vsofctl offers commands, options, bridges, ports and their words."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ctl import vsctl
from ctl.ofctl_verbs import VERBS

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def complete(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    state = str(tmp_path / "s")
    words = [f"--state={state}", "--no-wait", "add-br", "br0", "--", "add-port", "br0", "vhu0"]
    assert vsctl.main(words) == 0
    (tmp_path / "bin").mkdir()
    for name, options in (("vsctl", "--no-wait"), ("vsofctl", "")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ctl.{name} {options} "$@"\n')
        program.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(_ROOT), "VS_STATE": state}

    def ask(*words):
        quoted = " ".join(f"'{word}'" for word in words)
        script = (
            f"source {_ROOT}/ctl/completion/vsofctl.bash; COMP_WORDS=({quoted}); "
            f'COMP_CWORD={len(words) - 1}; _vsofctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    return ask


def test_candidates(complete):
    assert complete("vsofctl", "") == set(VERBS)
    assert complete("vsofctl", "-O", "OpenFlow13", "dump-p") == {"dump-ports", "dump-ports-desc"}
    assert complete("vsofctl", "--db", "=", "unix:/x", "mod-f") == {"mod-flows"}
    assert complete("vsofctl", "--no-n") == {"--no-names"}
    assert complete("vsofctl", "-f", "j") == {"json"}
    assert complete("vsofctl", "show", "b") == {"br0"}
    assert complete("vsofctl", "mod-port", "br0", "") == {"vhu0", "LOCAL"}
    assert complete("vsofctl", "mod-port", "br0", "vhu0", "no-") == {
        "no-receive",
        "no-forward",
        "no-packet-in",
    }
    assert complete("vsofctl", "set-frags", "br0", "d") == {"drop"}
    assert complete("vsofctl", "probe", "br0", "") == set()
