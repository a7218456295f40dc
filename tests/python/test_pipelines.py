"""Whole pipelines, each on the test driver, on the embedded broker and on Apache Kafka."""

import json

import pytest

from millstream import message_context
from millstream.dataframe.windows import Collect, Count, Earliest, First, Last, Latest, Max, Mean, Min, Reduce, Sum
from millstream.models import TimestampType
from millstream.models.serializers import Deserializer, IgnoreMessage, JSONSerializer, Serializer
from platforms import Input


def facts(records, *fields):
    return [tuple(getattr(record, field) for field in fields) for record in records]


def test_filter_assign_project_and_write(platform):
    """D-31, D-32, D-34, D-50: key, timestamp and headers are kept."""
    app = platform.application()
    readings, alarms = platform.topic("readings"), platform.topic("alarms")
    sdf = app.dataframe(readings)
    sdf["fahrenheit"] = sdf["celsius"] * 9 / 5 + 32
    sdf = sdf[(sdf["fahrenheit"] > 86) & sdf["room"].isin(["kitchen", "cellar"])]
    sdf = sdf[["room", "fahrenheit"]].to_topic(alarms)
    platform.run(
        Input(readings, {"room": "kitchen", "celsius": 35, "x": None}, b"k1", 1000, [("h", b"1"), ("h", b"2")]),
        Input(readings, {"room": "kitchen", "celsius": 25}, b"k2", 2000),
        Input(readings, {"room": "attic", "celsius": 35}, b"k3", 3000),
        Input(readings, {"room": "cellar", "celsius": 30.5}, None, 4000),
    )
    assert facts(platform.output(alarms), "raw_key", "raw_value", "timestamp", "headers") == [
        (b"k1", b'{"room":"kitchen","fahrenheit":95.0}', 1000, [("h", b"1"), ("h", b"2")]),
        (None, b'{"room":"cellar","fahrenheit":86.9}', 4000, []),
    ]


def test_bytes_pass_untouched(platform):
    """T-41: a pipeline that looks into nothing changes nothing."""
    app = platform.application()
    given = platform.topic("given", value_deserializer="bytes")
    taken = platform.topic("taken", value_serializer="bytes")
    app.dataframe(given).to_topic(taken)
    payloads = [b"", b"\0\xff", b'{"not":json', bytes(range(256)) * 40]
    platform.run(*(Input(given, payload, payload[:1] or None, 5) for payload in payloads))
    assert [record.raw_value for record in platform.output(taken)] == payloads


def test_json_that_only_passes_stays_as_it_was_written(platform):
    """Design: a filter that keeps the record forwards its value; what it means is the same."""
    app = platform.application()
    given, taken = platform.topic("given"), platform.topic("taken")
    sdf = app.dataframe(given)
    sdf[sdf["keep"]].to_topic(taken)
    text = b'{ "keep" : true, "n": 12345678901234567890, "f": 1.50, "u": "\\u00e4" }'
    platform.run(Input(given, text, b"k", 5), Input(given, b'{"keep": false}', b"k", 6))
    (record,) = platform.output(taken)
    assert json.loads(record.raw_value) == json.loads(text)


def test_tombstones(platform):
    """T-05, T-06: a null value reaches functions; JSON writes it as `null`, bytes as a tombstone."""
    app = platform.application()
    given = platform.topic("given")
    as_json, as_bytes = platform.topic("as-json"), platform.topic("as-bytes", value_serializer="bytes")
    seen = []
    app.dataframe(given).update(seen.append).to_topic(as_json).to_topic(as_bytes)
    platform.run(Input(given, None, b"k", 5))
    assert seen == [None]
    assert facts(platform.output(as_json), "raw_value") == [(b"null",)]
    assert facts(platform.output(as_bytes), "raw_value") == [(None,)]


