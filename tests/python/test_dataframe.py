"""Dataframes, without a broker: section 4 of the parity rows."""

import functools
import io
import json
import pickle
from contextlib import redirect_stdout

import pytest

from millstream import MessageContext, message_context
from millstream.context import MessageContextNotSetError
from millstream.core.stream.exceptions import InvalidOperation
from millstream.dataframe import (
    ColumnDoesNotExist,
    GroupByDuplicate,
    GroupByNestingLimit,
    StreamingDataFrame,
    StreamingDataFrameDuplicate,
    StreamingSeries,
)
from millstream.exceptions import NotSupportedYet
from millstream.models import Topic, TopicConfig
from millstream.testing import MemoryApplication


def values(results):
    return [value for value, key, timestamp, headers in results]


class TestInPlaceOrNew:
    """D-02"""

    @pytest.mark.parametrize(
        "step",
        [
            lambda sdf: sdf.update(lambda value: None),
            lambda sdf: sdf.to_topic(Topic("out")),
            lambda sdf: sdf.print(),
            lambda sdf: sdf.print_table(),
            lambda sdf: sdf.fill("a"),
            lambda sdf: sdf.drop("a"),
            lambda sdf: sdf.drop([]),
        ],
    )
    def test_in_place(self, sdf, step):
        assert step(sdf) is sdf

    @pytest.mark.parametrize(
        "step",
        [
            lambda sdf: sdf.apply(lambda value: value),
            lambda sdf: sdf.filter(lambda value: True),
            lambda sdf: sdf[sdf["a"] > 0],
            lambda sdf: sdf[["a"]],
            lambda sdf: sdf.group_by("a"),
            lambda sdf: sdf.set_timestamp(lambda *record: 0),
            lambda sdf: sdf.set_headers(lambda *record: None),
            lambda sdf: sdf.tumbling_window(10).count().final(),
        ],
    )
    def test_new(self, sdf, step):
        result = step(sdf)
        assert isinstance(result, StreamingDataFrame)
        assert result is not sdf

    def test_an_unassigned_clone_runs(self, sdf):
        """D-03"""
        seen = []
        sdf.apply(seen.append)
        sdf.test(5)
        assert seen == [5]


class TestBranches:
    def test_depth_first_in_order_of_definition(self, sdf):
        """D-03"""
        seen = []
        sdf = sdf.apply(lambda value: seen.append("root") or value)
        first = sdf.apply(lambda value: seen.append("first") or value)
        second = sdf.apply(lambda value: seen.append("second") or value)
        first.apply(lambda value: seen.append("first's child") or value)
        second.apply(lambda value: seen.append("second's child") or value)
        first.apply(lambda value: seen.append("first's other child") or value)
        sdf.test(1)
        assert seen == ["root", "first", "first's child", "first's other child", "second", "second's child"]

    def test_each_has_the_value_to_itself(self, sdf):
        """D-04: also where pickling fails."""
        unpicklable = {"f": lambda: None, "list": [1]}
        with pytest.raises(Exception):  # noqa: B017 - whatever pickle raises
            pickle.dumps(unpicklable)
        sdf.update(lambda value: None)
        branches = [sdf.apply(lambda value, n=n: value["list"].append(n) or value) for n in (2, 3, 4)]
        assert len(branches) == 3
        assert [value["list"] for value in values(sdf.test(unpicklable))] == [[1, 2], [1, 3], [1, 4]]

    def test_no_copy_on_a_line(self, sdf):
        """D-05"""
        value = {"a": [1]}
        sdf = sdf.update(lambda v: v["a"].append(2)).apply(lambda v: v)
        assert values(sdf.test(value)) == [{"a": [1, 2]}]
        assert value == {"a": [1, 2]}

    def test_an_error_ends_the_record(self, sdf):
        """D-09"""
        seen = []
        sdf.apply(lambda value: seen.append(1))
        sdf.apply(lambda value: 1 / 0)
        sdf.apply(lambda value: seen.append(2))
        with pytest.raises(ZeroDivisionError):
            sdf.test(0)
        assert seen == [1]


