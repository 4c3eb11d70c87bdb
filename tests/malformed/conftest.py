"""What tests of vhost-user messages share: a session to send them to, and that it leaves no descriptor behind."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.vhost_victim import Victim


@pytest.fixture
def victim():
    before = set(os.listdir("/proc/self/fd"))
    one = Victim()
    yield one
    one.close()
    assert set(os.listdir("/proc/self/fd")) == before
