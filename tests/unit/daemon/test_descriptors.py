"""File descriptors: the limit is raised as far as it goes, and ports stop before the last one is gone."""

import contextlib
import os
import resource
import subprocess
import sys

import pytest

from vswitchd import descriptors


@pytest.fixture
def limit():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_becomes_the_hard_one():
    code = (
        "import resource; from vswitchd import descriptors\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400))\n"
        "print(descriptors.raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(200, 400) (400, 400)\n"


def test_a_shortage_is_told_while_some_are_left(limit):
    assert descriptors.shortage() == ""
    with contextlib.ExitStack() as held:
        lowest = os.open(os.devnull, os.O_RDONLY)
        held.callback(os.close, lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1 + descriptors.RESERVE + 2, limit[1]))
        told = []
        for _ in range(4):
            told.append(bool(descriptors.shortage()))
            held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        assert told == [False, False, True, True]
        assert "LimitNOFILE=" in descriptors.shortage()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limit[1]))
        assert "LimitNOFILE=" in descriptors.shortage()