class TestFunctions:
    def test_apply(self, sdf):
        """D-20, D-06"""
        assert values(sdf.apply(lambda value: None).apply(lambda value: [value]).test(5)) == [[None]]

    @pytest.mark.parametrize(
        "function", [functools.partial(pow, 2), abs, int.bit_length, lambda v: v, type("C", (), {"__call__": lambda s, v: v})()]
    )
    def test_kinds_of_callables(self, sdf, function):
        """D-20"""
        assert values(sdf.apply(function).test(5)) == [function(5)]

    def test_metadata(self, sdf):
        """D-08"""
        sdf = sdf.apply(lambda *arguments: arguments, metadata=True)
        assert values(sdf.test(1, "k", 7, [("h", b"x")])) == [(1, "k", 7, [("h", b"x")])]

    def test_expand(self, sdf):
        """D-20"""
        assert values(sdf.apply(lambda v: range(v), expand=True).apply(str).test(3)) == ["0", "1", "2"]
        assert sdf.test(0) == []

    def test_expand_runs_as_it_is_consumed(self, sdf):
        """D-20: and state written between two yields is seen."""
        seen = []

        def numbers(value, state):
            for n in range(3):
                state.set("n", n)
                seen.append(f"yield {n}")
                yield n

        def look(value, state):
            seen.append(f"n is {state.get('n')}")
            return value

        sdf.apply(numbers, stateful=True, expand=True).apply(look, stateful=True)
        sdf.test(1)
        assert seen == ["yield 0", "n is 0", "yield 1", "n is 1", "yield 2", "n is 2"]

    def test_expand_of_what_cannot_be_iterated(self, sdf):
        """D-20"""
        sdf.apply(lambda value: 5, expand=True)
        with pytest.raises(TypeError):
            sdf.test(1)

    def test_update(self, sdf):
        """D-21"""
        assert values(sdf.update(lambda value: "ignored").test(5)) == [5]
        assert values(sdf.update(lambda value, key, timestamp, headers: None, metadata=True).test(5)) == [5]

    @pytest.mark.parametrize(("result", "kept"), [(True, 1), (1, 1), ("x", 1), (False, 0), (None, 0), ([], 0), (0.0, 0)])
    def test_filter(self, sdf, result, kept):
        """D-22"""
        assert len(sdf.filter(lambda value: result).test(5)) == kept

    def test_state(self, sdf):
        """D-23, D-08"""

        def count(value, key, timestamp, headers, state):
            state.set("n", state.get("n", 0) + 1)
            return key, state.get("n")

        sdf = sdf.apply(count, stateful=True, metadata=True)
        assert [values(sdf.test(0, key))[0] for key in (b"a", b"b", b"a", None, None)] == [
            (b"a", 1), (b"b", 1), (b"a", 2), (None, 1), (None, 2),
        ]

    def test_one_store_per_stream(self, sdf):
        """D-23: all stateful functions of a stream share it."""
        sdf.update(lambda value, state: state.set("x", value), stateful=True)
        sdf = sdf.filter(lambda value, state: state.get("x") == 5, stateful=True)
        assert values(sdf.test(5)) == [5]

    def test_no_function(self, sdf):
        for step in (sdf.apply, sdf.update, sdf.filter, sdf.set_timestamp, sdf.set_headers):
            with pytest.raises(TypeError, match="needs a function"):
                step(5)

    def test_values_are_plain_objects(self, sdf):
        """M-11"""

        def look(value):
            assert type(value) is dict
            assert list(value) == ["b", "a"]
            assert json.loads(json.dumps(value)) == pickle.loads(pickle.dumps(value)) == value
            value["c"] = value.pop("b")
            return value

        assert values(sdf.apply(look).test({"b": 1, "a": [2]})) == [{"a": [2], "c": 1}]


