"""Tumbling windows and aggregations, without a broker: section 6 of the parity rows."""

import logging
import math
from datetime import timedelta

import pytest

from millstream.core.stream.exceptions import InvalidOperation
from millstream.dataframe.windows import (
    Aggregator,
    Collect,
    Collector,
    Count,
    Earliest,
    First,
    Last,
    Latest,
    Max,
    Mean,
    Min,
    Reduce,
    Sum,
)
from millstream.models import TopicConfig
from millstream.state.exceptions import StateSerializationError, StoreAlreadyRegisteredError


def run(sdf, *records):
    """`(value, timestamp)` or `(value, timestamp, key)` one after the other; the values that come out."""
    out = []
    for value, timestamp, *key in records:
        out.append([result for result, *_ in sdf.test(value, *(key or [b"k"]), timestamp)])
    return out


def close(sdf, *records, at=10**9):
    """The results of the windows that these records make, closed by one far away."""
    run(sdf, *records)
    return run(sdf, (records[0][0], at))[0]


class TestDefinition:
    """W-01, W-08, W-09"""

    @pytest.mark.parametrize("length", [1.5, "10", None])
    def test_types_of_lengths(self, sdf, length):
        with pytest.raises(TypeError):
            sdf.tumbling_window(length)

    @pytest.mark.parametrize("arguments", [(0,), (-1,), (timedelta(0),), (10, -1)])
    def test_ranges(self, sdf, arguments):
        with pytest.raises(ValueError):
            sdf.tumbling_window(*arguments)

    @pytest.mark.parametrize("ms", [1, 999, 1001, 1009, 123_456_789])
    def test_timedelta_is_exact(self, sdf, ms):
        """W-08: Quix Streams makes 1000 of 1001."""
        assert sdf.tumbling_window(timedelta(milliseconds=ms)).count().name == f"tumbling_window_{ms}_count"

    def test_names(self, sdf):
        """W-09"""
        definition = sdf.tumbling_window(60, grace_ms=5, name="mine")
        assert definition.sum().name == "mine_tumbling_window_60_sum"
        assert definition.agg(a=Sum()).name == "mine_tumbling_window_60"
        names = [
            getattr(sdf.tumbling_window(60), shortcut)().name
            for shortcut in ("sum", "count", "mean", "max", "min", "collect")
        ]
        assert names == [
            f"tumbling_window_60_{suffix}" for suffix in ("sum", "count", "mean", "max", "min", "collect")
        ]
        reduced = sdf.tumbling_window(60).reduce(lambda old, new: old, lambda value: value)
        assert reduced.name == "tumbling_window_60_reduce"

    def test_two_windows_of_one_name(self, sdf):
        """W-09, ST-41"""
        window = sdf.tumbling_window(60).sum()
        window.final()
        with pytest.raises(StoreAlreadyRegisteredError):
            window.current()
        sdf.tumbling_window(60, name="other").sum().current()

    def test_agg_arguments(self, sdf):
        """W-23"""
        definition = sdf.tumbling_window(60)
        with pytest.raises(ValueError):
            definition.agg()
        for reserved in ("start", "end"):
            with pytest.raises(ValueError):
                definition.agg(**{reserved: Sum()})
        with pytest.raises(TypeError):
            definition.agg(a=sum)
        with pytest.raises(TypeError):
            definition.agg(a=Sum)

    def test_closing_strategies(self, sdf):
        """W-37, W-38"""
        for strategy in ("message", 5, None):
            with pytest.raises(TypeError):
                sdf.tumbling_window(60).sum().final(closing_strategy=strategy)
        sdf.tumbling_window(60).sum().final(closing_strategy="Partition")

    def test_collections_are_for_final(self, sdf):
        """W-37"""
        for window in (sdf.tumbling_window(60).collect(), sdf.tumbling_window(60).agg(a=Collect(), n=Count())):
            with pytest.raises(InvalidOperation):
                window.current()

    def test_steps_left_out(self, sdf):
        with pytest.raises(InvalidOperation, match="needs an aggregation"):
            sdf.tumbling_window(60).final()
        with pytest.raises(InvalidOperation, match=r"add an aggregation and an emission"):
            sdf.tumbling_window(60).to_topic(None)
        with pytest.raises(InvalidOperation, match=r"say when it emits"):
            sdf.tumbling_window(60).sum().to_topic(None)
        with pytest.raises(AttributeError):
            sdf.tumbling_window(60).nonsense  # noqa: B018


