"""Serializers of the user's own (T-06), and RocksDBOptions(dumps=, loads=) in tests (M-01, ST-06)."""

import pickle

import pytest

from millstream.models import Topic
from millstream.models.messagecontext import MessageContext
from millstream.models.rows import Row
from millstream.models.serializers import Serializer
from millstream.state.rocksdb import RocksDBOptions
from millstream.testing import MemoryApplication, TopologyTestDriver


class Counting(Serializer):
    """Says in a header which call it was."""

    def __init__(self):
        self.calls = 0

    @property
    def extra_headers(self):
        return {"call": str(self.calls), "raw": b"x", "null": None}

    def __call__(self, value, ctx=None):
        self.calls += 1
        return str(value)


def test_t_06_extra_headers_are_those_of_this_record(app):
    topic = app.topic("in")
    out = app.topic("out", value_serializer=Counting())
    app.dataframe(topic).to_topic(out)
    with TopologyTestDriver(app) as driver:
        for value in (1, 2):
            driver.pipe_input(topic, value, headers=[("call", b"old"), ("kept", b"k")])
        headers = [record.headers for record in driver.read_outputs(out)]
    assert headers == [
        [("kept", b"k"), ("call", b"1"), ("raw", b"x"), ("null", None)],
        [("kept", b"k"), ("call", b"2"), ("raw", b"x"), ("null", None)],
    ]


def test_t_06_topic_row_serialize_does_the_same():
    topic = Topic("t", value_serializer=Counting())
    row = Row(1, b"k", 0, MessageContext("t", 0, 0, 0))
    assert [topic.row_serialize(row, b"k").headers[0] for _ in range(2)] == [("call", "1"), ("call", "2")]


def test_t_06_an_attribute_that_a_call_sets(app):
    class Versioned(Serializer):
        extra_headers = {}

        def __call__(self, value, ctx=None):
            self.extra_headers = {"version": b"2"} if value else {}
            return str(value)

    topic = app.topic("in")
    out = app.topic("out", value_serializer=Versioned())
    app.dataframe(topic).to_topic(out)
    with TopologyTestDriver(app) as driver:
        for value in (1, 0, 1):
            driver.pipe_input(topic, value)
        assert [record.headers for record in driver.read_outputs(out)] == [
            [("version", b"2")], [], [("version", b"2")]
        ]


def test_t_06_extra_headers_that_are_none(app):
    class Odd(Serializer):
        @property
        def extra_headers(self):
            return {"n": 5}

        def __call__(self, value, ctx=None):
            return str(value)

    topic = app.topic("in")
    out = app.topic("out", value_serializer=Odd())
    app.dataframe(topic).to_topic(out)
    with TopologyTestDriver(app) as driver, pytest.raises(TypeError, match='header "n"'):
        driver.pipe_input(topic, 1)


def test_t_06_extra_headers_in_front_of_a_group_by():
    """The repartition topic's serializer, too: its headers go along and are there behind it."""
    from millstream.models import TopicConfig

    app = MemoryApplication()
    topic = app.topic("in", config=TopicConfig(2, 1))
    sdf = app.dataframe(topic).group_by("k", value_serializer=Counting(), value_deserializer="str")
    sdf.apply(lambda value, key, timestamp, headers: headers, metadata=True)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, {"k": "a"}, headers=[("call", b"old"), ("kept", b"k")])
        [(headers, *_)] = driver.read_results()
    assert headers == [("kept", b"k"), ("call", b"1"), ("raw", b"x"), ("null", None)]


def stateful(app):
    def remember(value, state):
        before = state.get("all", set())
        state.set("all", before | {value})
        return sorted(before)

    return app.dataframe(app.topic("in")).apply(remember, stateful=True)


OPTIONS = RocksDBOptions(dumps=pickle.dumps, loads=pickle.loads)


def test_st_06_the_test_driver_uses_dumps_and_loads():
    app = MemoryApplication(rocksdb_options=OPTIONS)
    stateful(app)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input("in", 1, key=b"k")
        driver.checkpoint()
        driver.pipe_input("in", 2, key=b"k")
        driver.crash()
        driver.pipe_input("in", 3, key=b"k")
        assert [value for value, *_ in driver.read_results()] == [[], [1], [1], [1, 2]]


def test_st_06_sdf_test_does_too():
    """D-60"""
    app = MemoryApplication(rocksdb_options=OPTIONS)
    sdf = stateful(app)
    assert [sdf.test(value)[0][0] for value in (1, 2)] == [[], [1]]
