"""Logging: levels per module and destination, one line per event, and a limit on floods."""

import logging
import re
import shutil

import pytest

from vswitchd.clock import ManualClock
from vswitchd.errors import ConfigError, PathError
from vswitchd.log import BURST, Log


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def log(tmp_path, clock):
    result = Log(clock)
    result.add_file(str(tmp_path / "vswitchd.log"))
    yield result
    result.close()


@pytest.fixture
def lines(tmp_path):
    return lambda: (tmp_path / "vswitchd.log").read_text().splitlines()


LOGGER = logging.getLogger("vswitchd.tests.log")


def test_a_line_looks_like_open_vswitch(log, lines):
    LOGGER.info("port %s is\nthere", "p1")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\|00001\|tests\.log\|INFO\|port p1 is \| there", lines()[0]
    )


def test_a_traceback_is_one_line(log, lines):
    try:
        int("inner")
    except ValueError:
        LOGGER.exception("it failed")
    assert len(lines()) == 1
    assert lines()[0].endswith("'inner'")
    assert "|ERR|it failed | Traceback" in lines()[0]


def test_levels_nest_by_module_and_differ_by_destination(log, lines):
    LOGGER.debug("hidden")
    log.set("tests.log:file:dbg")
    LOGGER.debug("shown")
    logging.getLogger("vswitchd.tests.log.child").debug("child shown")
    logging.getLogger("vswitchd.tests").debug("parent hidden")
    log.set("tests:file:err")
    LOGGER.warning("hidden again")
    assert [line.rpartition("|")[2] for line in lines()] == ["shown", "child shown"]
    assert ("tests.log", "info", "off", "err") in log.table()


def test_words_of_a_spec_may_come_in_any_order_or_be_left_out(log):
    log.set("dbg:file")
    assert {m: f for m, _, _, f in log.table()}["tests.log"] == "dbg"
    log.set("ANY:console:off")
    assert all(console == "off" for _, console, _, _ in log.table())
    with pytest.raises(ConfigError, match='no destination, level, or module "nosuch"'):
        log.set("nosuch:file:dbg")


def test_a_flood_is_cut_and_counted(log, lines, clock):
    def flood(n):
        for i in range(n):
            LOGGER.warning("flood %d%%", i)

    flood(BURST + 20)
    assert len(lines()) == BURST
    LOGGER.warning("another place in the code is not held back")
    clock.advance(1.0)
    flood(1)
    assert lines()[-2].endswith("not held back")
    assert lines()[-1].endswith("flood 0% (20 more like this in 1 s were not shown)")


def test_closing_leaves_the_logger_as_it_was(tmp_path):
    logger = logging.getLogger("vswitchd")
    before = (logger.level, logger.propagate, list(logger.handlers))
    log = Log()
    log.add_file(str(tmp_path / "x"))
    log.set("any:file:dbg")
    assert (logger.level, logger.propagate) != before[:2]
    log.close()
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_a_log_file_that_cannot_be_opened_is_one_clear_error(tmp_path):
    with pytest.raises(PathError, match="--log-file"):
        Log().add_file(str(tmp_path / "missing" / "x.log"))


def test_a_directory_that_vanishes_stops_nothing_and_is_written_to_when_it_returns(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    log = Log()
    log.add_file(str(folder / "vswitchd.log"))
    try:
        shutil.rmtree(folder)
        LOGGER.info("lost")
        log.reopen()
        LOGGER.info("lost too")
        folder.mkdir()
        LOGGER.info("back")
    finally:
        log.close()
    (line,) = (folder / "vswitchd.log").read_text().splitlines()
    assert line.endswith("|back")