class TestColumns:
    def test_kinds_of_index(self, sdf):
        """D-30"""
        assert isinstance(sdf["a"], StreamingSeries)
        with pytest.raises(ValueError, match="must not be empty"):
            sdf[""]
        for index in (5, ("a", "b"), None):
            with pytest.raises(TypeError):
                sdf[index]

    def test_projection(self, sdf):
        """D-31"""
        assert values(sdf[["b", "a"]].test({"a": 1, "b": 2, "c": 3})) == [{"b": 2, "a": 1}]
        assert list(values(sdf[["b", "a"]].test({"a": 1, "b": 2, "c": 3}))[0]) == ["b", "a"]

    def test_projections_edges(self, app):
        """D-31"""
        nothing = app.dataframe(app.topic("t1"))[[]]
        assert values(nothing.test({"a": 1})) == [{}]
        strange = app.dataframe(app.topic("t2"))[[1, ("x",)]]
        assert values(strange.test({1: 2, ("x",): 3})) == [{1: 2, ("x",): 3}]
        missing = app.dataframe(app.topic("t3"))[["a", "z"]]
        with pytest.raises(KeyError):
            missing.test({"a": 1})

    def test_filter_by_an_expression(self, sdf):
        """D-32"""
        sdf = sdf[sdf["a"]]
        assert values(sdf.test({"a": "yes"})) == [{"a": "yes"}]
        assert sdf.test({"a": 0}) == []

    def test_filter_by_a_series_of_another_dataframe(self, app, sdf):
        """D-32"""
        other = app.dataframe(app.topic("other"))
        assert values(sdf[other["a"] > 1].test({"a": 2})) == [{"a": 2}]

    def test_filter_by_apply(self, sdf):
        """D-33: the dataframe used makes no output of its own."""
        sdf = sdf[sdf.apply(lambda value: value["a"]).apply(lambda a: a > 1)]
        assert values(sdf.test({"a": 2})) == [{"a": 2}]
        assert sdf.test({"a": 1}) == []

    def test_assignment(self, sdf):
        """D-34"""
        sdf["sum"] = sdf["a"] + sdf["b"]
        sdf["twice"] = sdf.apply(lambda value: value["sum"] * 2)
        sdf["a"] = sdf["a"].apply(str)
        sdf["constant"] = [1]
        sdf[1] = None
        assert values(sdf.test({"a": 1, "b": 2})) == [{"a": "1", "b": 2, "sum": 3, "twice": 6, "constant": [1], 1: None}]

    def test_a_constant_is_shared(self, sdf):
        """D-34"""
        shared = []
        sdf["c"] = shared
        sdf.update(lambda value: value["c"].append(1))
        sdf.test({})
        assert values(sdf.test({})) == [{"c": [1, 1]}]
        assert shared == [1, 1]

    def test_assignment_with_state(self, sdf):
        """D-35: a stateful apply is fine."""

        def count(value, state):
            state.set("n", state.get("n", 0) + 1)
            return state.get("n")

        sdf["n"] = sdf.apply(count, stateful=True)
        assert values(sdf.test({}) + sdf.test({})) == [{"n": 1}, {"n": 2}]

    @pytest.mark.parametrize("value", [None, 5, "text", (1, 2)])
    def test_assignment_to_what_has_no_items(self, sdf, value):
        """D-34"""
        sdf["a"] = 1
        with pytest.raises(TypeError):
            sdf.test(value)

    def test_assignment_into_a_column(self, sdf):
        """D-34"""
        with pytest.raises(TypeError):
            sdf["a"]["b"] = 1

    def test_contains(self, app):
        """D-36"""
        for n, (keys, value, expected) in enumerate(
            [
                ("a", {"a": 1}, True), (["a", "b"], {"a": 1}, False), (["a", "b"], {"a": 1, "b": 2}, True),
                ("a", ["a"], True), ("b", "abc", True), ([], {}, True), ({"a"}, {"a": 0}, True), ((1,), {1: 2}, True),
            ]
        ):
            sdf = app.dataframe(app.topic(f"t{n}"))
            assert sdf.contains(keys).test(value, b"", 0)[0] is expected

    @pytest.mark.parametrize("value", [None, 5])
    def test_contains_of_what_has_no_members(self, sdf, value):
        """D-36"""
        with pytest.raises(TypeError):
            sdf.contains("a").test(value, b"", 0)

    def test_drop(self, app):
        """D-37"""
        sdf = app.dataframe(app.topic("t1")).drop("a").drop(["b", "c"])
        assert values(sdf.test({"a": 1, "b": 2, "c": 3, "d": 4})) == [{"d": 4}]
        with pytest.raises(KeyError):
            sdf.test({"a": 1, "b": 2})
        sdf = app.dataframe(app.topic("t2")).drop(["a", "b"], errors="ignore")
        assert values(sdf.test({"b": 1, "c": 2})) == [{"c": 2}]
        with pytest.raises(TypeError):
            sdf.test(5)

    @pytest.mark.parametrize("columns", [5, ("a",), ["a", 1], None])
    def test_drop_refuses(self, sdf, columns):
        """D-37"""
        with pytest.raises(TypeError):
            sdf.drop(columns)

    def test_fill(self, app):
        """D-38"""
        sdf = app.dataframe(app.topic("t")).fill("x", "a", a=5, b=6)
        assert values(sdf.test({"b": None, "c": 0})) == [{"b": 6, "c": 0, "x": None, "a": 5}]
        assert list(values(sdf.test({}))[0]) == ["x", "a", "b"]
        assert values(sdf.test({"a": 0, "b": False, "x": ""})) == [{"a": 0, "b": False, "x": ""}]
        assert values(sdf.test([1])) == [[1]]

    def test_fill_nothing(self, sdf):
        """D-38"""
        with pytest.raises(ValueError):
            sdf.fill()


