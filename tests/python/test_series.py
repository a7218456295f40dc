"""Column expressions: section 5 of the parity rows. What Python does with the same operands is the reference."""

import itertools
import operator

import pytest

from millstream.core.stream.exceptions import InvalidOperation
from millstream.dataframe import ColumnDoesNotExist, InvalidColumnReference
from millstream.models import MessageContext

OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod,
    "//": operator.floordiv, "**": operator.pow,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}
VALUES = [
    0, 1, -1, 7, -7, 2**62, -(2**63), 2**64 - 1, 0.0, -0.0, 0.5, -2.5, 1e300, True, False, None, "", "ab", "b",
    [1], ["b", 2], {"a": 1},
]


def outcome(function, *arguments):
    """The result with its type, or the kind of error."""
    try:
        result = function(*arguments)
    except Exception as error:
        return type(error)
    return type(result), repr(result)


def is_huge(value):
    return isinstance(value, int) and value > 100


def evaluate(series, value):
    return series.test(value, b"key", 0)[0]


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_do_what_python_does(sdf, name):
    """S-03, S-04: for every pair of values, as two columns, and with a constant on either side."""
    function = OPERATORS[name]
    both = function(sdf["x"], sdf["y"])
    for x, y in itertools.product(VALUES, VALUES):
        if name == "**" and isinstance(y, int) and abs(y) > 100:
            continue  # Python would compute numbers of astronomic length
        if name == "*" and any(isinstance(v, str | list) for v in (x, y)) and any(is_huge(v) for v in (x, y)):
            continue  # Python would run out of memory
        expected = outcome(function, x, y)
        found = {
            "columns": outcome(evaluate, both, {"x": x, "y": y}),
            "constant right": outcome(evaluate, function(sdf["x"], y), {"x": x}),
            "constant left": outcome(lambda x, y: evaluate(function(x, sdf["y"]), {"y": y}), x, y),
        }
        if name == "%" and isinstance(x, str):
            del found["constant left"]  # Python takes a text on the left for a format and never asks the series
        assert found == dict.fromkeys(found, expected), f"{x!r} {name} {y!r}"


def test_division_by_zero(sdf):
    """S-03"""
    with pytest.raises(ZeroDivisionError):
        evaluate(sdf["x"] / sdf["y"], {"x": 1, "y": 0})


@pytest.mark.parametrize("value", [0, 5, -5, 2**64 - 1, -(2**63), 0.5, -0.0, True, None, "a"])
def test_unary(sdf, value):
    """S-03, S-05, S-11: and those that Quix Streams lacks."""
    cases = {
        "-": (-sdf["x"], operator.neg),
        "abs()": (abs(sdf["x"]), abs),
        ".abs()": (sdf["x"].abs(), abs),
        "~": (~sdf["x"], operator.not_),
        "round": (round(sdf["x"]), round),
        "round 1": (round(sdf["x"], 1), lambda v: round(v, 1)),
    }
    for name, (series, function) in cases.items():
        assert outcome(evaluate, series, {"x": value}) == outcome(function, value), name


class TestColumns:
    def test_missing(self, sdf):
        """S-01"""
        with pytest.raises(ColumnDoesNotExist, match="'x'"):
            evaluate(sdf["x"], {"y": 1})

    @pytest.mark.parametrize("value", [None, 5, "text", [1], 0.5])
    def test_values_without_columns(self, sdf, value):
        """S-01"""
        with pytest.raises(InvalidColumnReference, match="'x'"):
            evaluate(sdf["x"], value)

    def test_nested(self, sdf):
        """S-02"""
        value = {"a": {"b": [10, 20, 30], "k": "b"}, "i": 1}
        assert evaluate(sdf["a"]["b"][1], value) == 20
        assert evaluate(sdf["a"]["b"][-1], value) == 30
        assert evaluate(sdf["a"]["b"][1:], value) == [20, 30]
        assert evaluate(sdf["a"]["b"][sdf["i"]], value) == 20
        assert evaluate(sdf["a"][sdf["a"]["k"]], value) == [10, 20, 30]

    @pytest.mark.parametrize(
        ("value", "error"),
        [({"a": {}}, KeyError), ({"a": None}, TypeError), ({"a": 5}, TypeError), ({"a": [1]}, TypeError)],
    )
    def test_nested_errors_are_the_plain_ones(self, sdf, value, error):
        """S-02"""
        with pytest.raises(error):
            evaluate(sdf["a"]["b"], value)

    def test_an_index_that_is_out_of_range(self, sdf):
        """S-02"""
        with pytest.raises(IndexError):
            evaluate(sdf["a"][5], {"a": [1]})


class TestLogic:
    @pytest.mark.parametrize("x", [0, 1, "", "x", None, [], [0], True, False])
    @pytest.mark.parametrize("y", [0, "y", None, True])
    def test_the_deciding_operand_is_the_result(self, sdf, x, y):
        """S-05"""
        for series, expected in (
            (sdf["x"] & sdf["y"], x and y), (sdf["x"] | sdf["y"], x or y), (sdf["x"] & y, x and y),
            (sdf["x"] | y, x or y),
        ):
            assert outcome(evaluate, series, {"x": x, "y": y}) == (type(expected), repr(expected))

    def test_the_right_side_only_if_needed(self, sdf):
        """S-05"""
        assert evaluate(sdf["x"] & sdf["missing"], {"x": 0}) == 0
        assert evaluate(sdf["x"] | sdf["missing"], {"x": 1}) == 1
        with pytest.raises(ColumnDoesNotExist):
            evaluate(sdf["x"] & sdf["missing"], {"x": 1})

    def test_a_constant_on_the_left(self, sdf):
        """S-05: added to Quix Streams' forms."""
        assert evaluate(True & sdf["x"], {"x": "deciding"}) == "deciding"
        assert evaluate(0 | sdf["x"], {"x": "deciding"}) == "deciding"
        assert evaluate(0 & sdf["missing"], {}) == 0