RECORDS = [(3, 10), (1, 30), (None, 35), (2, 20), (1.0, 30)]


@pytest.mark.parametrize(
    ("shortcut", "expected"), [("sum", 7.0), ("count", 4), ("mean", 1.75), ("max", 3), ("min", 1), ("collect", None)]
)
def test_shortcuts(sdf, shortcut, expected):
    """W-20, W-22, W-25, W-35"""
    window = getattr(sdf.tumbling_window(100), shortcut)().final()
    if shortcut == "collect":
        expected = [3, 2, 1, 1.0, None]
    (result,) = close(window, *RECORDS)
    assert result == {"start": 0, "end": 100, "value": expected}
    assert list(result) == ["start", "end", "value"]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (Sum("v"), 7.0), (Count("v"), 4), (Count(), 5), (Mean("v"), 1.75), (Max("v"), 3), (Min("v"), 1),
        (First("v"), 3), (Last("v"), 1.0), (Earliest("v"), 3), (Latest("v"), 1.0),
    ],
)
def test_aggregations_of_a_column(sdf, aggregation, expected):
    """W-24 to W-27"""
    window = sdf.tumbling_window(100).agg(x=aggregation).final()
    (result,) = close(window, *(({"v": value}, timestamp) for value, timestamp in RECORDS))
    assert result == {"x": expected, "start": 0, "end": 100}
    assert type(result["x"]) is type(expected)


def test_missing_columns_are_skipped(sdf):
    """W-25, W-26"""
    window = sdf.tumbling_window(100).agg(
        sum=Sum("v"), count=Count("v"), mean=Mean("v"), max=Max("v"), min=Min("v"), first=First("v"), last=Last("v"),
        earliest=Earliest("v"), latest=Latest("v"), all=Count(),
    ).final()
    (result,) = close(window, ({}, 1), ({"v": None}, 2))
    assert result == {
        "sum": 0, "count": 0, "mean": None, "max": None, "min": None, "first": None, "last": None, "earliest": None,
        "latest": None, "all": 2, "start": 0, "end": 100,
    }


@pytest.mark.parametrize("value", [None, [1], 5])
def test_columns_of_what_has_none(sdf, value):
    """W-24"""
    sdf.tumbling_window(100).agg(x=Sum("v")).current()
    with pytest.raises(AttributeError):
        sdf.test(value, b"k", 1)


def test_ties(sdf):
    """W-26, W-27"""
    window = sdf.tumbling_window(100).agg(
        max=Max("v"), min=Min("v"), earliest=Earliest("n"), latest=Latest("n"),
    ).final()
    (result,) = close(window, ({"v": 1, "n": "a"}, 5), ({"v": 1.0, "n": "b"}, 5), ({"v": True, "n": "c"}, 5))
    assert (repr(result["max"]), repr(result["min"])) == ("1", "1")
    assert (result["earliest"], result["latest"]) == ("a", "c")


def test_text_can_be_compared(sdf):
    """W-26"""
    window = sdf.tumbling_window(100).agg(max=Max(), min=Min()).final()
    assert close(window, ("b", 1), ("a", 2), ("c", 3)) == [{"max": "c", "min": "a", "start": 0, "end": 100}]


def test_wrong_types(sdf):
    """W-30"""
    sdf.tumbling_window(100).sum().current()
    sdf.test(1, b"k", 1)
    with pytest.raises(TypeError):
        sdf.test("x", b"k", 2)


def test_nan_is_kept(sdf):
    """W-32: Quix Streams loses it."""
    window = sdf.tumbling_window(100).sum().final()
    (result,) = close(window, (5, 1), (math.nan, 2), (2, 3))
    assert math.isnan(result["value"])


