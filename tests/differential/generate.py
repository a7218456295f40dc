"""Writes cases.json: what Quix Streams, Python and orjson make of expressions and JSON texts.

The file is checked in; it is read by `test_expressions.py` and by the tests of the crate `millstream-value`. To
write it again, in an environment with `quixstreams` and `orjson` (Python 3.11, whose messages it records):

    python tests/differential/generate.py

Everything is drawn from a fixed seed, so that a second run changes nothing.

The parts of the file:

* `values`: JSON texts. `binary[op][i][j]` is the outcome of `values[i] op values[j]`.
* `trees`: triples of record (its number among `records`, JSON texts), expression (see `expression_trees.py`) and
  outcome.
* `texts`: pairs of bytes (as Latin-1) and what orjson reads and writes again, or null where it refuses them.
* `floats`: pairs of a float as Python spells it and as orjson does.
* `outcomes`: all outcomes by number. `= repr`, `! type: message`; with `~` before it where it needs a type that only
  Python has (an integer beyond 64 bits, formatting of text); `?` where Python would compute for ages.
"""

import json
import math
import pathlib
import random
import struct
from typing import Any

import orjson
from expression_trees import BINARY, build
from quixstreams.dataframe.exceptions import ColumnDoesNotExist, InvalidColumnReference
from quixstreams.dataframe.series import StreamingSeries

VALUES = [
    "null", "true", "false", "0", "1", "-7", "3", "256", "9007199254740993", "9223372036854775807",
    "-9223372036854775808", "18446744073709551615", "0.0", "1.0", "-2.5", "0.1", "1e300", "9007199254740992.0",
    '""', '"a"', '"ab"', '"\\u00e9\\n"', '"1"', "[]", "[1]", '[1,"a",null]', "[[1],2.0]", "{}", '{"a":1}',
    '{"a":1.0,"b":[]}', '{"b":[],"a":1}',
]  # fmt: skip


class QuixFrame:
    """As much of a dataframe as making series takes."""

    def __getitem__(self, column: str) -> StreamingSeries:
        return StreamingSeries(name=column, sdf_id=1)

    def contains(self, keys: list[Any]) -> StreamingSeries:
        return StreamingSeries.from_apply_callback(lambda value, *_: all(key in value for key in keys), sdf_id=1)


class Outcomes:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, outcome: str) -> int:
        return self.numbers.setdefault(outcome, len(self.numbers))


