"""A memory file that is cut under its mapping: zeros and a note instead of death; any other SIGBUS kills as ever."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("sigbus_child.py")


def run(case, **env):
    return subprocess.run(
        [sys.executable, str(CHILD), case],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONFAULTHANDLER": "", **env},
    )


def died(done):
    """By SIGBUS; AddressSanitizer reports it and exits instead."""
    return done.returncode == -signal.SIGBUS or (
        "VS_ASAN" in os.environ and done.returncode == 1 and "AddressSanitizer: BUS" in done.stderr
    )


@pytest.mark.parametrize("faulthandler", ["", "1"], ids=["plain", "faulthandler"])
@pytest.mark.parametrize(
    "case",
    [
        "truncated",
        "huge_pages",
        "threads_at_once",
        "registry_changes",
        "too_many_mappings",
        "keeps_errno",
        "contained",
        "faulthandler_first",
        "faulthandler_last",
        "faulthandler_between",
    ],
)
def test_is_contained(case, faulthandler):
    done = run(case, PYTHONFAULTHANDLER=faulthandler)
    if done.returncode == 1 and done.stderr.startswith("skip: "):
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("faulthandler", ["", "1"], ids=["plain", "faulthandler"])
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("elsewhere", ""),
        ("elsewhere_after_faulthandler", ""),
        ("elsewhere_with_a_ring_of_handlers", ""),
        ("no_longer_guarded", ""),
        ("next_to_it", "guarded\n"),
        ("sent_by_another", ""),
    ],
)
def test_still_kills(case, said, faulthandler):
    done = run(case, PYTHONFAULTHANDLER=faulthandler, PYTHONUNBUFFERED="1")
    assert died(done), (done.returncode, done.stderr)
    assert done.stdout == said
    if faulthandler and case != "elsewhere_with_a_ring_of_handlers" and "VS_ASAN" not in os.environ:
        assert "Fatal Python error: Bus error" in done.stderr