class TestReduce:
    def test_reduce(self, sdf):
        """W-21"""
        window = sdf.tumbling_window(100).reduce(lambda old, new: old + [new], lambda value: [value]).final()
        assert close(window, (1, 1), (None, 2), (3, 3))[0]["value"] == [1, None, 3]

    def test_none_is_not_initialised(self, sdf):
        """W-21"""
        calls = []
        window = sdf.tumbling_window(100).reduce(
            lambda old, new: calls.append("reducer"), lambda value: calls.append("initializer") or value
        ).current()
        run(window, (1, 1), (2, 2), (3, 3))
        assert calls == ["initializer", "reducer", "initializer"]

    def test_the_round_trip(self, sdf):
        """W-32: a tuple comes back as a list."""
        seen = []
        window = sdf.tumbling_window(100).reduce(
            lambda old, new: seen.append(old) or (*old, new), lambda value: (value,)
        ).current()
        assert run(window, (1, 1), (2, 2)) == [
            [{"start": 0, "end": 100, "value": (1,)}], [{"start": 0, "end": 100, "value": (1, 2)}],
        ]
        assert seen == [[1]]

    def test_final_gives_what_was_stored(self, sdf):
        """W-32"""
        window = sdf.tumbling_window(100).reduce(lambda old, new: (*old, new), lambda value: (value,)).final()
        assert close(window, (1, 1), (2, 2))[0]["value"] == [1, 2]

    def test_what_cannot_be_stored(self, sdf):
        """W-32"""
        sdf.tumbling_window(100).reduce(lambda old, new: old, lambda value: b"bytes").current()
        with pytest.raises(StateSerializationError):
            sdf.test(1, b"k", 1)

    def test_functions_are_needed(self, sdf):
        with pytest.raises(TypeError, match="initializer must be callable"):
            sdf.tumbling_window(100).reduce(lambda old, new: old, 0)


class TestCollect:
    def test_order(self, sdf):
        """W-22"""
        window = sdf.tumbling_window(100).collect().final()
        assert close(window, ("a", 30), ("b", 10), ("c", 30), ("d", 20))[0]["value"] == ["b", "d", "a", "c"]

    def test_columns_and_order_of_fields(self, sdf):
        """W-28, W-35"""
        window = sdf.tumbling_window(100).agg(ids=Collect("id"), n=Count(), all=Collect()).final()
        (result,) = close(window, ({"id": 1, "x": 2}, 1), ({"id": 3, "x": 4}, 2))
        assert result == {
            "n": 2, "ids": [1, 3], "all": [{"id": 1, "x": 2}, {"id": 3, "x": 4}], "start": 0, "end": 100,
        }
        assert list(result) == ["n", "ids", "all", "start", "end"]

    def test_a_missing_column(self, sdf):
        """W-28"""
        sdf.tumbling_window(100).agg(ids=Collect("id")).final()
        with pytest.raises(KeyError):
            sdf.test({}, b"k", 1)


class Spread(Aggregator):
    """Greatest minus least, with a tuple as state."""

    def initialize(self):
        return None

    def agg(self, old, new, timestamp):
        new = new if self.column is None else new.get(self.column)
        low, high = old or (new, new)
        return min(low, new), max(high, new)

    def result(self, value):
        return None if value is None else value[1] - value[0]


class Joined(Collector):
    def result(self, items):
        return "-".join(map(str, items))


class DoubleSum(Sum):
    """A subclass of a built-in one runs in Python."""

    def result(self, value):
        return 2 * super().result(value)


class TestCustom:
    """W-29"""

    def test_aggregators_and_collectors(self, sdf):
        window = sdf.tumbling_window(100).agg(
            spread=Spread("v"), double=DoubleSum("v"), joined=Joined("v"), whole=Joined()
        ).final()
        (result,) = close(window, ({"v": 5}, 1), ({"v": 2}, 2), ({"v": 9}, 3))
        assert result["spread"] == 7
        assert result["double"] == 32
        assert result["joined"] == "5-2-9"
        assert result["whole"].count("-") == 2

    def test_suffixes(self):
        assert (Spread().state_suffix, Spread("v").state_suffix) == ("Spread", "Spread/v")
        assert Reduce(min, abs).state_suffix == "Reduce"
        assert Sum().mergeable and not Spread().mergeable
        assert Reduce(min, abs, min).mergeable and not Reduce(min, abs).mergeable
        with pytest.raises(NotImplementedError):
            Spread().merge(1, 2)

    def test_pythons_own_form_of_the_builtins(self):
        """Users may build on them, so they must do what the engine's do."""
        for aggregation, states in [
            (Sum(), [0, 3, 3, 4]), (Count(), [0, 1, 1, 2]), (Mean(), [(0.0, 0), (3.0, 1), (3.0, 1), (4.0, 2)]),
            (Max(), [None, 3, 3, 3]), (Min(), [None, 3, 3, 1]), (First(), [None, 3, 3, 3]), (Last(), [None, 3, 3, 1]),
            (Earliest(), [None, (3, 20), (3, 20), (1, 10)]), (Latest(), [None, (3, 20), (3, 20), (3, 20)]),
        ]:
            found = [aggregation.initialize()]
            for value, timestamp in ((3, 20), (None, 5), (1, 10)):
                found.append(aggregation.agg(found[-1], value, timestamp))
            assert found == states, aggregation
            assert aggregation.merge(found[1], found[0]) == found[1]


class TestMembership:
    @pytest.mark.parametrize(("timestamp", "start"), [(0, 0), (9, 0), (10, 10), (19, 10), (10**12 + 5, 10**12)])
    def test_half_open(self, sdf, timestamp, start):
        """W-45, W-36"""
        window = sdf.tumbling_window(10).count().current()
        assert window.test(1, b"k", timestamp, [("h", b"x")]) == [
            ({"start": start, "end": start + 10, "value": 1}, b"k", start, None)
        ]

    def test_negative_timestamps(self, sdf):
        """W-45: no window, silently."""
        window = sdf.tumbling_window(10).count().current()
        assert window.test(1, b"k", -5) == []

    def test_null_keys(self, sdf, caplog):
        """W-10"""
        window = sdf.tumbling_window(10).count().current()
        with caplog.at_level(logging.WARNING, "millstream"):
            assert window.test(1, None, 5) == []
        (record,) = caplog.records
        assert "key" in record.getMessage() and "in" in record.getMessage()


class TestClosing:
    def test_final(self, sdf):
        """W-38, W-48"""
        window = sdf.tumbling_window(10).sum().final()
        assert run(window, (1, 1), (2, 9), (3, 10), (4, 25), (5, 25)) == [
            [], [], [{"start": 0, "end": 10, "value": 3}], [{"start": 10, "end": 20, "value": 3}], [],
        ]

    def test_grace(self, sdf):
        """W-47, W-48"""
        window = sdf.tumbling_window(10, grace_ms=5).sum().final()
        assert run(window, (1, 1), (2, 12), (4, 3), (8, 15), (16, 4)) == [
            [], [], [], [{"start": 0, "end": 10, "value": 5}], [],
        ]

    def test_several_at_once_in_order(self, sdf):
        """W-39"""
        window = sdf.tumbling_window(10, grace_ms=1000).count().final()
        run(window, (1, 35), (1, 5), (1, 25))
        assert [result["start"] for result in run(window, (1, 5000))[0]] == [0, 20, 30]

    def test_keys_have_their_own_time(self, sdf):
        """W-40, W-46"""
        window = sdf.tumbling_window(10).count().final()
        assert run(window, (1, 5, b"a"), (1, 500, b"b"), (1, 6, b"a")) == [[], [], []]

    def test_by_partition(self, sdf):
        """W-50: all keys, by key and start."""
        window = sdf.tumbling_window(10).count().final(closing_strategy="partition")
        run(window, (1, 5, b"b"), (1, 5, b"a"))
        assert window.test(1, b"c", 100) == [
            ({"start": 0, "end": 10, "value": 1}, b"a", 0, None), ({"start": 0, "end": 10, "value": 1}, b"b", 0, None),
        ]

    @pytest.mark.parametrize("key", ["text", 5, 1.5, ["a", 1], True])
    def test_keys_come_back_as_they_were(self, app, key):
        """W-50"""
        sdf = app.dataframe(app.topic("in", key_deserializer="json"))
        window = sdf.tumbling_window(10).count().final(closing_strategy="partition")
        window.test(1, key, 5)
        ((_, found, _, _),) = window.test(1, key, 100)
        assert found == key and type(found) is type(key)

    def test_a_closed_window_stays_closed(self, sdf):
        """W-51: Quix Streams opens it again within the grace."""
        late = []
        window = sdf.tumbling_window(10, grace_ms=5, on_late=lambda *a: late.append(a[3:6])).count().final("partition")
        run(window, (1, 5, b"a"), (1, 15, b"b"))
        assert run(window, (1, 6, b"a"), (1, 100, b"c")) == [[], [{"start": 10, "end": 20, "value": 1}]]
        assert late == [(4, 0, 10)]

    def test_current(self, sdf):
        """W-37"""
        window = sdf.tumbling_window(10).sum().current()
        assert run(window, (1, 1), (2, 15), (4, 16), (8, 2)) == [
            [{"start": 0, "end": 10, "value": 1}], [{"start": 10, "end": 20, "value": 2}],
            [{"start": 10, "end": 20, "value": 6}], [],
        ]


