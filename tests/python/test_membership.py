"""`isin`, `notin` (S-07)."""

import math

import pytest

from millstream.core.stream.exceptions import InvalidOperation
from millstream.testing import MemoryApplication

NAN = float("nan")
VALUES = [
    None, True, False, 0, 1, 2, -1, 2**63, 2**64 - 1, 2**70, 0.0, -0.0, 1.0, 1.5, 2.0**63, math.inf, "", "a", "1",
    "é", b"a", b"", [1], {"a": 1}, (1,),
]
CONTAINERS = [
    [], [1, "a", None], [True, 1.5, b"a"], [2**63, 0.0], (1, 2), ("a",), {1, "a"}, {None, 1.0, b"a"}, frozenset(),
    frozenset({"a", 2**64 - 1}), set(), [[1], 2], [{"a": 1}], [(1,)], {(1,), "a"}, [2**70, 1], [math.inf, -1.0],
    list(range(1000)) + ["a"], {str(n) for n in range(1000)} | {"a", None}, set(range(1000)), [float(n) for n in range(99)],
    {"a": 1}, {1: 2}, "a1", b"a", range(3), {1.0, 2.5, 2**70},
]


@pytest.fixture
def sdf():
    app = MemoryApplication()
    return app.dataframe(app.topic("in"))


def outcome(function):
    try:
        return function()
    except Exception as error:
        return type(error), str(error)


def python_says(value, container):
    return outcome(lambda: value in container)


def series_says(series, value):
    return outcome(lambda: series.test({"x": value}, None, 0)[0])


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: repr(container)[:30])
def test_s_07_isin_is_pythons_in(sdf, container):
    series = sdf["x"].isin(container)
    for value in VALUES:
        assert series_says(series, value) == python_says(value, container), value


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: repr(container)[:30])
def test_s_07_notin_is_its_opposite(sdf, container):
    series = sdf["x"].notin(container)
    for value in VALUES:
        said = python_says(value, container)
        assert series_says(series, value) == (not said if isinstance(said, bool) else said), value


def test_s_07_from_json(sdf):
    """Values that are still JSON text."""
    from millstream.testing import TopologyTestDriver

    inside = sdf[sdf["x"].isin({1, "a", None, 2.5})]
    outside = sdf[sdf["x"].notin({1, "a", None, 2.5})]
    inside["in"] = True
    outside["in"] = False
    app = MemoryApplication()
    topic = app.topic("in")
    stream = app.dataframe(topic)
    stream["in"] = stream["x"].isin({1, "a", None, 2.5})
    stream.apply(lambda value: value["in"])
    with TopologyTestDriver(app) as driver:
        for text in ["1", "1.0", "true", '"a"', '"\\u0061"', "null", "2.5", "0", '"b"', "2"]:
            driver.pipe_input(topic, b'{"x":' + text.encode() + b"}")
        assert [value for value, *_ in driver.read_results()] == [True] * 7 + [False] * 3


def test_s_07_an_unhashable_value_from_json(sdf):
    """Python asks a set by hash."""
    for container in ({1, 2}, frozenset({"a"})):
        with pytest.raises(TypeError, match="unhashable type: 'dict'"):
            sdf["x"].isin(container).test({"x": {}}, None, 0)


def test_s_07_nan(sdf):
    """NaN equals nothing."""
    assert sdf["x"].isin([1.0, NAN]).test({"x": float("nan")}, None, 0)[0] is False
    assert sdf["x"].isin([1.0, NAN]).test({"x": 1}, None, 0)[0] is True
    assert sdf["x"].isin([1.0]).test({"x": NAN}, None, 0)[0] is False


@pytest.mark.parametrize("container", [[1, "a"], {1, "a"}, (1, 2.5), frozenset({None}), [True], {b"x"}])
def test_s_07_literals_are_native(sdf, container):
    assert not sdf["x"].isin(container)._expr.needs_host
    assert not sdf["x"].notin(container)._expr.needs_host


def test_s_07_a_list_or_set_counts_as_it_was_when_the_expression_was_made(sdf):
    """Differs from Quix Streams, and is so in docs/parity.md."""
    for container, add in (([1], list.append), ({1}, set.add)):
        series = sdf["x"].isin(container)
        add(container, 2)
        assert series.test({"x": 2}, None, 0)[0] is False
        assert series.test({"x": 1}, None, 0)[0] is True


def test_s_07_other_containers_stay_the_users_own(sdf):
    class Even:
        def __contains__(self, item):
            return item % 2 == 0

    class Mine(list):
        pass

    mine, lookup = Mine([1]), {1: "one"}
    even = sdf["x"].isin(Even())
    in_mine, in_lookup = sdf["x"].isin(mine), sdf["x"].isin(lookup)
    mine.append(2)
    lookup[2] = "two"
    for series in (even, in_mine, in_lookup):
        assert series.test({"x": 2}, None, 0)[0] is True


def test_s_07_series(sdf):
    assert sdf["x"].notin(sdf["xs"]).test({"x": 1, "xs": [2]}, None, 0)[0] is True
    assert sdf["x"].notin(sdf["xs"]).test({"x": 1, "xs": [1]}, None, 0)[0] is False
    other = MemoryApplication()
    with pytest.raises(InvalidOperation):
        sdf["x"].notin(other.dataframe(other.topic("in"))["xs"])