class TestValidity:
    """D-35"""

    def test_a_series_of_another_dataframe(self, app, sdf):
        other = app.dataframe(app.topic("other"))
        with pytest.raises(InvalidOperation):
            sdf["x"] = other["a"]

    def test_a_series_outlives_steps_in_place(self, sdf):
        a = sdf["a"]
        sdf["a"] = 5
        sdf["b"] = a + 1
        assert values(sdf.test({})) == [{"a": 5, "b": 6}]

    def test_a_series_does_not_outlive_a_new_dataframe(self, sdf):
        a = sdf["a"]
        sdf = sdf[a > 0]
        with pytest.raises(InvalidOperation):
            sdf["b"] = a

    def test_a_dataframe_of_another_origin(self, app, sdf):
        other = app.dataframe(app.topic("other")).apply(lambda value: value)
        with pytest.raises(InvalidOperation):
            sdf["x"] = other
        with pytest.raises(InvalidOperation):
            sdf[other]

    def test_a_dataframe_of_another_application(self, sdf):
        app = MemoryApplication()
        with pytest.raises(InvalidOperation, match="another application"):
            sdf["x"] = app.dataframe(app.topic("in")).apply(lambda value: value)

    def test_a_dataframe_from_before_a_step_in_place(self, sdf):
        other = sdf.apply(lambda value: value)
        sdf["a"] = 1
        with pytest.raises(InvalidOperation):
            sdf["b"] = other

    def test_itself(self, sdf):
        with pytest.raises(InvalidOperation):
            sdf["x"] = sdf
        with pytest.raises(InvalidOperation):
            sdf[sdf]

    def test_used_twice(self, sdf):
        other = sdf.apply(lambda value: 1)
        sdf["x"] = other
        with pytest.raises(InvalidOperation):
            sdf["y"] = other

    def test_branched(self, sdf):
        other = sdf.apply(lambda value: 1)
        other.apply(lambda value: 2)
        other.apply(lambda value: 3)
        with pytest.raises(InvalidOperation):
            sdf["x"] = other

    @pytest.mark.parametrize(
        "step",
        [
            lambda sdf: sdf.filter(lambda value: True),
            lambda sdf: sdf.update(lambda value: None),
            lambda sdf: sdf.apply(lambda value: [value], expand=True),
            lambda sdf: sdf.set_timestamp(lambda *record: 0),
        ],
    )
    def test_other_steps_than_apply(self, sdf, step):
        with pytest.raises(ValueError, match="not allowed"):
            sdf["x"] = step(sdf.apply(lambda value: 1))


