"""The logger: E-20 to E-23."""

import logging
import subprocess
import sys

import pytest

PROGRAM = """
import logging, os
from millstream.testing import MemoryApplication
{before}
MemoryApplication(loglevel={level!r})
{after}
logging.getLogger("millstream.part").debug("a debug line")
logging.getLogger("millstream.part").info("an info line")
logging.getLogger("millstream.state.part").debug("a line about state")
"""


def lines(level="INFO", before="", after="", **environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level, before=before, after=after)], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_the_form_of_a_line():
    """E-20"""
    (line,) = lines()
    assert line.endswith("] [INFO] [millstream] : an info line")
    assert line.startswith("[20")


@pytest.mark.parametrize(("level", "count"), [("DEBUG", 3), (logging.DEBUG, 3), ("INFO", 1), ("WARNING", 0)])
def test_levels(level, count):
    """E-20"""
    assert len(lines(level)) == count


def test_none_leaves_logging_alone():
    """E-20"""
    assert lines(None) == []


def test_handlers_that_are_there_already():
    """E-20"""
    before = 'logging.getLogger("millstream").addHandler(logging.NullHandler())'
    assert lines(before=before) == []


def test_a_second_application_does_not_change_the_level():
    """E-20"""
    assert len(lines("INFO", after='MemoryApplication(loglevel="DEBUG")')) == 1


@pytest.mark.parametrize("name", ["QUIXSTREAMS_STATE_LOG_LEVEL", "MILLSTREAM_STATE_LOG_LEVEL"])
def test_a_level_for_state(name):
    """E-21"""
    assert any("a line about state" in line for line in lines(None, **{name: "debug"}))


def test_a_wrong_level_for_state():
    """E-21"""
    found = lines(**{"MILLSTREAM_STATE_LOG_LEVEL": "NOTSET"})
    assert any("is no log level; use one of DEBUG" in line for line in found)


def test_a_run_says_what_it_does(broker, caplog):
    """E-23"""
    app = broker.application()
    topic = broker.topic("in")
    app.dataframe(topic)
    with caplog.at_level(logging.INFO, "millstream"):
        app.run(timeout=0.5)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("millstream"))
    assert broker.address in said and topic.name in said
    assert "assigned" in said.lower()


def test_events_of_the_native_part_arrive(broker, caplog):
    """E-22"""
    app = broker.application()
    app.dataframe(broker.topic("in"))
    with caplog.at_level(logging.DEBUG, "millstream"):
        app.run(timeout=0.5)
    names = {record.name for record in caplog.records}
    assert any(name.startswith("millstream.") for name in names), names
