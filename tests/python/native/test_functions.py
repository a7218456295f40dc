"""Functions of the user inside the engine: contexts, exceptions, state, values (A-61, D-04, D-05, D-20, M-30, ST-*)."""

import contextvars
import copy
import datetime
import gc
import sys
import threading
import traceback

import pytest

from millstream import State, message_context
from millstream.context import MessageContextNotSetError, set_message_context
from millstream.models import MessageContext
from millstream.testing import MemoryApplication, TopologyTestDriver

VARIABLE = contextvars.ContextVar("test_variable", default="unset")


@pytest.fixture
def app():
    return MemoryApplication(consumer_group="g")


@pytest.fixture
def topic(app):
    return app.topic("in")


@pytest.fixture
def sdf(app, topic):
    return app.dataframe(topic)


def driver_run(app, topic, *values):
    """Runs several records in one go, as a worker does."""
    with TopologyTestDriver(app) as driver:
        for timestamp, value in enumerate(values):
            driver._native.send("in", value, b"k", timestamp, None, 0)
        return [value for value, *_ in driver._native.run()]


class TestContextVariables:
    """A-61"""

    def test_what_a_record_sets_is_gone_with_the_next(self, app, topic, sdf):
        seen = []

        def function(value):
            seen.append(VARIABLE.get())
            if value == 2:
                VARIABLE.set("by record 2")
            return VARIABLE.get()

        sdf = sdf.apply(function)
        sdf = sdf.apply(lambda _: VARIABLE.get())
        assert driver_run(app, topic, b"1", b"2", b"3") == ["unset", "by record 2", "unset"]
        assert seen == ["unset"] * 3
        assert VARIABLE.get() == "unset"

    def test_what_was_set_outside_is_there(self, app, topic, sdf):
        sdf.apply(lambda _: VARIABLE.get())
        token = VARIABLE.set("outside")
        try:
            assert driver_run(app, topic, b"1", b"2") == ["outside"] * 2
        finally:
            VARIABLE.reset(token)

    def test_values_that_cannot_be_compared(self, app, topic, sdf):
        class Odd:
            def __eq__(self, other):
                raise RuntimeError("do not compare me")

        token = VARIABLE.set(Odd())
        try:
            def function(value):
                before = type(VARIABLE.get()).__name__
                VARIABLE.set(Odd() if value == 1 else "text")
                return before

            sdf.apply(function)
            assert driver_run(app, topic, b"1", b"2", b"3") == ["Odd"] * 3
        finally:
            VARIABLE.reset(token)

    def test_a_failure_leaves_no_context_behind(self, app, topic, sdf):
        def function(value):
            VARIABLE.set("leaked")
            raise ValueError("no")

        sdf.apply(function)
        with pytest.raises(ValueError, match="no"):
            driver_run(app, topic, b"1")
        assert VARIABLE.get() == "unset"


class TestMessageContext:
    """M-30"""

    def test_it_follows_the_record(self, app, topic, sdf):
        sdf.apply(lambda _: message_context().offset)
        assert driver_run(app, topic, b"1", b"2", b"3") == [0, 1, 2]

    def test_outside(self):
        with pytest.raises(MessageContextNotSetError, match="set_message_context"):
            message_context()

    def test_set_by_hand(self):
        mine = MessageContext("t", 1, 2, 3)

        def inside():
            set_message_context(mine)
            return message_context()

        assert contextvars.copy_context().run(inside) == mine
        with pytest.raises(MessageContextNotSetError):
            message_context()

    def test_the_records_own_wins_over_one_set_outside(self, app, topic, sdf):
        sdf.apply(lambda _: message_context().topic)

        def inside():
            set_message_context(MessageContext("outside", 1, 2, 3))
            return driver_run(app, topic, b"1")

        assert contextvars.copy_context().run(inside) == ["in"]

    def test_one_set_for_a_record_lasts_as_long_as_it(self, app, topic, sdf):
        def function(value):
            if value == 1:
                set_message_context(MessageContext("other", 7, 8, 9))
            return message_context().topic

        sdf.apply(function)
        assert driver_run(app, topic, b"1", b"2") == ["other", "in"]

    def test_in_a_generator(self, sdf):
        sdf = sdf.apply(lambda value: (message_context().offset + n for n in range(value)), expand=True)
        assert [value for value, *_ in sdf.test(2, ctx=MessageContext("in", 0, 5, 0))] == [5, 6]


