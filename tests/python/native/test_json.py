"""JSON of the native module against orjson, which Quix Streams uses (parity rows T-44, T-45)."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import random
import uuid

import orjson
import pytest

from millstream._millstream import json_dumps, json_loads

TEXTS = ["", "a", "ab", "JFK", "seven77", "eight888", "fifteen_letters", "sixteen__letters", "x" * 17, "y" * 31, "z" * 33,
         "w" * 200, 'quote"', "back\\slash", "line\nfeed", "nul\0", "\x1f", "\x7f", "é", "日本語", "😀", "ascii then é",
         "12345678\"", "1234567\"8", "\t" * 9, "a" * 15 + "\\"]
NUMBERS = [0, 1, -1, 255, 10**9, -(10**9), 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 0.0, -0.0, 1.0, -1.5, 0.1, 1e-7, 1e16,
           1e22, 1e-300, 1.7976931348623157e308, 5e-324, 123456789.123456789, math.nan, math.inf, -math.inf]


def anything(rng, depth=0):
    """A random object that JSON can hold."""
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.randrange(-(10**6), 10**6)
    if kind == 3:
        return rng.choice(TEXTS)
    if kind == 4:
        return "".join(rng.choice('abc"\\\n é😀') for _ in range(rng.randrange(40)))
    if kind == 5:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(6))]
    if kind == 6:
        return tuple(anything(rng, depth + 1) for _ in range(rng.randrange(4)))
    return {rng.choice(TEXTS) + str(rng.randrange(5)): anything(rng, depth + 1) for _ in range(rng.randrange(8))}


def same(a, b):
    """Equal, of the same types, in the same order, with equal zeros."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


@pytest.mark.parametrize("seed", range(40))
def test_random_objects_as_orjson_writes_and_reads_them(seed):
    rng = random.Random(seed)
    for _ in range(100):
        value = anything(rng)
        written = json_dumps(value)
        assert written == orjson.dumps(value)
        assert same(json_loads(written), orjson.loads(written))


@pytest.mark.parametrize("value", [*TEXTS, *NUMBERS], ids=repr)
def test_scalars(value):
    written = json_dumps(value)
    assert written == orjson.dumps(value)
    assert same(json_loads(written), orjson.loads(written))


@pytest.mark.parametrize("text", [
    b"", b" ", b"NaN", b"Infinity", b"-", b"01", b"1.", b".5", b"1e", b"+1", b"nul", b"truex", b'"', b'"\\x"', b'"\n"',
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b"[1,]", b"[", b"]", b"{", b'{"a"}', b'{"a":}', b"{a:1}", b'{"a":1,}', b"1 2",
    b"[1 2]", b"\xef\xbb\xbf1", b"1e999", b'"\\u12"', b"[" * 1025 + b"]" * 1025,
], ids=lambda text: repr(text[:20]))
def test_what_is_no_json(text):
    with pytest.raises(ValueError, match="byte"):
        json_loads(text)
    with pytest.raises(ValueError):
        orjson.loads(text)


@pytest.mark.parametrize("text", [
    b' { "a" : [ 1 , 2 ] , "b" : { } } \n', b'{"a":1,"a":2,"b":3,"a":4}', b"18446744073709551616", b"-9223372036854775809",
    b"123456789012345678901234567890", b"1E5", b"1e+5", b"-0", b"-0.0", b"0e0", b'"\\u00e9\\ud83d\\ude00\\/\\b\\f"', b'{"\\u0061":1}',
    b'{"":0}', b"0.1000000000000000055511151231257827",
], ids=lambda text: repr(text[:30]))
def test_what_is(text):
    assert same(json_loads(text), orjson.loads(text))
    assert same(json_loads(text.decode()), orjson.loads(text))
    assert same(json_loads(bytearray(text)), orjson.loads(text))
    assert same(json_loads(memoryview(text)), orjson.loads(text))


def test_deep_nesting():
    value, depth = json_loads(b"[" * 1024 + b"]" * 1024), 0
    assert json_dumps(value) == b"[" * 1024 + b"]" * 1024
    while value:
        (value,), depth = value, depth + 1
    assert depth == 1023


def test_field_names_in_any_order():
    """Names are foreseen from the record before; a record that surprises must be read all the same."""
    rng = random.Random(7)
    names = ["a", "ab", "abc", "b", 'q"', "é", "x" * 63, "x" * 64, "x" * 65, "", "a\\", *(f"column_{n}" for n in range(40))]
    for _ in range(3000):
        chosen = rng.sample(names, rng.randrange(1, 12))
        value = {name: {inner: 1 for inner in rng.sample(names, rng.randrange(3))} for name in chosen}
        assert same(json_loads(orjson.dumps(value)), value)


def test_more_field_names_than_are_remembered():
    for start in range(0, 5000, 7):
        value = {f"key_{n}": n for n in range(start, start + 20)}
        assert json_loads(orjson.dumps(value)) == value


def test_field_names_are_shared():
    """Their objects are made once, so that looking a field up compares pointers."""
    first, second = (next(iter(json_loads(b'{"a_field_name": 1}'))) for _ in range(2))
    assert first is second


class Colour(enum.Enum):
    RED = "red"
    NESTED = ("a", 1)


class Level(enum.IntEnum):
    HIGH = 3


class Name(str):
    pass


class Number(int):
    pass


class Record(dict):
    pass


class Items(list):
    pass


@pytest.mark.parametrize("value", [
    Colour.RED, Colour.NESTED, Level.HIGH, Name("n"), Number(7), Record(a=1), Items([1]), uuid.UUID(int=5),
    collections.OrderedDict(b=1, a=2), collections.Counter("aab"), [Colour.RED, {"k": Level.HIGH}],
], ids=repr)
def test_what_stands_for_plain_objects(value):
    assert json_dumps(value) == orjson.dumps(value)


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(("value", "text"), [
    (datetime.datetime(2024, 1, 1), "datetime.datetime.*isoformat"),
    (datetime.date(2024, 1, 1), "datetime.date"),
    (datetime.time(1), "datetime.time"),
    (Point(1), "Point"),
    (b"bytes", "bytes.*decode"),
    ({1, 2}, "set.*list"),
    ("\ud800", "surrogates"),
    ({"\ud800": 1}, "surrogates"),
    ({1: 2}, "Dict key must be str.*int"),
    (2**64, "64-bit"),
    (-(2**63) - 1, "64-bit"),
    (decimal.Decimal(1), "decimal.Decimal"),
    (object(), "object"),
    (collections.namedtuple("T", "a")(1), "T"),
    ([[[1, {"a": (b"",)}]]], "bytes"),
], ids=repr)
def test_what_is_refused(value, text):
    with pytest.raises(TypeError, match=text):
        json_dumps(value)


def test_what_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(TypeError, match="nested"):
        json_dumps(loop)


def test_an_enum_that_changes_what_is_being_written():
    """Code of the user's runs while a dict is walked; the memory must stay sound."""
    record = {f"k{n}": [n, "x" * 100] for n in range(50)}

    class Evil(enum.Enum):
        ONE = 1

        @property
        def value(self):
            record.clear()
            record.update({f"other{n}": "y" * 50 for n in range(500)})
            return 1

    record["k10"] = [Evil.ONE, ["after", Evil.ONE]]
    json.loads(json_dumps({"outer": record, "rest": [1, 2]}))


def test_numpy_like_floats():
    class Float64(float):
        pass

    assert json_dumps([Float64(1.5)]) == b"[1.5]"