@pytest.mark.parametrize(
    ("name", "value"), [("str", "Zürich"), ("int", -7), ("double", 2.5), ("json", {"a": [1]}), ("bytes", b"\1\2")]
)
def test_formats(platform, name, value):
    """T-40 to T-45"""
    app = platform.application()
    given = platform.topic("given", value_deserializer=name, key_deserializer=name)
    taken = platform.topic("taken", value_serializer=name, key_serializer=name)
    seen = []
    app.dataframe(given).apply(lambda v, k, t, h: seen.append((v, k)) or v, metadata=True).to_topic(taken)
    platform.run(Input(given, value, value, 5))
    assert seen == [(value, value)]
    assert facts(platform.output(taken), "key", "value") == [(value, value)]


class Words(Deserializer):
    """Several records of one; the first line may say to ignore all."""

    @property
    def split_values(self):
        return True

    def __call__(self, value, ctx):
        assert ctx.field == "value"
        if value.startswith(b"ignore"):
            raise IgnoreMessage
        return value.decode().split()


class Upper(Serializer):
    @property
    def extra_headers(self):
        return {"h": b"new", "by": b"upper"}

    def __call__(self, value, ctx):
        return value.upper()


def test_formats_of_the_user(platform):
    """T-06, T-51, T-64"""
    app = platform.application()
    given = platform.topic("given", value_deserializer=Words())
    taken = platform.topic("taken", value_serializer=Upper())
    app.dataframe(given).to_topic(taken)
    platform.run(
        Input(given, b"rye oats", b"k", 5, [("h", b"old"), ("x", b"1")]),
        Input(given, b"ignore me", b"k", 6),
        Input(given, b"", b"k", 7),
        Input(given, b"spelt", b"k", 8),
    )
    headers = [("x", b"1"), ("h", b"new"), ("by", b"upper")]
    assert facts(platform.output(taken), "raw_value", "timestamp", "headers") == [
        (b"RYE", 5, headers), (b"OATS", 5, headers), (b"SPELT", 8, headers[1:]),
    ]


def test_timestamp_extractor(platform):
    """T-07, T-08"""
    app = platform.application()
    kinds = []

    def extract(value, headers, timestamp, kind):
        kinds.append((kind, headers))
        return value["at"] + timestamp

    given = platform.topic("given", timestamp_extractor=extract)
    taken = platform.topic("taken")
    app.dataframe(given).to_topic(taken)
    platform.run(Input(given, {"at": 1000}, b"k", 5, [("h", b"1")]))
    assert facts(platform.output(taken), "timestamp") == [(1005,)]
    assert kinds == [(TimestampType.TIMESTAMP_CREATE_TIME, [("h", b"1")])]


def test_topics_chosen_per_record(platform):
    """D-50"""
    app = platform.application()
    given, high, low = platform.topic("given"), platform.topic("high"), platform.topic("low")
    sdf = app.dataframe(given)
    sdf.to_topic(lambda value, key, timestamp, headers: high if value["n"] > 5 else low, key=lambda value: b"new")
    platform.run(*(Input(given, {"n": n}, b"old", n) for n in (3, 7, 4)))
    assert facts(platform.output(high), "value", "raw_key") == [({"n": 7}, b"new")]
    assert facts(platform.output(low), "value", "raw_key") == [({"n": 3}, b"new"), ({"n": 4}, b"new")]


def test_timestamps_headers_and_branches(platform):
    """D-03, D-51, D-52"""
    app = platform.application()
    given, first, second = platform.topic("given"), platform.topic("first"), platform.topic("second")
    sdf = app.dataframe(given).set_timestamp(lambda v, k, t, h: t + 1000)
    sdf.set_headers(lambda v, k, t, h: [*h, ("seen", str(t))]).to_topic(first)
    sdf.apply(lambda value: {"other": value}).set_headers(lambda v, k, t, h: None).to_topic(second)
    platform.run(Input(given, {"a": 1}, b"k", 5, [("h", b"1")]))
    assert facts(platform.output(first), "value", "timestamp", "headers") == [
        ({"a": 1}, 1005, [("h", b"1"), ("seen", b"1005")])
    ]
    assert facts(platform.output(second), "value", "timestamp", "headers") == [({"other": {"a": 1}}, 1005, [])]