class TestExceptions:
    """They keep type, object and traceback, and gain a note."""

    def test_the_object_itself_comes_out(self, sdf):
        raised = KeyError("mine")

        def fail(value):
            raise raised

        sdf.apply(fail)
        with pytest.raises(KeyError) as caught:
            sdf.test(1)
        assert caught.value is raised
        assert "in fail" in "".join(traceback.format_tb(caught.value.__traceback__))
        (note,) = caught.value.__notes__
        assert "in[0] offset 0, operator apply fail" in note

    def test_a_note_per_failure_not_per_callback(self, app, topic, sdf):
        """A failed output is told to two callbacks (E-03, E-02)."""
        seen = []
        app._on_producer_error = lambda error, row, logger: seen.append(error)
        app._on_processing_error = lambda error, row, logger: seen.append(error)
        out = app.topic("out")
        sdf.apply(lambda value: {1, 2}).to_topic(out)
        with pytest.raises(Exception, match="set") as caught:
            driver_run(app, topic, b"1")
        assert seen == [caught.value, caught.value]
        assert not getattr(caught.value, "__notes__", [])

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_what_ends_the_process_is_offered_to_no_callback(self, app, topic, sdf, kind):
        app._on_processing_error = lambda *_: True

        def leave(value):
            raise kind

        sdf.apply(leave)
        with pytest.raises(kind):
            driver_run(app, topic, b"1")

    def test_class_without_notes(self, sdf, monkeypatch):
        ignored = []
        monkeypatch.setattr(sys, "unraisablehook", lambda found: ignored.append(found.exc_value))

        class Closed(Exception):
            def add_note(self, note):
                raise RuntimeError("no notes")

        def fail(value):
            raise Closed("still here")

        sdf.apply(fail)
        with pytest.raises(Closed, match="still here"):
            sdf.test(1)
        assert [str(error) for error in ignored] == ["no notes"]

    def test_failures_of_iterators(self, sdf):
        def items(value):
            yield 1
            raise OSError("in the middle")

        sdf.apply(items, expand=True)
        with pytest.raises(OSError, match="in the middle"):
            sdf.test(1)

    def test_not_iterable(self, sdf):
        sdf.apply(lambda value: 5, expand=True)
        with pytest.raises(TypeError, match="expand=True returned int, which is not iterable"):
            sdf.test(1)

    def test_broken_iterators_raise_their_own_error(self, sdf):
        class Broken:
            def __iter__(self):
                raise LookupError("mine")

        sdf.apply(lambda value: Broken(), expand=True)
        with pytest.raises(LookupError, match="mine"):
            sdf.test(1)


class TestValues:
    def test_one_object_on_a_line(self, sdf):
        """D-05"""
        seen = []
        sdf = sdf.update(lambda value: value.append(1)).update(seen.append).apply(lambda value: seen.append(value) or value)
        given = [0]
        ((result, *_),) = sdf.test(given)
        assert seen[0] is seen[1] is result is given == [0, 1]

    def test_json_becomes_one_object(self, app, topic, sdf):
        """It is converted once per record, by the first function."""
        seen = []
        sdf = sdf.update(seen.append)
        sdf = sdf[sdf["a"] > 0]
        sdf.update(seen.append)
        driver_run(app, topic, b'{"a":1}')
        assert seen[0] is seen[1] == {"a": 1}

    @pytest.mark.parametrize("value", [
        {"a": [1, {"b": (2,)}]}, [datetime.date(2024, 1, 1)], {1: {2}}, {"x": None, "y": [[], {}]},
    ], ids=repr)
    def test_branches_have_values_of_their_own(self, sdf, value):
        """D-04"""
        seen = []

        def spoil(found):
            seen.append(copy.deepcopy(found))
            found.clear()

        for _ in range(3):
            sdf.apply(lambda found: found).update(spoil)
        sdf.test(copy.deepcopy(value))
        assert seen == [value] * 3

    def test_aliases_inside_a_value_stay_aliases(self, sdf):
        """D-04: as pickling has it."""
        seen = []
        sdf.apply(lambda value: None)
        sdf.update(seen.append)
        shared = [1]
        sdf.test({"a": shared, "b": shared, "c": {"d": [2]}})
        sdf.test({"loop": (loop := [])} | {"in": loop.append(loop)})
        assert seen[0]["a"] is seen[0]["b"] is not shared
        assert seen[1]["loop"][0] is seen[1]["loop"] is not loop

    def test_what_cannot_be_pickled(self, sdf):
        """D-04, where Quix fails."""
        seen = []
        sdf.apply(lambda value: None)
        sdf.update(seen.append)
        sdf.test({"f": (function := lambda: 5), "l": [1]})
        assert seen[0]["f"] is function

    def test_subclasses_and_large_numbers_pass(self, sdf):
        class Special(dict):
            pass

        for value in (Special(a=1), 2**70, -(2**70), 2**63, "\ud800", float("nan"), b"\0", True, 1 + 2j):
            ((result, *_),) = sdf.test(value)
            assert type(result) is type(value)
            assert result == value or value != value


