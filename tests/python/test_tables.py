"""`print_table`: D-55."""

import io
import sys
import warnings

import pytest

from millstream.dataframe.tables import Table, TablePrinter
from millstream.testing import TopologyTestDriver
from platforms import Input


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(app, topic, *values, terminal=False, monkeypatch=None):
    out = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with TopologyTestDriver(app) as driver:
        for n, value in enumerate(values):
            driver.pipe_input(topic, value, key="k", timestamp=n)
    app._context.printer.finish()
    return out.getvalue()


@pytest.fixture
def table(app, monkeypatch):
    def draw(*values, terminal=False, **arguments):
        topic = app.topic("in")
        app.dataframe(topic).print_table(live_slowdown=0, **arguments)
        return printed(app, topic, *values, terminal=terminal, monkeypatch=monkeypatch)

    return draw


def test_whole_tables_when_they_are_full(table):
    text = table({"a": 1}, {"a": 2, "b": None}, {"a": 3}, size=2, title="Mine")
    assert text == (
        "Mine\n"
        "┌──────┬────────────┬───┬──────┐\n"
        "│ _key │ _timestamp │ a │ b    │\n"
        "├──────┼────────────┼───┼──────┤\n"
        "│ b'k' │ 0          │ 1 │      │\n"
        "│ b'k' │ 1          │ 2 │ None │\n"
        "└──────┴────────────┴───┴──────┘\n"
        "Mine\n"
        "┌──────┬────────────┬───┬───┐\n"
        "│ _key │ _timestamp │ a │ b │\n"
        "├──────┼────────────┼───┼───┤\n"
        "│ b'k' │ 2          │ 3 │   │\n"
        "└──────┴────────────┴───┴───┘\n"
    )


def test_values_that_are_no_dicts(table):
    assert "│ 0 │\n├───┤\n│ 7 │" in table(7, metadata=False)


def test_columns_and_widths(table):
    text = table({"a": 1, "b": "long text", "c": 3}, columns=["b", "a"], column_widths={"b": 5}, metadata=False)
    assert "│ b     │ a │\n" in text and "│ long… │ 1 │\n" in text


def test_metadata_stands_in_front_of_columns(table):
    assert "│ _key │ _timestamp │ b │\n" in table({"a": 1, "b": 2}, columns=["b"])


def test_no_columns(table):
    with pytest.warns(UserWarning, match="will be empty"):
        assert table({"a": 1}, columns=[], metadata=False) == ""


def test_live(table):
    text = table({"a": 1}, {"a": 2}, {"a": 3}, size=2, metadata=False, terminal=True)
    screens = text.split("\x1b[2J\x1b[H")
    assert len(screens) == 4 and screens[0] == ""
    assert "│ 2 │\n│ 3 │\n" in screens[3]


def test_not_live_on_a_terminal(table):
    text = table({"a": 1}, size=5, metadata=False, terminal=True, live=False)
    assert "\x1b" not in text and "│ 1 │" in text


def test_several_tables_in_order(app, monkeypatch):
    topic = app.topic("in")
    sdf = app.dataframe(topic).print_table(title="First", live=False)
    sdf.apply(lambda value: value * 2).print_table(title="Second", live=False)
    text = printed(app, topic, 1, monkeypatch=monkeypatch)
    assert text.index("First") < text.index("Second")


def test_an_old_table_is_printed():
    clock = iter(range(0, 1000, 4))
    table = Table(5, None, 5.0, None, None, clock=lambda: next(clock))
    table.add({"a": 1})
    assert not table.due
    assert table.due


def test_an_old_table_is_printed_without_records(monkeypatch):
    """The timer sees to it: nothing arrives any more."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    printer = TablePrinter()
    table = printer.add_table(5, None, 0.05, False, 0, None, None)
    printer.add_row(table, {"a": 1}, None)
    printer.refresh()
    assert out.getvalue() == ""
    printer._timer.join(10)
    assert "│ 1 │" in out.getvalue()
    printer.finish()


def test_sizes():
    with pytest.raises(ValueError, match="at least 1"):
        Table(0, None, 5, None, None)


def test_in_a_run(broker, capsys):
    app = broker.application()
    topic = broker.topic("in")
    app.dataframe(topic).print_table(size=2, metadata=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        broker.run(*(Input(topic, {"a": n}, b"k", 5) for n in range(3)))
    assert capsys.readouterr().out.count("│ a │") == 2
