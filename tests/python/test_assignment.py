"""`sdf[...] = sdf.apply(...)` and `sdf[sdf.apply(...)]` (D-05, D-33, D-34)."""

import pytest

from millstream.testing import MemoryApplication


@pytest.fixture
def sdf():
    app = MemoryApplication()
    return app.dataframe(app.topic("in"))


def marks(value):
    value["seen"] = True
    return value["a"]


def values(sdf, value):
    return [found for found, *_ in sdf.test(value)]


def test_d_34_the_right_side_sees_the_value_itself(sdf):
    """D-05: no copy on a line, so what the function changes is there afterwards."""
    sdf["b"] = sdf.apply(marks)
    assert values(sdf, {"a": 1}) == [{"a": 1, "seen": True, "b": 1}]


def test_d_34_of_a_chain_the_first_function_does(sdf):
    def also(value):
        assert value == 1
        return value + 1

    sdf["b"] = sdf.apply(marks).apply(also)
    assert values(sdf, {"a": 1}) == [{"a": 1, "seen": True, "b": 2}]


def test_d_33_a_condition_does_too(sdf):
    sdf = sdf[sdf.apply(marks)]
    assert values(sdf, {"a": 1}) == [{"a": 1, "seen": True}]
    assert values(sdf, {"a": 0}) == []


def test_d_34_the_result_may_be_the_value_or_a_part_of_it(sdf):
    sdf["same"] = sdf.apply(lambda value: value["inner"])
    sdf = sdf.apply(lambda value: (value, value["same"] is value["inner"]))
    assert values(sdf, {"inner": [1]}) == [({"inner": [1], "same": [1]}, True)]


def test_d_33_an_error_in_the_chain_leaves_the_value_to_the_callback():
    rows = []
    app = MemoryApplication(on_processing_error=lambda exc, row, logger: rows.append(exc) or True)
    sdf = app.dataframe(app.topic("in"))

    def fails(value):
        raise ValueError("no")

    sdf["b"] = sdf.apply(lambda value: value["a"]).apply(fails)
    from millstream.testing import TopologyTestDriver

    with TopologyTestDriver(app) as driver:
        driver.pipe_input("in", {"a": 1})
        assert driver.read_results() == []
    assert [str(error) for error in rows] == ["no"]


@pytest.mark.parametrize("column", [1, ("a", "b"), None, 2.5])
def test_d_34_the_column_may_be_of_any_type(sdf, column):
    """D-34: also when a dataframe is assigned."""
    sdf[column] = sdf.apply(marks).apply(lambda a: a + 1)
    assert values(sdf, {"a": 1}) == [{"a": 1, "seen": True, column: 2}]


def test_d_34_a_column_of_any_type_with_state(sdf):
    def count(value, state):
        state.set("n", state.get("n", 0) + 1)
        return state.get("n")

    sdf[1] = sdf.apply(count, stateful=True)
    assert values(sdf, {}) == [{1: 1}]
    assert values(sdf, {}) == [{1: 2}]


def test_d_34_what_takes_no_items_raises_type_error(sdf):
    sdf[1] = sdf.apply(lambda value: 5)
    with pytest.raises(TypeError, match="item assignment"):
        sdf.test("text")


def test_d_35_such_a_dataframe_is_used_up(sdf):
    from millstream.core.stream.exceptions import InvalidOperation

    other = sdf.apply(marks)
    sdf[1] = other
    with pytest.raises(InvalidOperation):
        sdf[2] = other
