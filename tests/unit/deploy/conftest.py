import pytest
from bind_world import Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)