def is_native(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if isinstance(value, (list, tuple)):
        return all(map(is_native, value))
    if isinstance(value, dict):
        return all(map(is_native, value.values()))
    return not isinstance(value, complex)


def takes_ages(op: str, left: Any, right: Any) -> bool:
    if op == "**":
        return isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and right > 200
    if op == "*":
        return any(
            isinstance(sequence, (str, list)) and isinstance(times, int) and times > 1000
            for sequence, times in ((left, right), (right, left))
        )
    return False


class TakesAges(Exception):
    pass


def guarded(op: str):
    """The operator, unless it would compute for ages."""
    function = BINARY[op]

    def run(left: Any, right: Any) -> Any:
        if takes_ages(op, left, right):
            raise TakesAges
        if op == "%" and isinstance(left, str):
            ONLY_PYTHON.append(True)
        result = function(left, right)
        if not is_native(result):
            ONLY_PYTHON.append(True)
        return result

    return run


# Filled while a case runs in which only Python knows the result.
ONLY_PYTHON: list[bool] = []
GUARDED = {op: guarded(op) for op in BINARY}


def quix_binary(op: str, left: Any, right: Any) -> StreamingSeries:
    """Quix has no `//`, `**` and reflected forms (S-03); these are built as it builds the others."""
    run = GUARDED[op]
    if isinstance(left, StreamingSeries):
        return left._operation(right, run)
    return right._operation(left, lambda a, b: run(b, a))


def negative(value: Any) -> Any:
    result = -value
    if not is_native(result):
        ONLY_PYTHON.append(True)
    return result


def outcome(record: str, tree: list) -> str:
    ONLY_PYTHON.clear()
    try:
        series = build(QuixFrame(), tree, quix_binary, lambda series: series.apply(negative))
        result = series.test(orjson.loads(record), b"key", 0, [])[0]
        text = f"= {result!r}"
    except TakesAges:
        return "?"
    except Exception as error:
        text = f"! {type(error).__name__}: {error}"
        if isinstance(error, ColumnDoesNotExist | InvalidColumnReference):
            # Theirs and ours differ in wording; the kind and the column count.
            text = f"! {type(error).__name__}: '{str(error).split(chr(39))[1]}'"
    return ("~" if ONLY_PYTHON else "") + text


def binary_outcomes(outcomes: Outcomes) -> dict[str, list[list[int]]]:
    return {
        op: [
            [outcomes.number(outcome(f'{{"x":{x},"y":{y}}}', [op, ["column", "x"], ["column", "y"]])) for y in VALUES]
            for x in VALUES
        ]
        for op in BINARY
    }


RECORDS = [
    '{"a":5,"b":2.5,"s":"text","n":null,"t":true,"l":[1,2,[3,"x"]],"d":{"k":{"deep":7},"z":null},"e":""}',
    '{"a":-3,"b":0,"s":"","n":1,"t":false,"l":[],"d":{},"e":"\\u00e9\\"q\\\\"}',
    '{ "a" : 1 , "a" : 2 , "b" : 1e2 , "s" : "\\ud83d\\ude00x" , "l" : [ "s" , "text" ] ,'
    ' "d" : { "k" : 1 , "k" : 2 } }',
    '{"a":9223372036854775807,"b":-9223372036854775808,"s":"a","n":18446744073709551615,"l":[null,true],"d":null}',
    '{"a":18446744073709551616,"b":-0,"s":"5","t":1.5,"d":[{"k":1}]}',
    "[1, 2]", "{}", "null", "5", '"abc"', "true", "1.5",
]  # fmt: skip

TREES = [
    ["column", "a"], ["column", "b"], ["column", "missing"], ["column", "n"], ["column", "e"], ["column", "s"],
    ["column", "l"], ["column", "d"],
    ["index", ["column", "d"], "k"], ["index", ["index", ["column", "d"], "k"], "deep"],
    ["index", ["column", "d"], "missing"], ["index", ["column", "d"], 5], ["index", ["column", "d"], None],
    ["index", ["column", "l"], 0], ["index", ["column", "l"], -1], ["index", ["column", "l"], -3],
    ["index", ["column", "l"], -4], ["index", ["column", "l"], 7], ["index", ["column", "l"], "x"],
    ["index", ["column", "l"], True], ["index", ["column", "l"], 1.0], ["index", ["column", "l"], 2**64 - 1],
    ["index", ["index", ["column", "l"], 2], 1], ["index", ["column", "s"], 0], ["index", ["column", "s"], -1],
    ["index", ["column", "s"], 99], ["index", ["column", "s"], "k"], ["index", ["column", "a"], 0],
    ["index", ["column", "n"], "k"], ["index", ["column", "l"], ["column", "n"]],
    ["index", ["column", "d"], ["column", "l"]], ["index", ["column", "d"], ["column", "d"]],
    ["and", ["column", "a"], ["column", "b"]], ["or", ["column", "a"], ["column", "b"]],
    ["and", ["column", "n"], ["column", "missing"]], ["or", ["column", "t"], ["column", "missing"]],
    ["or", ["column", "n"], ["column", "missing"]], ["and", ["column", "s"], 5], ["or", ["column", "e"], "other"],
    ["and", ["column", "l"], ["column", "d"]], ["or", ["column", "l"], ["column", "d"]],
    ["not", ["column", "a"]], ["not", ["column", "l"]], ["not", ["column", "d"]], ["not", ["column", "e"]],
    ["not", ["column", "b"]], ["not", ["not", ["column", "n"]]],
    ["abs", ["column", "a"]], ["abs", ["column", "b"]], ["abs", ["column", "t"]], ["abs", ["column", "s"]],
    ["abs", ["column", "n"]], ["abs", ["column", "l"]],
    ["neg", ["column", "a"]], ["neg", ["column", "b"]], ["neg", ["column", "t"]], ["neg", ["column", "s"]],
    ["neg", ["column", "n"]],
    ["isnull", ["column", "n"]], ["notnull", ["column", "n"]], ["isnull", ["column", "missing"]],
    ["notnull", ["column", "a"]], ["isnull", ["index", ["column", "d"], "z"]],
    ["isin", ["column", "a"], [1, 5, None]], ["notin", ["column", "a"], [1, 5, None]],
    ["isin", ["column", "s"], "context"], ["isin", ["column", "s"], ["column", "l"]],
    ["isin", ["column", "a"], "text"], ["isin", ["column", "s"], {"text": 1}], ["isin", ["column", "l"], {"a": 1}],
    ["isin", ["column", "l"], [[], [1, 2, [3, "x"]]]], ["isin", ["column", "a"], 5],
    ["contains", ["column", "s"], "ex"], ["contains", ["column", "s"], 5], ["contains", ["column", "l"], "text"],
    ["contains", ["column", "l"], None], ["contains", ["column", "d"], "k"], ["contains", ["column", "d"], 5],
    ["contains", ["column", "n"], 5], ["contains", ["column", "a"], 5], ["contains", ["column", "e"], '"q\\'],
    ["contains", ["column", "missing"], ["column", "gone"]],
    ["is", ["column", "a"], 5], ["is", ["column", "n"], None], ["is", ["column", "t"], True],
    ["is", ["column", "s"], "text"], ["is", ["column", "d"], ["column", "d"]], ["is", ["column", "a"], ["column", "a"]],
    ["is", ["column", "b"], ["column", "b"]], ["is", ["column", "s"], ["column", "s"]],
    ["isnot", ["column", "n"], None], ["isnot", ["column", "a"], ["column", "b"]],
    ["is", ["index", ["column", "d"], "k"], ["index", ["column", "d"], "k"]],
    ["has", ["a"]], ["has", ["a", "b"]], ["has", ["a", "missing"]], ["has", []], ["has", [1]], ["has", ["ab"]],
    ["has", [None]],
    ["+", 1, ["column", "a"]], ["-", 10, ["column", "b"]], ["*", 2, ["column", "s"]], ["/", 1, ["column", "b"]],
    ["%", 7, ["column", "a"]], ["//", 7, ["column", "a"]], ["**", 2, ["column", "a"]], ["<", 3, ["column", "a"]],
    ["<=", "a", ["column", "s"]], ["==", None, ["column", "n"]], ["!=", [1], ["column", "l"]],
    ["+", ["column", "l"], [0.5]], ["+", ["column", "s"], "!"], ["*", ["column", "l"], 2],
    ["==", ["column", "d"], {"k": {"deep": 7}, "z": None}], ["==", ["column", "d"], {"z": None, "k": {"deep": 7.0}}],
    ["<", ["column", "l"], [1, 2, [3, "y"]]], ["<", ["column", "l"], [1, 3]], ["<", ["column", "l"], [1, "x"]],
    ["and", [">", ["column", "a"], 1], ["<", ["column", "b"], 10]],
    ["or", ["isnull", ["column", "n"]], [">", ["column", "n"], 0]],
    ["+", ["*", ["column", "a"], 1.8], 32], ["/", ["+", ["column", "a"], ["column", "b"]], 2],
]  # fmt: skip

CONSTANTS: list[Any] = [0, 1, 2, -1, 3.5, 0.0, "a", "text", None, True, [1], 2**62, {"k": 1}]


def random_tree(draw: random.Random, depth: int) -> list:
    """An expression with at least one column in it, for a constant by itself is no series."""
    if depth == 0 or draw.random() < 0.2:
        return ["column", draw.choice("aabbsntlde")]
    kind = draw.random()
    inner = random_tree(draw, depth - 1)
    if kind < 0.55:
        other = random_tree(draw, depth - 1) if draw.random() < 0.6 else draw.choice(CONSTANTS)
        op = draw.choice([op for op in BINARY if op not in ("in", "is")])
        # `"text" % series` formats text, which no series can prevent.
        reflected = draw.random() >= 0.7 and not (op == "%" and isinstance(other, str))
        return [op, other, inner] if reflected else [op, inner, other]
    if kind < 0.75:
        other = random_tree(draw, depth - 1) if draw.random() < 0.7 else draw.choice(CONSTANTS)
        return [draw.choice(["and", "or"]), inner, other]
    if kind < 0.9:
        return [draw.choice(["not", "abs", "neg", "isnull", "notnull"]), inner]
    return [draw.choice(["isin", "contains", "index"]), inner, draw.choice(["k", 0, -1, ["column", "l"], "text"])]


def trees(draw: random.Random) -> list[tuple[str, list]]:
    cases = [(record, tree) for record in RECORDS[:5] for tree in TREES]
    cases += [(record, tree) for record in RECORDS[5:] for tree in TREES if tree[0] in ("column", "has")][::3]
    cases += [(draw.choice(RECORDS[:5]), random_tree(draw, draw.randint(1, 5))) for _ in range(500)]
    return [(record, tree) for record, tree in cases if tree[0] != "has" or tree[1] or record[0] == "{"]


SEEDS = [
    b'{"a":1,"b":[true,false,null],"c":{"d":"e"}}', b' [ 1 , -2.5e-3 , "x\\u00e9\\n\\/" ] ', b'"\\ud83d\\ude00"',
    b'{"k":"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80","a":{"a":{"a":[[[]]]}}}', b"[0,-0,1.5,1e5,1E+5,1e-5,0.1]",
    b'{"a":1,"a":[2],"a":"three"}', b'{"":{"":0},"\\"":1,"\\u0061":2,"a":3}',
    b"[18446744073709551615,-9223372036854775808]",
]  # fmt: skip

TEXTS = [
    *SEEDS, b"", b" ", b"null", b"true", b"false", b"nul", b"tru", b"True", b"NaN", b"Infinity", b"-Infinity", b"-",
    b"+1", b"01", b"-01", b"1.", b".5", b"1e", b"1e+", b"1.e5", b"0e0", b"00", b"-0", b"-0.0", b"1 2", b"1,2", b"[1,]",
    b"[,1]", b"{,}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{'a':1}", b"{a:1}", b'{"a":1 "b":2}', b"[1 2]", b"[1}",
    b'{"a":1]',
    b"[", b"{", b"]", b"}", b'"', b'"\\', b'"\\u12', b'"\\u12g4"', b'"\\x41"', b'"\t"', b'"\x7f"', b'"\x00"',
    b'"\\u0000"',
    b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'"\\ud800\\ud800"', b'"\\ud800x"', b'"\xff"', b'"\xc3"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"', b'"\xc0\x80"', b"\xef\xbb\xbf1", b"\xff", b"1e308", b"1e309", b"-1e400", b"1e-400",
    b"9" * 308,
    b"9" * 309, b"1" * 400, b"0." + b"1" * 400, b"123456789012345678901234567890", b"18446744073709551616",
    b"9223372036854775808", b"-9223372036854775809", b"99999999999999999999", b"0.1234567890123456789012345",
    b"9007199254740993.0", b"12345678901234567.5", b"1.7976931348623157e308", b"1.7976931348623159e308", b"5e-324",
    b"2.2250738585072011e-308", b"[" * 1024 + b"]" * 1024, b"[" * 1025 + b"]" * 1025,
    b'{"a":' * 1024 + b"1" + b"}" * 1024,
    b'{"a":' * 1025 + b"1" + b"}" * 1025, b"\x0c1", b"1\x00", b"\x001", b"[1]\n", b"\r\n\t {} ", b"/**/1", b'{"a":1}//',
]  # fmt: skip


def mutated(draw: random.Random) -> bytes:
    text = bytearray(draw.choice(SEEDS))
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text)) if text else 0
        kind = draw.random()
        if kind < 0.3:
            del text[at : at + draw.randint(1, 3)]
        elif kind < 0.7:
            text[at:at] = draw.choice(
                [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"0", b"-", b"e", b".", b"\xc3"]
            )
        else:
            text[at:at] = draw.choice(SEEDS).strip()
    return bytes(text)


