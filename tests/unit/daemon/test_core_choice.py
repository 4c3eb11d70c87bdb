"""Cores: masks, the default, affinity and sleep, with what is wrong named in one line."""

import pytest

from vswitchd import cores
from vswitchd.errors import ConfigError


@pytest.mark.parametrize(("text", "cpus"), [("0x6", [1, 2]), ("6", [1, 2]), ("0X1", [0]), ("1000000", [24])])
def test_masks_are_hexadecimal(text, cpus):
    assert cores.parse_mask(text) == cpus


@pytest.mark.parametrize("text", ["", "0", "0x0", "xyz", "-1", "1,2"])
def test_a_bad_mask_is_refused(text):
    with pytest.raises(ConfigError, match="pmd-cpu-mask"):
        cores.parse_mask(text)


def test_the_default_leaves_a_core_to_the_control_plane():
    assert cores.choose(None, [0, 1, 2]) == ([1, 2], "")
    assert cores.choose(None, [4]) == ([4], "")


def test_cpus_that_may_not_be_used_are_named():
    assert cores.choose("0xc", [0, 1, 2])[0] == [2]
    assert "CPUs 3" in cores.choose("0xc", [0, 1, 2])[1]
    chosen, warning = cores.choose("0x10", [0, 1])
    assert chosen == [1]
    assert "CPUs 4; polling on CPUs 1" in warning
    assert cores.choose("nonsense", [0, 1])[0] == [1]


def test_the_control_thread_keeps_off_what_polls():
    assert cores.control_cpus([1, 2], [0, 1, 2, 3]) == [0, 3]
    assert cores.control_cpus([0, 1], [0, 1]) == [0, 1]
    assert cores.control_cpus([7], [2, 7]) == [2]


def test_affinity():
    assert cores.parse_affinity("0:3,1:5") == {0: 3, 1: 5}
    assert cores.parse_affinity("") == {}
    for bad in ("0", "a:1", "0:", "0:1:2", "0:-1"):
        with pytest.raises(ConfigError, match="QUEUE:CPU"):
            cores.parse_affinity(bad)


@pytest.mark.parametrize(
    ("ours", "theirs", "microseconds"),
    [
        (None, None, cores.DEFAULT_IDLE_SLEEP_US),
        ("never", "50", None),
        ("100", None, 100),
        (None, "0", None),
        (None, "250", 250),
    ],
)
def test_idle_sleep(ours, theirs, microseconds):
    assert cores.parse_idle_sleep(ours, theirs) == microseconds


@pytest.mark.parametrize(
    ("ours", "theirs"), [("soon", None), ("-1", None), (None, "never"), (None, "99999999999")]
)
def test_bad_idle_sleep(ours, theirs):
    with pytest.raises(ConfigError, match="microseconds"):
        cores.parse_idle_sleep(ours, theirs)