class TestLate:
    def test_on_late(self, sdf):
        """W-53"""
        calls = []
        window = sdf.tumbling_window(10, on_late=lambda *a: calls.append(a), name="mine").count().final()
        run(window, (1, 25), ("late", 7))
        assert calls == [("late", b"k", 7, 18, 0, 10, "mine_tumbling_window_10_count", "in", 0, 0)]

    @pytest.mark.parametrize(("callback", "logged"), [(None, 1), (lambda *a: True, 1), (lambda *a: False, 0)])
    def test_the_warning(self, sdf, caplog, callback, logged):
        """W-53"""
        window = sdf.tumbling_window(10, on_late=callback).count().final()
        with caplog.at_level(logging.WARNING, "millstream"):
            run(window, (1, 25), (1, 7))
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == logged

    def test_time_does_not_go_back(self, sdf):
        """W-49"""
        window = sdf.tumbling_window(10).count().final()
        assert run(window, (1, 25), (1, 7), (1, 26), (1, 30)) == [
            [], [], [], [{"start": 20, "end": 30, "value": 2}],
        ]


class TestTriggers:
    def test_before_update(self, sdf):
        """W-54: emitted and deleted without the value, which is lost."""
        seen = []

        def full(aggregated, value, key, timestamp, headers):
            seen.append((aggregated, value, key, timestamp, headers))
            return aggregated + value > 10

        window = sdf.tumbling_window(100, before_update=full).sum().final()
        assert run(window, (6, 1), (7, 2), (5, 3)) == [[], [{"start": 0, "end": 100, "value": 6}], []]
        assert seen == [(0, 6, b"k", 1, None), (6, 7, b"k", 2, None), (0, 5, b"k", 3, None)]

    def test_after_update(self, sdf):
        """W-55"""
        window = sdf.tumbling_window(100, after_update=lambda aggregated, *_: aggregated > 10).sum().final()
        assert run(window, (6, 1), (7, 2), (5, 3), (0, 100)) == [
            [], [{"start": 0, "end": 100, "value": 13}], [], [{"start": 0, "end": 100, "value": 5}],
        ]

    def test_what_they_are_given(self, sdf):
        """W-56"""
        seen = []
        window = sdf.tumbling_window(
            100, after_update=lambda aggregated, *_: seen.append(aggregated)
        ).agg(total=Sum("v"), n=Count()).final()
        run(window, ({"v": 5}, 1))
        assert seen == [{"total/Sum/v": 5, "n/Count": 1}]

    def test_the_raw_state_of_one(self, sdf):
        """W-56, W-32"""
        seen = []
        window = sdf.tumbling_window(100, after_update=lambda aggregated, *_: seen.append(aggregated)).mean().final()
        run(window, (4, 1), (6, 2))
        assert [list(state) for state in seen] == [[4.0, 1], [10.0, 2]]

    def test_the_raw_state_with_a_timestamp(self, sdf):
        """W-56: value first."""
        seen = []
        window = sdf.tumbling_window(100, after_update=lambda aggregated, *_: seen.append(aggregated))
        run(window.agg(first=Earliest("v")).final(), ({"v": "x"}, 7))
        assert [list(state["first/Earliest/v"]) for state in seen] == [["x", 7]]

    def test_current_emits_what_fired(self, sdf):
        """W-57: Quix Streams swallows it."""
        window = sdf.tumbling_window(100, after_update=lambda aggregated, *_: aggregated > 10).sum().current()
        assert run(window, (6, 1), (7, 2), (1, 3)) == [
            [{"start": 0, "end": 100, "value": 6}], [{"start": 0, "end": 100, "value": 13}],
            [{"start": 0, "end": 100, "value": 1}],
        ]

    def test_a_fired_record_advances_time(self, sdf):
        """W-58"""
        late = []
        window = sdf.tumbling_window(
            10, after_update=lambda aggregated, *_: aggregated > 10, on_late=lambda *a: late.append(a[2])
        ).sum().final()
        run(window, (11, 50), (1, 5))
        assert late == [5]

    def test_not_for_late_windows(self, sdf):
        """W-54"""
        seen = []
        window = sdf.tumbling_window(10, before_update=lambda *a: seen.append(a[3]), on_late=lambda *a: False)
        run(window.sum().final(), (1, 50), (1, 5))
        assert seen == [50]


def test_behind_a_group_by(app):
    """D-41, W-36"""
    sdf = app.dataframe(app.topic("in", config=TopicConfig(1, 1))).group_by("user")
    window = sdf.tumbling_window(10).agg(total=Sum("v")).final()
    window.test({"user": "ann", "v": 5}, b"old", 1)
    assert window.test({"user": "ann", "v": 7}, b"old", 11) == [({"total": 5, "start": 0, "end": 10}, "ann", 0, None)]