class TestGroupBy:
    def grouped(self, app, partitions=1, *args, **kwargs):
        return app.dataframe(app.topic("in", config=TopicConfig(partitions, 1))).group_by(*args, **kwargs)

    def test_one_partition(self, app):
        """D-42"""
        sdf = self.grouped(app, 1, "user")
        assert sdf.stream_id == "in--groupby--user"
        assert sdf.test({"user": (1, 2)}, b"old", 5, [("h", b"x")]) == [({"user": (1, 2)}, (1, 2), 5, [("h", b"x")])]

    def test_several_partitions(self, app):
        """D-41"""
        sdf = self.grouped(app, 2, "user")
        assert sdf.stream_id == "repartition__g--in--user"
        assert [topic.name for topic in sdf.topics] == ["repartition__g--in--user"]

    def test_a_function(self, app):
        """D-40"""
        sdf = self.grouped(app, 1, lambda value: value["a"] + 1, name="next")
        assert sdf.stream_id == "in--groupby--next"
        assert [key for _, key, _, _ in sdf.test({"a": 1})] == [2]

    def test_a_missing_column(self, app):
        """D-40"""
        with pytest.raises(KeyError) as caught:
            self.grouped(app, 1, "user").test({})
        assert caught.value.args == ("user",)
        assert "group_by" in caught.value.__notes__[0]

    def test_a_none_key(self, app):
        """D-40"""
        assert self.grouped(app, 1, "user").test({"user": None})[0][1] is None

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [((lambda v: v,), ValueError), (("",), ValueError), ((None,), ValueError), ((5,), ValueError), ((5, "n"), TypeError)],
    )
    def test_refused_at_declaration(self, app, arguments, error):
        """D-40"""
        with pytest.raises(error):
            self.grouped(app, 1, *arguments)

    def test_nesting(self, app):
        """D-43"""
        with pytest.raises(GroupByNestingLimit):
            self.grouped(app, 1, "a").group_by("b")

    @pytest.mark.parametrize("partitions", [1, 2])
    def test_twice_the_same(self, app, partitions):
        """D-43"""
        sdf = app.dataframe(app.topic("in", config=TopicConfig(partitions, 1)))
        sdf.group_by("a")
        sdf.group_by("b")
        with pytest.raises(GroupByDuplicate):
            sdf.group_by(lambda value: value, name="a")

    def test_unknown_formats(self, app):
        with pytest.raises(ValueError, match="Unknown serializer"):
            self.grouped(app, 1, "a", value_serializer="yaml")


class TestTimeAndHeaders:
    def test_set_timestamp(self, sdf):
        """D-51"""
        sdf = sdf.set_timestamp(lambda value, key, timestamp, headers: timestamp + value)
        assert sdf.test(5, b"k", 10, None) == [(5, b"k", 15, None)]

    def test_set_headers(self, sdf):
        """D-52"""
        seen = []

        def replace(value, key, timestamp, headers):
            seen.append(headers)
            headers.append(("new", b"1"))
            return headers

        sdf = sdf.set_headers(replace)
        original = [("h", b"x")]
        assert sdf.test(5, b"k", 0, original) == [(5, b"k", 0, [("h", b"x"), ("new", b"1")])]
        assert original == [("h", b"x")], "the callback gets a copy"
        sdf.test(5, b"k", 0, None)
        assert seen[1][:-1] == []


class TestPrinting:
    def printed(self, sdf, *record):
        with redirect_stdout(io.StringIO()) as out:
            sdf.test(*record)
        return out.getvalue()

    def test_pretty(self, sdf):
        """D-54"""
        sdf.print()
        long = {"a" * 40: "b" * 40, "c" * 40: 1}
        assert self.printed(sdf, {"a": 1}) == "{'value': {'a': 1}}\n"
        assert self.printed(sdf, long).count("\n") > 1

    def test_plain_with_metadata(self, sdf):
        """D-54"""
        sdf.print(pretty=False, metadata=True)
        assert self.printed(sdf, [1], b"k", 5, [("h", b"x")]) == (
            "{'value': [1], 'key': b'k', 'timestamp': 5, 'headers': [('h', b'x')]}\n"
        )