class TestState:
    def test_it_ends_with_its_record(self, sdf):
        kept = []

        def function(value, state):
            kept.append(state)
            state.set("a", 1)

        sdf.update(function, stateful=True)
        sdf.test(1)
        assert isinstance(kept[0], State)
        with pytest.raises(RuntimeError, match="has been processed"):
            kept[0].get("a")

    def test_it_lives_as_long_as_a_generator(self, sdf):
        def items(value, state):
            for n in range(3):
                state.set("n", n)
                yield n

        seen = []
        sdf = sdf.apply(items, stateful=True, expand=True)
        sdf.update(lambda value, state: seen.append(state.get("n")), stateful=True)
        sdf.test(1)
        assert seen == [0, 1, 2]

    def test_metadata_and_state(self, sdf):
        """D-08"""
        seen = []
        sdf.update(lambda *arguments: seen.append(arguments), metadata=True, stateful=True)
        sdf.test({"v": 1}, key="k", timestamp=5, headers=[("h", b"x")])
        *record, state = seen[0]
        assert record == [{"v": 1}, "k", 5, [("h", b"x")]]
        assert type(state) is State

    def test_a_key_that_cannot_be_written_only_raises_when_it_is_read(self, sdf):
        """ST-04"""
        from millstream.state.exceptions import StateSerializationError

        def function(value, state):
            with pytest.raises(StateSerializationError, match="read this key"):
                state.get(object())
            state.set("fine", 1)
            return state.get("fine")

        assert sdf.apply(function, stateful=True).test(1)[0][0] == 1

    def test_values_are_fresh(self, sdf):
        """ST-07"""
        def function(value, state):
            state.set("list", [1])
            state.get("list").append(2)
            return state.get("list"), state.get("list") is state.get("list")

        assert sdf.apply(function, stateful=True).test(1)[0][0] == ([1], False)


def test_threads_share_nothing():
    """Two drivers in two threads, with contexts and caches of their own."""
    failures = []

    def work(number):
        app = MemoryApplication(consumer_group="g")
        topic = app.topic("in")
        app.dataframe(topic).apply(lambda value: (value["n"], message_context().offset))
        try:
            with TopologyTestDriver(app) as driver:
                for n in range(200):
                    driver._native.send("in", b'{"n":%d,"t%d":1}' % (n, number), None, n, None, 0)
                found = [value for value, *_ in driver._native.run()]
                assert found == [(n, n) for n in range(200)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_memory_is_given_back(app, topic, sdf):
    """Objects, references and cached names do not pile up."""
    sdf = sdf[sdf["a"] >= 0]
    sdf["b"] = sdf["a"] + 1
    sdf = sdf.apply(lambda value: {**value, "c": [value["a"]]}).update(lambda value, state: state.set("x", value), stateful=True)
    marker = object()

    def work(records):
        with TopologyTestDriver(app) as driver:
            for n in range(records):
                driver._native.send("in", b'{"a":%d,"text":"%d"}' % (n, n), b"k", n, None, 0)
            driver._native.run()
        gc.collect()

    sdf.update(lambda value: marker)
    work(100)
    objects, references = len(gc.get_objects()), sys.getrefcount(marker)
    work(3000)
    assert len(gc.get_objects()) - objects < 200
    assert sys.getrefcount(marker) == references
