"""The bash completion of vsappctl offers what the daemon knows."""

import shutil
import subprocess
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "ctl/completion/vsappctl.bash"
STAND_IN = """vsappctl() {
    case "${!#}" in
        list-commands) printf 'The available commands are:\\n  drops  [PORT]\\n  fdb/show  [BR]\\n  version\\n' ;;
        ofproto/list) printf 'br0\\nbr1\\n' ;;
        dpif/show) printf 'netdev@x: hit:0\\n  br0:\\n    vhost0 1/1: (tap)\\n' ;;
        vlog/list) printf ' console\\n -------\\nreconcile INFO OFF INFO\\n' ;;
    esac
}
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vsappctl ", {"drops", "fdb/show", "version"}),
        ("vsappctl -T 5 fd", {"fdb/show"}),
        ("vsappctl fdb/show ", {"br0", "br1"}),
        ("vsappctl drops v", {"vhost0"}),
        ("vsappctl vlog/set ", {"reconcile"}),
        ("vsappctl -f ", {"text", "json"}),
        ("vsappctl --t", {"--target", "--timeout"}),
        ("vsappctl version ", set()),
    ],
)
def test_candidates(line, expected):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"source {FILE}\n{STAND_IN}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _vsappctl\n"
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected
