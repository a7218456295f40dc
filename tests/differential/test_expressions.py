"""Our expressions against Quix Streams': the cases of `generate.py`, by both ways that a record takes (S-01 to S-11).

`series.test()` evaluates on Python objects. In a pipeline the record is JSON text and stays so: no Python runs, but for
results that only Python has.
"""

import json
import pathlib
import re
from decimal import Decimal

import pytest
from expression_trees import BINARY, build

from millstream.testing import MemoryApplication, TopologyTestDriver

CASES = json.loads(pathlib.Path(__file__).with_name("cases.json").read_text())
OUTCOMES = CASES["outcomes"]

# What Python has no operator for that a series could take part in.
BUILDERS = {**BINARY, "in": lambda left, right: left.isin(right), "is": lambda left, right: left.is_(right)}


def combine(op, left, right):
    return BUILDERS[op](left, right)


# How Python words that two values have no order.
NO_ORDER = re.compile(r"'([<>]=?)' not supported between instances of '(\w+)' and '(\w+)'")
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def mirrored(outcome):
    """With a constant on the left of a comparison Python asks the series, which is on the right: the message says so."""
    return NO_ORDER.sub(lambda found: f"'{MIRRORED[found[1]]}' {found[0].split(' ', 1)[1]}", swapped(outcome))


def swapped(outcome):
    return re.sub(r"instances of '(\w+)' and '(\w+)'", r"instances of '\2' and '\1'", outcome)


def agrees(expected, actual):
    expected = expected.removeprefix("~")
    if not expected.startswith("! "):
        return expected == actual
    kind, message = expected.split(": ", 1)
    # A pipeline says before and after the message where it happened and what to do. The wording of the errors of column
    # reads is ours; the column is in it.
    return actual.startswith(kind + ": ") and (message in actual or mirrored(message) in actual)


def raised(error):
    return f"! {type(error).__name__}: {error}"


def integer(text):
    """T-45: integers beyond 64 bits become floats."""
    value = int(text)
    return value if -(2**63) <= value < 2**64 else float(text)


def outcome_of(series, record):
    """The outcome of `series.test()`."""
    try:
        return f"= {series.test(json.loads(record, parse_int=integer), b'key', 0)[0]!r}"
    except Exception as error:
        return raised(error)


class Pipeline:
    """A pipeline that assigns a series to a new column, and what becomes of records in it."""

    def __init__(self, make_series):
        self.errors = []
        self.app = MemoryApplication(on_processing_error=self.on_error)
        self.topic = self.app.topic("in")
        sdf = self.app.dataframe(self.topic)
        sdf["__result"] = make_series(sdf)
        self.driver = TopologyTestDriver(self.app)

    def on_error(self, error, row, logger):
        self.errors.append(error)
        return True

    def outcome(self, record):
        self.errors.clear()
        self.driver.pipe_input(self.topic, record.encode(), b"key", 0)
        results = self.driver.read_results()
        if self.errors:
            assert not results
            return raised(self.errors[0])
        ((value, *_),) = results
        return f"= {value['__result']!r}"


def report(differences, count):
    shown = "\n".join(differences[:40])
    assert not differences, f"{len(differences)} of {count} differ:\n{shown}"


def differences(cases, evaluate):
    """Of pairs of a case and its expected outcome those that come out otherwise."""
    for case, expected in cases:
        if expected != "?":
            actual = evaluate(case)
            if not agrees(expected, actual):
                yield f"{case}\n  expected {expected}\n  but got  {actual}"


def pairs(op):
    for x, row in zip(CASES["values"], CASES["binary"][op], strict=True):
        for y, number in zip(CASES["values"], row, strict=True):
            yield f'{{"x":{x},"y":{y}}}', OUTCOMES[number]


@pytest.mark.parametrize("op", BINARY)
def test_operators_in_a_pipeline(op):
    pipeline = Pipeline(lambda sdf: combine(op, sdf["x"], sdf["y"]))
    cases = list(pairs(op))
    report(list(differences(cases, pipeline.outcome)), len(cases))


@pytest.mark.parametrize("op", BINARY)
def test_operators_on_objects(op):
    app = MemoryApplication()
    sdf = app.dataframe(app.topic("in"))
    series = combine(op, sdf["x"], sdf["y"])
    # A number is another object each time that Python's own parser makes it; orjson's is the case's subject.
    cases = [case for case in pairs(op) if op != "is"]
    report(list(differences(cases, lambda record: outcome_of(series, record))), len(cases))


def trees(record_number):
    return [(tree, OUTCOMES[number]) for record, tree, number in CASES["trees"] if record == record_number]


def numbered_records(only_maps):
    return [
        pytest.param(number, record, id=f"record{number}")
        for number, record in enumerate(CASES["records"])
        if record.startswith("{") or not only_maps
    ]


@pytest.mark.parametrize(("number", "record"), numbered_records(only_maps=True))
def test_expressions_in_a_pipeline(number, record):
    def outcome(tree):
        return Pipeline(lambda sdf: build(sdf, tree, combine)).outcome(record)

    cases = trees(number)
    report(list(differences(cases, outcome)), len(cases))


@pytest.mark.parametrize(("number", "record"), numbered_records(only_maps=False))
def test_expressions_on_objects(number, record):
    app = MemoryApplication()
    sdf = app.dataframe(app.topic("in"))

    def outcome(tree):
        return outcome_of(build(sdf, tree, combine), record)

    cases = trees(number)
    report(list(differences(cases, outcome)), len(cases))


@pytest.mark.parametrize("op", [op for op in BINARY if op not in ("in", "is")])
@pytest.mark.parametrize(("left", "right"), [(6, 4), (2.5, -1), (True, 2), ("ab", "b"), ([1], [2]), (1, "a")], ids=repr)
def test_a_constant_on_either_side(op, left, right):
    """S-03 and its limit: reflected forms are there, and mean the same."""
    app = MemoryApplication()
    sdf = app.dataframe(app.topic("in"))
    record = json.dumps({"x": left, "y": right})
    try:
        expected = f"= {BINARY[op](left, right)!r}"
    except Exception as error:
        expected = raised(error)
    assert agrees(expected, outcome_of(combine(op, sdf["x"], right), record))
    # `"text" % series` formats text, which no series can prevent.
    if not (op == "%" and isinstance(left, str)):
        assert agrees(expected, outcome_of(combine(op, left, sdf["y"]), record))


def test_operands_that_only_python_knows():
    """S-03, S-11: a Decimal goes through every operator as itself."""
    app = MemoryApplication()
    sdf = app.dataframe(app.topic("in"))
    price = sdf["price"].apply(Decimal)
    cases = [
        (-price, Decimal("-1.50")),
        ((-price).abs(), Decimal("1.50")),
        (price * 2 + 1, Decimal("4.00")),
        (1 - price, Decimal("-0.50")),
        (price > 1, True),
        (price.isin([Decimal("1.5")]), True),
        (price & "kept", "kept"),
        (~price, False),
    ]
    for series, expected in cases:
        assert outcome_of(series, '{"price":"1.50"}') == f"= {expected!r}"