def test_partitions_are_chosen_by_the_key(platform):
    """C-11: as Java's client does."""
    app = platform.application()
    given, taken = platform.topic("given"), platform.topic("taken", partitions=3, key_serializer="str")
    app.dataframe(given).to_topic(taken, key=lambda value: value["key"])
    keys = ["21", "foobar", "a-little-bit-long-string", "abc", "x"]
    platform.run(*(Input(given, {"key": key}, b"k", 5) for key in keys))
    hashes = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
    found = {record.key: record.partition for record in platform.output(taken)}
    assert {key: found[key] for key in hashes} == {key: (n & 0x7FFFFFFF) % 3 for key, n in hashes.items()}


def test_state(platform):
    """D-23, ST-01 to ST-05, ST-10"""
    app = platform.application()
    given, taken = platform.topic("given"), platform.topic("taken")

    def count(value, state):
        if value.get("forget"):
            state.delete("seen")
        seen = state.get("seen", [])
        seen.append(value["n"])
        state.set("seen", seen)
        state.set_bytes("raw", b"\0\xff")
        assert state.exists("seen") and not state.exists("other")
        assert state.get_bytes("raw") == b"\0\xff"
        assert state.get("none", 7) == 7
        return seen

    app.dataframe(given).apply(count, stateful=True).to_topic(taken)
    platform.run(
        Input(given, {"n": 1}, b"a", 1), Input(given, {"n": 2}, b"b", 2), Input(given, {"n": 3}, b"a", 3),
        Input(given, {"n": 4, "forget": True}, b"a", 4), Input(given, {"n": 5}, b"b", 5),
    )
    assert [record.value for record in platform.output(taken)] == [[1], [2], [1, 3], [4], [2, 5]]


@pytest.mark.parametrize("partitions", [1, 3])
def test_group_by(platform, partitions):
    """D-40 to D-42: value, timestamp and headers are kept; equal keys meet."""
    app = platform.application()
    given = platform.topic("given", partitions=partitions)
    taken = platform.topic("taken", key_serializer="json")
    sdf = app.dataframe(given)
    sdf = sdf.group_by("city")

    def total(value, state):
        state.set("sum", state.get("sum", 0) + value["fare"])
        return {"city": value["city"], "sum": state.get("sum")}

    sdf.apply(total, stateful=True).to_topic(taken)
    platform.run(
        *(
            Input(given, {"city": city, "fare": fare}, b"key-%d" % n, 100 + n, [("n", b"%d" % n)])
            for n, (city, fare) in enumerate([("Chur", 1), ("Bern", 10), ("Chur", 2), ("Bern", 20), ("Chur", 4)])
        )
    )
    records = platform.output(taken)
    assert {record.key for record in records} == {"Chur", "Bern"}
    sums = {
        city: max(record.value["sum"] for record in records if record.value["city"] == city)
        for city in ("Chur", "Bern")
    }
    assert sums == {"Chur": 7, "Bern": 30}
    assert sorted(facts(records, "timestamp", "headers")) == [(100 + n, [("n", b"%d" % n)]) for n in range(5)]


def test_the_context_behind_a_group_by(platform):
    """M-31: the record's context is that of the repartition topic."""
    app = platform.application()
    given = platform.topic("given", partitions=2)
    seen = []
    sdf = app.dataframe(given).group_by("city")
    name = sdf.topics[0].name
    sdf.update(lambda value: seen.append(message_context().topic))
    platform.run(Input(given, {"city": "Chur"}, b"k", 5))
    assert seen == [name]


