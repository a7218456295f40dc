"""What comes out of a window, and what is kept (W-26, W-29, W-32, W-56)."""

import pytest

from millstream.dataframe.windows import Aggregator, Earliest, First, Last, Latest, Max, Min
from millstream.state.exceptions import StateSerializationError
from millstream.testing import MemoryApplication


class Pair(Aggregator):
    """Its state is a tuple, which the store gives back as a list."""

    states = ()

    def initialize(self):
        return 0, 0

    def agg(self, old, new, timestamp):
        return old[0] + new, old[1] + 1

    def result(self, value):
        type(self).states = (*self.states, type(value).__name__)
        return value


@pytest.fixture
def sdf(app):
    return app.dataframe(app.topic("in"))


@pytest.fixture(autouse=True)
def fresh():
    Pair.states = ()


def test_w_32_current_gives_the_object_as_computed(sdf):
    sdf = sdf.tumbling_window(10).agg(pair=Pair()).current()
    assert [sdf.test(5)[0][0]["pair"] for _ in range(2)] == [(5, 1), (10, 2)]
    assert Pair.states == ("tuple", "tuple")


def test_w_32_final_gives_what_came_back_from_the_store(sdf):
    sdf = sdf.tumbling_window(10).agg(pair=Pair()).final()
    assert sdf.test(5) == []
    assert sdf.test(5, timestamp=10)[0][0]["pair"] == [5, 1]
    assert Pair.states == ("list",), "result() runs for what comes out"


def test_w_29_the_initial_state_need_not_be_storable(sdf):
    """Only what a record leaves behind is stored."""

    class Distinct(Aggregator):
        def initialize(self):
            return frozenset()

        def agg(self, old, new, timestamp):
            return sorted({*old, new})

        def result(self, value):
            return value

    sdf = sdf.tumbling_window(10).agg(all=Distinct()).current()
    assert [sdf.test(value)[0][0]["all"] for value in (2, 1, 2)] == [[2], [1, 2], [1, 2]]


@pytest.mark.parametrize("kind", [First, Last, Min, Max, Earliest, Latest])
def test_w_32_of_the_built_in_ones_too(sdf, kind):
    sdf = sdf.apply(lambda value: (value, "x")).tumbling_window(10).agg(chosen=kind()).current()
    assert sdf.test(5)[0][0]["chosen"] == (5, "x")


@pytest.mark.parametrize("kind", [First, Last, Earliest, Latest])
def test_w_32_and_once_it_was_stored_a_list(sdf, kind):
    sdf = sdf.apply(lambda value: (value, "x")).tumbling_window(10).agg(chosen=kind()).current()
    sdf.test(5, timestamp=3)
    later = sdf.test(6, timestamp=5)[0][0]["chosen"]
    assert later == ([5, "x"] if kind in (First, Earliest) else (6, "x"))


def test_w_56_after_update_is_shown_the_object_as_computed(app):
    shown = []

    def after(aggregated, *rest):
        shown.append(aggregated)
        return False

    sdf = app.dataframe(app.topic("in"))
    sdf = sdf.tumbling_window(10, after_update=after).agg(pair=Pair()).current()
    sdf.test(5)
    sdf.test(5)
    assert shown == [{"pair/Pair": (5, 1)}, {"pair/Pair": (10, 2)}]


def test_w_56_before_update_is_shown_what_was_stored(app):
    shown = []

    def before(aggregated, *rest):
        shown.append(aggregated)
        return False

    sdf = app.dataframe(app.topic("in"))
    sdf = sdf.tumbling_window(10, before_update=before).agg(pair=Pair()).current()
    sdf.test(5)
    sdf.test(5)
    assert shown == [{"pair/Pair": (0, 0)}, {"pair/Pair": [5, 1]}]


def test_w_32_a_sum_beyond_64_bits_says_so(sdf):
    sdf = sdf.tumbling_window(10).sum().current()
    sdf.test(2**63)
    with pytest.raises(StateSerializationError, match=r"an integer beyond 64 bits"):
        sdf.test(2**63)


def test_w_32_so_does_one_inside_a_collected_value():
    app = MemoryApplication()
    sdf = app.dataframe(app.topic("in")).tumbling_window(10).collect().final()
    with pytest.raises(StateSerializationError, match=r"an integer beyond 64 bits"):
        sdf.test({"n": [2**64]})
    with pytest.raises(StateSerializationError, match=r"of type set"):
        sdf.test({"n": {1}})
