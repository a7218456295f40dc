"""A-61: during every user callable `message_context()` is that of the record, and so are context variables."""

import contextvars

import pytest

from millstream import message_context
from millstream.dataframe.windows import Aggregator, Collector, Reduce
from millstream.models.serializers import Deserializer, Serializer
from millstream.testing import MemoryApplication, TopologyTestDriver

VARIABLE = contextvars.ContextVar("test_variable", default="unset")


@pytest.fixture
def seen():
    return []


@pytest.fixture
def see(seen):
    """Notes which record it is called for, and that no other record's context variables are there."""

    def see():
        offset = message_context().offset
        assert VARIABLE.get() in ("unset", offset), "what a record sets is its own"
        VARIABLE.set(offset)
        seen.append(offset)

    return see


def run(app, topic, records):
    """Several records in one go, as a worker runs them. A record is `(timestamp, value)`."""
    with TopologyTestDriver(app) as driver:
        for timestamp, value in records:
            driver._native.send(topic.name, value, b"k", timestamp, None, 0)
        return [value for value, *_ in driver._native.run()]


@pytest.fixture
def topic(app):
    return app.topic("in")


def test_a_61_reduce(app, topic, see, seen):
    def initializer(value):
        see()
        return value

    def reducer(old, value):
        see()
        return old + value

    app.dataframe(topic).tumbling_window(10).reduce(reducer, initializer).current()
    run(app, topic, [(1, b"1"), (2, b"2"), (3, b"3")])
    assert seen == [0, 1, 2]


def test_a_61_reduce_among_several(app, topic, see, seen):
    def both(*values):
        see()
        return sum(values)

    app.dataframe(topic).tumbling_window(10).agg(a=Reduce(both, both), b=Reduce(both, both)).current()
    run(app, topic, [(1, b"1"), (2, b"2")])
    assert seen == [0, 0, 1, 1]


def test_a_61_custom_aggregators_and_collectors(app, topic, see, seen):
    class Total(Aggregator):
        def initialize(self):
            see()
            return 0

        def agg(self, old, new, timestamp):
            see()
            return old + new

        def result(self, value):
            see()
            return value

    class Items(Collector):
        def result(self, items):
            see()
            return list(items)

    app.dataframe(topic).tumbling_window(10).agg(total=Total(), items=Items()).final()
    values = run(app, topic, [(1, b"1"), (2, b"2"), (10, b"3")])
    assert values == [{"total": 3, "items": [1, 2], "start": 0, "end": 10}]
    # Beginning and adding for the first, adding for the second; the third closes that window as well.
    assert seen[:3] == [0, 0, 1] and set(seen[3:]) == {2} and len(seen) >= 7


def test_a_61_on_late(app, topic, see, seen):
    def on_late(*arguments):
        see()
        return False

    app.dataframe(topic).tumbling_window(10, on_late=on_late).count().final()
    run(app, topic, [(1, b"1"), (50, b"2"), (2, b"3"), (60, b"4")])
    assert seen == [2]


def test_a_61_serializers_and_deserializers(app, see, seen):
    class Writes(Serializer):
        def __call__(self, value, ctx=None):
            see()
            return str(value)

    class Reads(Deserializer):
        def __call__(self, value, ctx=None):
            see()
            return int(value)

    topic = app.topic("in", value_deserializer=Reads())
    out = app.topic("out", value_serializer=Writes(), key_serializer=Writes())
    app.dataframe(topic).to_topic(out)
    run(app, topic, [(1, b"1"), (2, b"2")])
    assert seen == [0, 0, 0, 1, 1, 1]


def test_a_61_timestamp_extractor(app, see, seen):
    def extract(value, headers, timestamp, kind):
        see()
        return value

    topic = app.topic("in", timestamp_extractor=extract)
    app.dataframe(topic).apply(lambda value, key, timestamp, headers: timestamp, metadata=True)
    assert run(app, topic, [(1, b"10"), (2, b"20")]) == [10, 20]
    assert seen == [0, 1]


def test_a_61_error_callbacks_and_the_end_of_a_record(seen):
    def callback(*arguments):
        seen.append(message_context().offset)
        return True

    app = MemoryApplication(
        on_consumer_error=callback, on_processing_error=callback, on_producer_error=callback,
        on_message_processed=callback,
    )
    topic = app.topic("in")
    sdf = app.dataframe(topic)
    sdf["x"] = sdf["missing"]
    run(app, topic, [(1, b"{"), (2, b"{}")])
    assert seen == [0, 1, 1], "the second is done once its error is suppressed"


def test_a_61_expressions_in_a_test(app, topic):
    """S-12: a series is tested without a topology."""
    sdf = app.dataframe(topic)
    from millstream.models import MessageContext

    context = MessageContext("mine", 3, 4, 5)
    result = sdf["a"].apply(lambda _: message_context()).test({"a": 1}, b"k", 0, ctx=context)[0]
    assert result == context