AGGREGATIONS = {
    "sum": Sum("v"), "count": Count("v"), "mean": Mean("v"), "min": Min("v"), "max": Max("v"), "first": First("v"),
    "last": Last("v"), "earliest": Earliest("v"), "latest": Latest("v"),
    "reduce": Reduce(lambda old, new: [*old, new["v"]], lambda value: [value["v"]]),
}
# The first of them opens window 0, the last one of each key closes what is before.
WINDOW_RECORDS = [
    ("a", 4, 1100), ("b", 1, 1200), ("a", 2, 1500), ("a", 2.5, 1400), ("b", None, 1900), ("a", 7, 2100), ("b", 5, 2300),
    ("a", 3, 1800), ("a", 0, 9000), ("b", 0, 9000),
]


def run_windows(platform, emit, partitions=1, **agg):
    app = platform.application()
    given = platform.topic("given", partitions=partitions)
    taken = platform.topic("taken", key_serializer="str")
    sdf = app.dataframe(app.topic(given.name, key_deserializer="str"))
    window = sdf.tumbling_window(1000, grace_ms=200).agg(**agg)
    getattr(window, emit)().to_topic(taken)
    platform.run(*(Input(given, {"v": value}, key.encode(), at) for key, value, at in WINDOW_RECORDS))
    return platform.output(taken)


def test_windows_final(platform):
    """W-20 to W-27, W-36, W-38"""
    records = run_windows(platform, "final", **AGGREGATIONS, all=Collect("v"))
    found = {(record.key, record.timestamp): record.value for record in records}
    expected = {
        ("a", 1000): (11.5, 4, 11.5 / 4, 2, 4, 4, 3, 4, 3, [4, 2, 2.5, 3], [4, 2.5, 2, 3]),
        ("b", 1000): (1, 1, 1.0, 1, 1, 1, 1, 1, 1, [1, None], [1, None]),
        ("a", 2000): (7, 1, 7.0, 7, 7, 7, 7, 7, 7, [7], [7]),
        ("b", 2000): (5, 1, 5.0, 5, 5, 5, 5, 5, 5, [5], [5]),
    }
    assert found == {
        (key, start): dict(zip([*AGGREGATIONS, "all", "start", "end"], (*values, start, start + 1000), strict=True))
        for (key, start), values in expected.items()
    }
    assert [record.headers for record in records] == [[]] * 4
    assert list(records[0].value) == [*AGGREGATIONS, "all", "start", "end"]


def test_windows_current(platform):
    """W-37"""
    records = run_windows(platform, "current", sum=Sum("v"), n=Count())
    assert [(record.key, record.timestamp, record.value["sum"], record.value["n"]) for record in records] == [
        ("a", 1000, 4, 1), ("b", 1000, 1, 1), ("a", 1000, 6, 2), ("a", 1000, 8.5, 3), ("b", 1000, 1, 2),
        ("a", 2000, 7, 1), ("b", 2000, 5, 1), ("a", 1000, 11.5, 4), ("a", 9000, 0, 1), ("b", 9000, 0, 1),
    ]


def test_windows_behind_a_group_by_of_several_partitions(platform):
    """Design, section 7: no record is late because another partition was read faster."""
    app = platform.application()
    given = platform.topic("given", partitions=3)
    taken = platform.topic("taken", key_serializer="json")
    late = []
    sdf = app.dataframe(given).group_by("city")
    sdf = sdf.tumbling_window(1000, on_late=lambda *a: late.append(a[:4])).agg(n=Count(), sum=Sum("v"))
    sdf.final().to_topic(taken)
    # Partition 0 runs far ahead of partition 1 and 2 within one read.
    inputs = [
        Input(given, {"city": "Chur", "v": n}, b"k", 1000 * (n + 1), None, partition)
        for partition in (0, 1, 2)
        for n in range(20)
    ]
    platform.run(*inputs)
    records = platform.output(taken)
    assert late == []
    found = {record.timestamp: record.value for record in records}
    assert len(found) == len(records), "each window once"
    # On the driver nothing says that a partition is idle, so the last windows stay open.
    assert {start: (value["n"], value["sum"]) for start, value in found.items()} == {
        1000 * (n + 1): (3, 3 * n) for n in range(len(found))
    }
    assert len(found) >= 19