def rewritten(text: bytes) -> str | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        # orjson reads deeper nesting than it writes; these texts are compact as they are.
        assert "Recursion limit" in str(error), error
        return text.decode()


def floats(draw: random.Random) -> list[tuple[str, str]]:
    chosen = [0.0, -0.0, 1.0, -1.5, 0.1, 1e15, 1e16, 1e17, 123456789012345680.0, 1e21, 1e22, 1e-4, 1e-5, 1e-6, 1.5e-7]
    chosen += [
        5e-324,
        1.7976931348623157e308,
        2.0**63,
        2.0**53 + 2,
        2.0**53 * 0.1,
        1 / 3,
        math.nan,
        math.inf,
        -math.inf,
    ]
    chosen += [10.0**exponent for exponent in range(-30, 31)]
    chosen += [draw.uniform(-1000, 1000) for _ in range(50)] + [round(draw.uniform(0, 1e6), 2) for _ in range(50)]
    chosen += [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(200)]
    return [(repr(value), orjson.dumps(value).decode()) for value in chosen]


def main() -> None:
    draw = random.Random(20_13)
    outcomes = Outcomes()
    texts = TEXTS + [mutated(draw) for _ in range(600)]
    content = {
        "values": VALUES,
        "binary": binary_outcomes(outcomes),
        "records": RECORDS,
        "trees": [
            [RECORDS.index(record), tree, outcomes.number(outcome(record, tree))] for record, tree in trees(draw)
        ],
        "texts": [[text.decode("latin-1"), rewritten(text)] for text in texts],
        "floats": floats(draw),
    }
    content["outcomes"] = list(outcomes.numbers)
    lines = [f"{json.dumps(name)}: {json.dumps(part, separators=(',', ':'))}" for name, part in content.items()]
    path = pathlib.Path(__file__).with_name("cases.json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path.name}: {path.stat().st_size} bytes, {len(content['trees'])} trees, {len(outcomes.numbers)} outcomes")


if __name__ == "__main__":
    main()
