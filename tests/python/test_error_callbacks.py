"""Error callbacks run in the `except` block, as those of Quix Streams do (E-01 to E-03)."""

import logging
import sys
import traceback

import pytest

from millstream.error_callbacks import default_on_processing_error
from millstream.testing import MemoryApplication, TopologyTestDriver


def fails(value):
    raise ValueError("bad value")


def driver_of(step, **callbacks):
    app = MemoryApplication(**callbacks)
    topic = app.topic("in")
    step(app.dataframe(topic))
    return TopologyTestDriver(app), topic


def test_e_02_the_exception_is_being_handled():
    seen = []

    def callback(exc, row, logger):
        seen.append((exc, sys.exc_info()[1], traceback.format_exc()))
        return True

    driver, topic = driver_of(lambda sdf: sdf.apply(fails), on_processing_error=callback)
    with driver:
        driver.pipe_input(topic, 1)
    [(exc, handled, text)] = seen
    assert handled is exc
    assert "in fails" in text and "ValueError: bad value" in text
    assert "millstream/error_callbacks.py" not in text, "no frames but the user's"
    assert sys.exc_info() == (None, None, None), "and not afterwards"


def test_e_02_logger_exception_shows_the_traceback(caplog):
    def callback(exc, row, logger):
        logger.exception("it went wrong")
        return True

    driver, topic = driver_of(lambda sdf: sdf.apply(fails), on_processing_error=callback)
    logging.getLogger("millstream").addHandler(caplog.handler)
    try:
        with driver:
            driver.pipe_input(topic, 1)
    finally:
        logging.getLogger("millstream").removeHandler(caplog.handler)
    assert "ValueError: bad value" in caplog.text
    assert "in fails" in caplog.text


def test_e_02_a_bare_raise_lets_it_out():
    raised = []

    def callback(exc, row, logger):
        raised.append(exc)
        raise

    driver, topic = driver_of(lambda sdf: sdf.apply(fails), on_processing_error=callback)
    with driver, pytest.raises(ValueError, match="bad value") as caught:
        driver.pipe_input(topic, 1)
    assert caught.value is raised[0]


def test_e_02_what_a_callback_raises_has_its_error_as_context():
    def callback(exc, row, logger):
        raise RuntimeError("the callback's own")

    driver, topic = driver_of(lambda sdf: sdf.apply(fails), on_processing_error=callback)
    with driver, pytest.raises(RuntimeError, match="the callback's own") as caught:
        driver.pipe_input(topic, 1)
    assert isinstance(caught.value.__context__, ValueError)


def test_e_02_an_error_that_is_handled_outside_stays(app):
    """A run may be started in an `except` block of the user's."""
    inner = []

    def callback(exc, row, logger):
        inner.append(sys.exc_info()[1])
        return True

    driver, topic = driver_of(lambda sdf: sdf.apply(fails), on_processing_error=callback)
    with driver:
        try:
            raise KeyError("outer")
        except KeyError as outer:
            driver.pipe_input(topic, 1)
            assert sys.exc_info()[1] is outer
    assert [type(error) for error in inner] == [ValueError]


def test_e_02_the_default_logs_the_traceback(caplog):
    driver, topic = driver_of(lambda sdf: sdf.apply(fails), on_processing_error=default_on_processing_error)
    logging.getLogger("millstream").addHandler(caplog.handler)
    try:
        with driver, pytest.raises(ValueError, match="bad value"):
            driver.pipe_input(topic, 1)
    finally:
        logging.getLogger("millstream").removeHandler(caplog.handler)
    assert "in fails" in caplog.text
    assert "topic 'in', partition 0, offset 0" in caplog.text and "operator apply fails" in caplog.text


def test_e_01_and_e_03_as_well():
    seen = []

    def callback(exc, what, logger):
        seen.append(sys.exc_info()[1] is exc)
        return True

    app = MemoryApplication(on_consumer_error=callback, on_producer_error=callback)
    topic, out = app.topic("in"), app.topic("out")
    app.dataframe(topic).apply(lambda value: object()).to_topic(out)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, b"{")
        driver.pipe_input(topic, 1)
    assert seen == [True, True]