def test_a_failing_record_is_skipped_if_the_callback_says_so(platform):
    """E-02: its offset is stored, later records run."""
    seen = []

    def on_error(error, row, logger):
        seen.append((type(error), row.value, row.key, row.topic, row.partition, row.offset))
        return True

    app = platform.application(on_processing_error=on_error)
    given, taken = platform.topic("given"), platform.topic("taken")
    app.dataframe(given).apply(lambda value: 10 / value).to_topic(taken)
    platform.run(*(Input(given, value, b"k", 5) for value in (5, 0, 2)))
    assert [record.value for record in platform.output(taken)] == [2.0, 5.0]
    assert seen == [(ZeroDivisionError, 0, b"k", given.name, 0, 1)]


def test_an_unreadable_record_is_skipped_if_the_callback_says_so(platform):
    """E-01"""
    seen = []

    def on_error(error, message, logger):
        seen.append((message.value(), message.offset(), message.topic()))
        return True

    app = platform.application(on_consumer_error=on_error)
    given, taken = platform.topic("given"), platform.topic("taken")
    app.dataframe(given).to_topic(taken)
    platform.run(Input(given, b"1", b"k", 5), Input(given, b"{broken", b"k", 5), Input(given, b"2", b"k", 5))
    assert [record.value for record in platform.output(taken)] == [1, 2]
    assert seen == [(b"{broken", 1, given.name)]


def test_an_unwritable_record_is_skipped_if_the_callback_says_so(platform):
    """E-03"""
    seen = []

    def on_error(error, row, logger):
        seen.append((type(error).__name__, row.offset))
        return True

    app = platform.application(on_producer_error=on_error)
    given, taken = platform.topic("given"), platform.topic("taken")
    app.dataframe(given).apply(lambda value: {1, 2} if value == 0 else value).to_topic(taken)
    platform.run(*(Input(given, value, b"k", 5) for value in (5, 0, 2)))
    assert [record.value for record in platform.output(taken)] == [5, 2]
    assert seen == [("SerializationError", 1)]


@pytest.mark.parametrize("kind", ["processing", "consumer", "producer"])
def test_errors_come_out_as_they_are(platform, kind):
    """E-01 to E-03: without a callback."""
    app = platform.application(loglevel=None)
    given, taken = platform.topic("given"), platform.topic("taken")
    sdf = app.dataframe(given)

    class Mine(Exception):
        pass

    def fail(value):
        raise Mine("of the user")

    if kind == "processing":
        sdf = sdf.apply(fail)
    elif kind == "producer":
        sdf = sdf.apply(lambda value: {1, 2})
    sdf.to_topic(taken)
    with pytest.raises(Exception) as caught:
        platform.run(Input(given, b"{" if kind == "consumer" else {"a": 1}, b"k", 5))
    notes = "\n".join(getattr(caught.value, "__notes__", ()))
    assert given.name in f"{caught.value}{notes}"
    if kind == "processing":
        assert type(caught.value) is Mine
        assert caught.traceback[-1].name == "fail"
        assert f"{given.name}[0] offset 0, operator apply fail" in notes
    else:
        assert type(caught.value).__name__ == "SerializationError"


def test_json_serializer_with_a_schema(platform):
    """T-46"""
    pytest.importorskip("jsonschema")
    app = platform.application(on_producer_error=lambda *a: True)
    given = platform.topic("given")
    taken = platform.topic("taken", value_serializer=JSONSerializer(schema={"type": "integer"}))
    app.dataframe(given).to_topic(taken)
    platform.run(Input(given, 1, b"k", 5), Input(given, "x", b"k", 5), Input(given, 2, b"k", 5))
    assert [record.value for record in platform.output(taken)] == [1, 2]
