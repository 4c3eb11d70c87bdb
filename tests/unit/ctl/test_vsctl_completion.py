"""The bash completion of vsctl offers verbs, options, tables, columns and names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ctl import vsctl

_ROOT = Path(__file__).parents[3]
_FILE = _ROOT / "ctl/completion/vswitchd.bash"


@pytest.fixture
def complete(tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    state = str(tmp_path / "s")
    assert (
        vsctl.main([f"--state={state}", "--no-wait", "add-br", "br0", "--", "add-port", "br0", "vhu0"]) == 0
    )
    # A program that needs no daemon stands for the installed one.
    program = tmp_path / "bin" / "vsctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ctl.vsctl --no-wait "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(_ROOT), "VS_STATE": state}

    def ask(line: str) -> set[str]:
        words = [*line.split(" ")]
        script = f"source {_FILE}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _vsctl;"
        script = script.replace(" )", ' "")') + 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vsctl add-p", {"add-port"}),
        ("vsctl --may", {"--may-exist"}),
        ("vsctl --no-w", {"--no-wait"}),
        ("vsctl -f ", {"list", "table", "csv", "json", "html"}),
        ("vsctl del-br ", {"br0"}),
        ("vsctl list-br -- port-to-br v", {"vhu0"}),
        ("vsctl iface-to-br vh", {"vhu0"}),
        ("vsctl set Int", {"Interface"}),
        ("vsctl set Interface vh", {"vhu0"}),
        ("vsctl set Interface vhu0 ofport", {"ofport", "ofport_request"}),
        ("vsctl find Port vlan", {"vlan_mode"}),
        ("vsctl set-fail-mode br0 se", {"secure"}),
        ("vsctl set-fail-mode b", {"br0"}),
    ],
)
def test_completion(complete, line, expected):
    assert complete(line) == expected
