"""Expressions as plain lists, and how to build series of them, Quix Streams' or Millstream's.

`["column", name]`, `["index", container, index]`, `["and", a, b]`, `["or", a, b]`, `["not", a]`, `["abs", a]`,
`["neg", a]`, `["isnull", a]`, `["notnull", a]`, `["isin", a, b]`, `["notin", a, b]`, `["contains", a, b]`,
`["isnot", a, b]`, `["has", keys]`, and `[op, a, b]` for the operators below. An operand that is no such list is a
constant; a constant that is a list never starts with one of these words.
"""

import operator
from collections.abc import Callable
from typing import Any

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
    "//": operator.floordiv,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda left, right: left in right,
    "is": operator.is_,
}

METHODS = ("isin", "contains", "isnot")
WORDS = {*BINARY, *METHODS, "column", "index", "and", "or", "not", "abs", "neg", "isnull", "notnull", "notin", "has"}


def is_tree(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], str) and part[0] in WORDS


def build(
    sdf: Any,
    tree: Any,
    binary: Callable[[str, Any, Any], Any],
    negate: Callable[[Any], Any] = operator.neg,
) -> Any:
    """The series of a tree over a dataframe; `binary` combines two operands, one of them a series at least."""
    if not is_tree(tree):
        return tree
    word, *parts = tree
    if word == "column":
        return sdf[parts[0]]
    if word == "has":
        return sdf.contains(parts[0])
    first, *others = (build(sdf, part, binary, negate) for part in parts)
    match word:
        case "index":
            return first[others[0]]
        case "and":
            return first & others[0]
        case "or":
            return first | others[0]
        case "not":
            return ~first
        case "notin":
            return ~first.isin(others[0])
        case "neg":
            return negate(first)
        case "abs" | "isnull" | "notnull":
            return getattr(first, word)()
        case _ if word in METHODS:
            return getattr(first, word)(others[0])
        case _:
            return binary(word, first, others[0])
