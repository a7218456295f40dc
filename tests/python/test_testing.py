"""`millstream.testing`: M-01."""

from datetime import timedelta

import pytest

from millstream.dataframe.windows import Count
from millstream.models import TopicConfig
from millstream.models.serializers import Deserializer
from millstream.testing import MemoryApplication, TopologyTestDriver
from millstream.testing.partitioning import murmur2, partition_of


def counting(app, **formats):
    topic = app.topic("in", **formats)
    out = app.topic("out")

    def count(value, state):
        state.set("n", state.get("n", 0) + 1)
        return state.get("n")

    app.dataframe(topic).apply(count, stateful=True).to_topic(out)
    return topic, out


def values(driver, topic):
    return [record.value for record in driver.read_outputs(topic)]


def test_reading_outputs(app):
    topic, out = counting(app)
    with TopologyTestDriver(app, start_ms=1000) as driver:
        driver.pipe_input(topic, 0, key=b"a", headers=[("h", b"1")])
        driver.pipe_input(topic, 0, key=b"a", timestamp=5)
        first = driver.read_output(out)
        assert (first.key, first.value, first.timestamp, first.headers) == (b"a", 1, 1000, [("h", b"1")])
        assert (first.topic, first.partition, first.raw_value) == ("out", 0, b"1")
        assert driver.read_output("out").timestamp == 5
        with pytest.raises(LookupError, match="nothing"):
            driver.read_output(out)
        assert driver.read_outputs(out) == []
        assert [value for value, *_ in driver.read_results()] == [1, 2]
        assert driver.read_results() == []


def test_changelogs_can_be_read(app):
    topic, _ = counting(app)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, 0, key=b"a")
        assert driver.read_outputs("changelog__g--in--default") == []
        driver.checkpoint()
        assert driver.read_outputs("changelog__g--in--default"), "the entry and the marker"


def test_a_crash_loses_what_is_not_in_a_checkpoint_and_replays_it(app):
    """CK-08"""
    topic, out = counting(app)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, 0, key=b"a")
        driver.checkpoint()
        driver.pipe_input(topic, 0, key=b"a")
        driver.pipe_input(topic, 0, key=b"b")
        assert values(driver, out) == [1, 2, 1]
        driver.crash()
        assert values(driver, out) == [2, 1], "again, and counted once"
        driver.checkpoint()
        driver.crash()
        assert values(driver, out) == []
        driver.pipe_input(topic, 0, key=b"a")
        assert values(driver, out) == [3]


def test_a_crash_and_windows(app):
    topic, out = app.topic("in"), app.topic("out")
    app.dataframe(topic).tumbling_window(10).agg(n=Count()).final().to_topic(out)
    with TopologyTestDriver(app) as driver:
        for at in (1, 2):
            driver.pipe_input(topic, 0, key=b"a", timestamp=at)
        driver.checkpoint()
        driver.pipe_input(topic, 0, key=b"a", timestamp=3)
        driver.pipe_input(topic, 0, key=b"a", timestamp=11)
        once = values(driver, out)
        driver.crash()
        assert values(driver, out) == once == [{"n": 3, "start": 0, "end": 10}]


def test_partitions_have_state_of_their_own(app):
    topic, out = counting(app, config=TopicConfig(2, 1))
    with TopologyTestDriver(app) as driver:
        for partition in (0, 1, 0):
            driver.pipe_input(topic, 0, key=b"same", partition=partition)
        assert values(driver, out) == [1, 1, 2]


def test_repartition_topics_come_round(app):
    topic = app.topic("in", config=TopicConfig(3, 1))
    out = app.topic("out", key_serializer="json")
    app.dataframe(topic).group_by("k").to_topic(out)
    with TopologyTestDriver(app) as driver:
        for n in range(3):
            driver.pipe_input(topic, {"k": "x"}, partition=n)
        assert [record.key for record in driver.read_outputs(out)] == ["x"] * 3


def test_the_wall_clock(app):
    driver = TopologyTestDriver(app_with_nothing(app), start_ms=50)
    driver.advance(10)
    driver.advance(timedelta(seconds=1))
    assert driver.now_ms == 1060
    driver.close()


def app_with_nothing(app):
    app.dataframe(app.topic("in"))
    return app


@pytest.mark.parametrize(("name", "value", "raw"), [
    ("str", "ä", "ä".encode()), ("int", 5, b"\0\0\0\5"), ("json", [1], b"[1]"), ("bytes", "text", b"text"),
])
def test_inputs_are_written_by_the_counterpart(app, name, value, raw):
    topic, out = app.topic("in", value_deserializer=name), app.topic("out", value_serializer=name)
    app.dataframe(topic).to_topic(out)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, value)
        driver.pipe_input("in", raw)
        assert [record.raw_value for record in driver.read_outputs(out)] == [raw, raw]


def test_formats_of_the_user_take_bytes(app):
    class Mine(Deserializer):
        def __call__(self, value, ctx):
            return len(value)

    topic = app.topic("in", value_deserializer=Mine())
    app.dataframe(topic)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, b"abc")
        assert driver.read_results()[0][0] == 3
        with pytest.raises(TypeError, match="give the driver bytes"):
            driver.pipe_input(topic, {"a": 1})


def test_unknown_topics(app):
    with TopologyTestDriver(app_with_nothing(app)) as driver, pytest.raises(LookupError, match="no topic 'nothing'"):
        driver.pipe_input("nothing", 1)


def test_an_error_leaves_the_driver_usable():
    app = MemoryApplication(loglevel=None)
    topic, out = app.topic("in"), app.topic("out")
    app.dataframe(topic).apply(lambda value: 1 / value).to_topic(out)
    with TopologyTestDriver(app) as driver:
        with pytest.raises(ZeroDivisionError):
            driver.pipe_input(topic, 0)


def test_murmur2():
    """C-11: values that Kafka's own tests have."""
    known = {
        b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829, b"abc": 479470107,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }
    assert {key: murmur2(key) - (1 << 32 if murmur2(key) >> 31 else 0) for key in known} == known
    assert partition_of(None, 5) == 0
    assert partition_of(b"abc", 5) == 479470107 % 5
