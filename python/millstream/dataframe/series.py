"""`StreamingSeries`: an expression over one record's value (section 5 of the parity rows)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from millstream._millstream import Expr, MessageContext
from millstream.core.stream.exceptions import InvalidOperation

if TYPE_CHECKING:
    from millstream._millstream import _BinaryOperator

__all__ = ("StreamingSeries",)

ReturningExecutor = Callable[[Any, Any, int, Any], tuple[Any, Any, int, Any]]


class StreamingSeries:
    """An expression over a record's value, made by `sdf["column"]` and by operations on it.

    It is evaluated once per use and record, natively: no Python runs, except for a function given to `apply()` and
    for operands that only Python knows. Results and errors are Python's. Series of one dataframe combine with each
    other and with constants:

    * arithmetic `+ - * / // % **`, also with the constant on the left, `-series`, `abs(series)`, `round(series)`;
    * comparison `== != < <= > >=`;
    * logic `&`, `|` (lazy; the result is the deciding operand, as of `and` and `or`) and `~` (`not`). Put comparisons
      in parentheses: `(sdf["a"] > 1) & (sdf["b"] < 2)`;
    * `series["key"]` and `series[0]` for what is nested.

    Raises, for a record:
        ColumnDoesNotExist: the value has no such column.
        InvalidColumnReference: the value has no columns at all.

    >>> from millstream.testing import MemoryApplication
    >>> app = MemoryApplication()
    >>> sdf = app.dataframe(app.topic("trips"))
    >>> sdf["speed"] = sdf["km"] / (sdf["minutes"] / 60)
    >>> sdf = sdf[(sdf["speed"] > 50) & ~sdf["city"].isin(["Bern", "Basel"])]
    >>> sdf.test({"km": 30, "minutes": 30, "city": "Chur"})
    [({'km': 30, 'minutes': 30, 'city': 'Chur', 'speed': 60.0}, b'key', 0, None)]
    >>> sdf.test({"km": 30, "minutes": 30, "city": "Bern"})
    []
    """

    __slots__ = ("_expr", "_owner")

    # Equality builds an expression, so a series cannot be a key (S-04), and iterating one would never end (S-15).
    __hash__ = None  # type: ignore[assignment]
    __iter__ = None

    def __init__(self, expr: Expr, owner: object) -> None:
        self._expr = expr
        self._owner = owner

    @property
    def sdf_id(self) -> int:
        """Identifies the dataframe that it belongs to."""
        return id(self._owner)

    # -- Building ------------------------------------------------------------------------------

    def _with(self, expr: Expr) -> StreamingSeries:
        return StreamingSeries(expr, self._owner)

    def _operand(self, other: Any) -> Any:
        if not isinstance(other, StreamingSeries):
            return other
        if other._owner is not self._owner:
            raise InvalidOperation(
                "these two series belong to different dataframes; take both columns from the same one, e.g."
                ' sdf["a"] + sdf["b"], after the last step that gave a new sdf'
            )
        return other._expr

    def _binary(self, operator: _BinaryOperator, other: Any, reflected: bool = False) -> StreamingSeries:
        return self._with(self._expr.binary(operator, self._operand(other), reflected))

    def apply(self, func: Callable[[Any], Any]) -> StreamingSeries:
        """The result of a function of this value (S-06).

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("words"))
        >>> sdf["word"].apply(str.upper).test({"word": "rye"}, b"key", 0)[0]
        'RYE'
        """
        if not callable(func):
            raise TypeError(f"apply() needs a function, not {type(func).__name__}")
        return self._with(self._expr.apply(func))

    def isin(self, other: Any) -> StreamingSeries:
        """Whether this value is in a container, a constant or another series (S-07).

        Of a `list` or `set` the items count that it has now. For a container that changes while the application runs,
        use a function: `series.apply(lambda value: value in container)`.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("trips"))
        >>> sdf["city"].isin({"Bern", "Chur"}).test({"city": "Chur"}, b"key", 0)[0]
        True
        """
        return self._binary("in", other)

    def notin(self, other: Any) -> StreamingSeries:
        """Whether this value is not in a container; the opposite of `isin()`.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("trips"))
        >>> sdf["city"].notin({"Bern", "Chur"}).test({"city": "Chur"}, b"key", 0)[0]
        False
        """
        return self._with(self._expr.binary("in", self._operand(other)).logical_not())

    def contains(self, other: Any) -> StreamingSeries:
        """Whether something, a constant or another series, is in this value (S-08)."""
        return self._binary("in", other, reflected=True)

    def is_(self, other: Any) -> StreamingSeries:
        """Whether this value is the very object `other` (S-09); use it with `None`, `True` and `False`."""
        return self._binary("is", other)

    def isnot(self, other: Any) -> StreamingSeries:
        """Whether this value is another object than `other` (S-09)."""
        return self._with(self._expr.binary("is", self._operand(other)).logical_not())

    def isnull(self) -> StreamingSeries:
        """Whether this value is `None`; the column must exist (S-10)."""
        return self._with(self._expr.is_null())

    def notnull(self) -> StreamingSeries:
        """Whether this value is not `None`; the column must exist (S-10)."""
        return self._with(self._expr.not_null())

    def abs(self) -> StreamingSeries:
        """The absolute value (S-11)."""
        return self._with(self._expr.absolute())

    def __getitem__(self, item: Any) -> StreamingSeries:
        return self._with(self._expr.item(self._operand(item)))

    def __add__(self, other: Any) -> StreamingSeries:
        return self._binary("+", other)

    def __radd__(self, other: Any) -> StreamingSeries:
        return self._binary("+", other, reflected=True)

    def __sub__(self, other: Any) -> StreamingSeries:
        return self._binary("-", other)

    def __rsub__(self, other: Any) -> StreamingSeries:
        return self._binary("-", other, reflected=True)

    def __mul__(self, other: Any) -> StreamingSeries:
        return self._binary("*", other)

    def __rmul__(self, other: Any) -> StreamingSeries:
        return self._binary("*", other, reflected=True)

    def __truediv__(self, other: Any) -> StreamingSeries:
        return self._binary("/", other)

    def __rtruediv__(self, other: Any) -> StreamingSeries:
        return self._binary("/", other, reflected=True)

    def __floordiv__(self, other: Any) -> StreamingSeries:
        return self._binary("//", other)

    def __rfloordiv__(self, other: Any) -> StreamingSeries:
        return self._binary("//", other, reflected=True)

    def __mod__(self, other: Any) -> StreamingSeries:
        return self._binary("%", other)

    def __rmod__(self, other: Any) -> StreamingSeries:
        return self._binary("%", other, reflected=True)

    def __pow__(self, other: Any) -> StreamingSeries:
        return self._binary("**", other)

    def __rpow__(self, other: Any) -> StreamingSeries:
        return self._binary("**", other, reflected=True)

    def __neg__(self) -> StreamingSeries:
        return self._with(self._expr.negate())

    def __abs__(self) -> StreamingSeries:
        return self.abs()

    def __round__(self, ndigits: int | None = None) -> StreamingSeries:
        return self.apply(lambda value: round(value, ndigits))

    def __eq__(self, other: object) -> StreamingSeries:  # type: ignore[override]
        return self._binary("==", other)

    def __ne__(self, other: object) -> StreamingSeries:  # type: ignore[override]
        return self._binary("!=", other)

    def __lt__(self, other: Any) -> StreamingSeries:
        return self._binary("<", other)

    def __le__(self, other: Any) -> StreamingSeries:
        return self._binary("<=", other)

    def __gt__(self, other: Any) -> StreamingSeries:
        return self._binary(">", other)

    def __ge__(self, other: Any) -> StreamingSeries:
        return self._binary(">=", other)

    def __and__(self, other: Any) -> StreamingSeries:
        return self._with(self._expr.logical_and(self._operand(other)))

    def __rand__(self, other: Any) -> StreamingSeries:
        return self._with(self._expr.logical_and(self._operand(other), reflected=True))

    def __or__(self, other: Any) -> StreamingSeries:
        return self._with(self._expr.logical_or(self._operand(other)))

    def __ror__(self, other: Any) -> StreamingSeries:
        return self._with(self._expr.logical_or(self._operand(other), reflected=True))

    def __invert__(self) -> StreamingSeries:
        return self._with(self._expr.logical_not())

    def __bool__(self) -> NoReturn:
        raise InvalidOperation(
            "a series has no truth of its own, only one per record; use & | ~ instead of `and`, `or`, `not`, and"
            ' sdf[...] instead of `if`, e.g. sdf[(sdf["a"] > 1) & (sdf["b"] < 2)]'
        )

    def __contains__(self, item: object) -> NoReturn:
        raise InvalidOperation('`in` cannot build an expression; use sdf["column"].contains(item)')

    # -- Evaluating ----------------------------------------------------------------------------

    def test(
        self,
        value: Any,
        key: Any,
        timestamp: int,
        headers: Any = None,
        ctx: MessageContext | None = None,
    ) -> tuple[Any, Any, int, Any]:
        """Evaluates it on one record (S-12).

        Args:
            value, key, timestamp, headers: the record.
            ctx: what `message_context()` gives inside of functions; made up if it is `None`.

        Returns:
            The result, and key, timestamp and headers as given.
        """
        return self._expr.evaluate(value, key, timestamp, headers, ctx), key, timestamp, headers

    def compose_returning(self) -> ReturningExecutor:
        """A function `(value, key, timestamp, headers)` that does what `test()` does (S-13)."""
        return self.test

    def __repr__(self) -> str:
        return f"<StreamingSeries {self._expr!r}>"