class TestPredicates:
    @pytest.mark.parametrize(
        ("value", "container"),
        [(1, [1, 2]), (3, [1, 2]), ("a", "abc"), ("a", {"a": 1}), (None, [None]), (1.0, [1]), ("x", ("x", "y")), (2, {1, 2})],
    )
    def test_isin(self, sdf, value, container):
        """S-07"""
        assert evaluate(sdf["x"].isin(container), {"x": value}) is (value in container)

    def test_isin_of_a_column(self, sdf):
        """S-07"""
        assert evaluate(sdf["x"].isin(sdf["y"]), {"x": 1, "y": [1]}) is True
        with pytest.raises(TypeError):
            evaluate(sdf["x"].isin(sdf["y"]), {"x": 1, "y": 5})

    def test_contains(self, sdf):
        """S-08"""
        assert evaluate(sdf["x"].contains("b"), {"x": "abc"}) is True
        assert evaluate(sdf["x"].contains(5), {"x": [1, 2]}) is False
        assert evaluate(sdf["x"].contains(sdf["y"]), {"x": {"k": 0}, "y": "k"}) is True
        with pytest.raises(TypeError):
            evaluate(sdf["x"].contains("b"), {"x": None})

    def test_identity(self, sdf):
        """S-09"""
        assert evaluate(sdf["x"].is_(None), {"x": None}) is True
        assert evaluate(sdf["x"].is_(True), {"x": True}) is True
        assert evaluate(sdf["x"].is_(True), {"x": 1}) is False
        assert evaluate(sdf["x"].isnot(None), {"x": 0}) is True
        assert evaluate(sdf["x"].isnot(None), {"x": None}) is False

    def test_null(self, sdf):
        """S-10"""
        for value in (None, 0, "", []):
            assert evaluate(sdf["x"].isnull(), {"x": value}) is (value is None)
            assert evaluate(sdf["x"].notnull(), {"x": value}) is (value is not None)
        with pytest.raises(ColumnDoesNotExist):
            evaluate(sdf["x"].isnull(), {})


class TestFunctions:
    def test_apply(self, sdf):
        """S-06"""
        assert evaluate(sdf["x"].apply(lambda v: v * 2) + 1, {"x": 5}) == 11
        assert evaluate(sdf["x"].apply(str.upper).apply(len), {"x": "abc"}) == 3

    def test_an_error_stays_itself(self, sdf):
        class Mine(Exception):
            pass

        def fail(value):
            raise Mine(value)

        with pytest.raises(Mine, match="5"):
            evaluate(sdf["x"].apply(fail), {"x": 5})

    def test_each_use_evaluates_anew(self, sdf):
        """S-16"""
        calls = []
        series = sdf["x"].apply(lambda v: calls.append(v) or len(calls))
        assert evaluate(series + series, {"x": 0}) == 3

    def test_no_function(self, sdf):
        with pytest.raises(TypeError, match="needs a function"):
            sdf["x"].apply(5)

    def test_objects_that_only_python_knows(self, sdf):
        assert evaluate(sdf["x"] + 2j, {"x": 1}) == 1 + 2j
        assert evaluate(sdf["x"] == {1, 2}, {"x": {1, 2}}) is True


class TestUse:
    def test_test_gives_the_record_back(self, sdf):
        """S-12"""
        context = MessageContext("t", 0, 5, 0)
        assert sdf["x"].test({"x": 1}, "k", 7, [("h", b"1")], context) == (1, "k", 7, [("h", b"1")])

    def test_compose_returning(self, sdf):
        """S-13"""
        assert (sdf["x"] + 1).compose_returning()({"x": 1}, "k", 7, None) == (2, "k", 7, None)

    def test_two_dataframes(self, app, sdf):
        """S-14"""
        clone = sdf.apply(lambda v: v)
        for combine in (operator.add, operator.and_, operator.eq, lambda a, b: a.isin(b), lambda a, b: a[b]):
            with pytest.raises(InvalidOperation, match="different dataframes"):
                combine(sdf["x"], clone["x"])

    def test_truth(self, sdf):
        """S-15, D-07"""
        for use in (lambda s: bool(s), lambda s: not s, lambda s: s and 1, lambda s: 1 < s < 5, lambda s: 1 in s):
            with pytest.raises(InvalidOperation):
                use(sdf["x"])

    def test_hash_iteration_and_attributes(self, sdf):
        """S-04, S-15"""
        with pytest.raises(TypeError):
            hash(sdf["x"])
        with pytest.raises(TypeError):
            iter(sdf["x"])
        with pytest.raises(AttributeError):
            sdf["x"].no_such_thing  # noqa: B018 - it must not be there