class TestContext:
    def test_made_up(self, sdf):
        """D-60, M-30"""
        sdf = sdf.apply(lambda value: message_context())
        context = values(sdf.test(1))[0]
        assert (context.topic, context.partition, context.offset) == ("in", 0, 0)

    def test_given(self, sdf):
        """D-60"""
        given = MessageContext("in", 3, 77, 9, 2)
        assert values(sdf.apply(lambda value: message_context()).test(1, ctx=given)) == [given]

    def test_outside(self):
        """M-30"""
        with pytest.raises(MessageContextNotSetError):
            message_context()


class TestTest:
    def test_all_branches_of_the_topic(self, sdf):
        """D-60"""
        sdf.apply(lambda value: "a")
        sdf.apply(lambda value: "b")
        assert values(sdf.test(0)) == ["a", "b"]

    def test_steps_added_later(self, sdf):
        assert values(sdf.test(1)) == [1]
        assert values(sdf.apply(lambda value: value + 1).test(1)) == [2]

    def test_compose(self, sdf):
        """D-61"""
        seen = []
        sdf.apply(lambda value: value + 1)
        executors = sdf.compose(sink=lambda *leaf: seen.append(leaf))
        assert list(executors) == ["in"]
        assert executors["in"](1, b"k", 5, None) is None
        assert seen == [(2, b"k", 5, None)]

    def test_errors_name_the_place(self, sdf):
        sdf.apply(lambda value: value["missing"])
        with pytest.raises(KeyError) as caught:
            sdf.test({}, ctx=MessageContext("in", 3, 77, 0))
        (note,) = caught.value.__notes__
        assert note.startswith("in[3] offset 77, operator apply <lambda>: ")
        assert caught.traceback[-1].name == "<lambda>", "the user's own frame"


class TestRefused:
    def test_truth(self, sdf):
        """D-07"""
        with pytest.raises(InvalidOperation, match=r"sdf\[condition\]"):
            bool(sdf)

    @pytest.mark.parametrize(
        "step",
        [
            lambda sdf: sdf.sink(object()),
            lambda sdf: sdf.concat(sdf),
            lambda sdf: sdf.join_asof(sdf),
            lambda sdf: sdf.join_interval(sdf),
            lambda sdf: sdf.join_lookup(object(), {}),
            lambda sdf: sdf.hopping_window(10, 5),
            lambda sdf: sdf.sliding_window(10),
            lambda sdf: sdf.session_window(10),
            lambda sdf: sdf.tumbling_count_window(10),
            lambda sdf: sdf.hopping_count_window(10, 5),
            lambda sdf: sdf.sliding_count_window(10),
        ],
    )
    def test_not_supported_yet(self, sdf, step):
        with pytest.raises(NotSupportedYet, match="is not supported yet; "):
            step(sdf)

    @pytest.mark.parametrize("topic", ["out", None, 5])
    def test_to_topic(self, sdf, topic):
        with pytest.raises(TypeError, match=r"app\.topic"):
            sdf.to_topic(topic)

    def test_a_second_dataframe(self, app, sdf):
        """A-31"""
        with pytest.raises(StreamingDataFrameDuplicate):
            app.dataframe(app.topic("in"))

    def test_no_topic(self, app):
        """A-31"""
        with pytest.raises(ValueError, match="needs a topic"):
            app.dataframe()
        with pytest.raises(TypeError, match="needs a Topic"):
            app.dataframe("in")

    def test_a_column_that_is_not_there(self, sdf):
        sdf["b"] = sdf["a"] + 1
        with pytest.raises(ColumnDoesNotExist):
            sdf.test({})


def test_properties(app, sdf):
    """D-10"""
    assert sdf.stream_id == "in"
    assert [topic.name for topic in sdf.topics] == ["in"]
    assert repr(sdf).startswith("<StreamingDataFrame 'in'")
