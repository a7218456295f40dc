"""Aggregations of windows (parity rows W-20 to W-32).

The engine has its own form of the built-in ones and runs no Python for them. Their methods are here because a
subclass may build on them; a subclass runs in Python.

| | Result | Of nothing |
|---|---|---|
| `Count` | how many values | `0` |
| `Sum` | their sum | `0` |
| `Mean` | their mean, a float | `None` |
| `Min`, `Max` | the least, the greatest; of equal ones the first | `None` |
| `First`, `Last` | in order of processing | `None` |
| `Earliest`, `Latest` | by timestamp | `None` |
| `Reduce` | whatever the functions make | `None` |
| `Collect` | a list of all | `[]` |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from millstream._millstream import Aggregation

__all__ = (
    "Aggregator",
    "BaseAggregator",
    "BaseCollector",
    "Collect",
    "Collector",
    "Count",
    "Earliest",
    "First",
    "Last",
    "Latest",
    "Max",
    "Mean",
    "Min",
    "Reduce",
    "Sum",
)

S = TypeVar("S")


class BaseAggregator(ABC, Generic[S]):
    """What an aggregation of your own must have (W-29).

    The state is kept as JSON between records (W-32), so a tuple comes back as a list.
    """

    @property
    @abstractmethod
    def state_suffix(self) -> str:
        """Names the state; change it when the state's form changes, and open windows start anew (W-31)."""

    @abstractmethod
    def initialize(self) -> S:
        """The state of a window that has no record yet."""

    @abstractmethod
    def agg(self, old: S, new: Any, timestamp: int) -> S:
        """The state after `new`, a record's value with its timestamp in ms."""

    @abstractmethod
    def result(self, value: S) -> Any:
        """What is emitted for a state."""

    def merge(self, a: S, b: S) -> S:
        """One state for two sessions that become one; `a` is the earlier. Needed by session windows only."""
        raise NotImplementedError(f"{type(self).__name__} has no merge(), which session windows need")

    @property
    def mergeable(self) -> bool:
        """Whether `merge` is there."""
        return type(self).merge is not BaseAggregator.merge

    def _native(self) -> Aggregation:
        """The engine's form: for a class of the user's, this object itself."""
        return Aggregation.custom(self)


class Aggregator(BaseAggregator[S]):
    """An aggregation over whole values, or over one column of them. Derive your own from it.

    Args:
        column: the column; `None` takes whole values. Values must be dicts if it is given (W-24).

    >>> class Distinct(Aggregator):
    ...     def initialize(self):
    ...         return []
    ...     def agg(self, old, new, timestamp):
    ...         new = new.get(self.column)
    ...         return old if new in old else [*old, new]
    ...     def result(self, value):
    ...         return len(value)
    >>> Distinct("user").state_suffix
    'Distinct/user'
    """

    def __init__(self, column: str | None = None) -> None:
        self.column = column

    @property
    def state_suffix(self) -> str:
        """The name of the class, and of the column."""
        name = type(self).__name__
        return name if self.column is None else f"{name}/{self.column}"

    def _input(self, value: Any) -> Any:
        return value if self.column is None else value.get(self.column)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.column is None else repr(self.column)})"


class _Builtin(Aggregator[Any]):
    """One that the engine has; `None` and missing columns are skipped (W-25)."""

    _kind: str

    def _native(self) -> Aggregation:
        # A subclass may have changed anything, so only the class itself is the engine's.
        if "_kind" not in vars(type(self)) or not isinstance(self.column, str | None):
            return Aggregation.custom(self)
        return Aggregation.builtin(self._kind, self.column)  # type: ignore[arg-type]

    def result(self, value: Any) -> Any:
        """The state itself."""
        return value


class Count(_Builtin):
    """How many values there are that are not `None`. Without a column: how many records with a value.

    >>> from millstream.testing import MemoryApplication
    >>> app = MemoryApplication()
    >>> sdf = app.dataframe(app.topic("rides"))
    >>> sdf = sdf.tumbling_window(1000).agg(rides=Count(), paid=Count("fare")).current()
    >>> sdf.test({"fare": 9.5}, timestamp=5)[0][0]
    {'rides': 1, 'paid': 1, 'start': 0, 'end': 1000}
    >>> sdf.test({}, timestamp=6)[0][0]
    {'rides': 2, 'paid': 1, 'start': 0, 'end': 1000}
    """

    _kind = "count"

    def initialize(self) -> int:
        """0."""
        return 0

    def agg(self, old: int, new: Any, timestamp: int) -> int:
        """One more, if there is a value."""
        return old if self._input(new) is None else old + 1

    def merge(self, a: int, b: int) -> int:
        """The sum."""
        return a + b


class Sum(_Builtin):
    """The sum of the values; 0 if there are none."""

    _kind = "sum"

    def initialize(self) -> Any:
        """0."""
        return 0

    def agg(self, old: Any, new: Any, timestamp: int) -> Any:
        """`old + new`."""
        new = self._input(new)
        return old if new is None else old + new

    def merge(self, a: Any, b: Any) -> Any:
        """The sum."""
        return a + b


class Mean(_Builtin):
    """The mean of the values, a float; `None` if there are none."""

    _kind = "mean"

    def initialize(self) -> Any:
        """No sum, no count."""
        return 0.0, 0

    def agg(self, old: Any, new: Any, timestamp: int) -> Any:
        """Sum and count with `new`."""
        new = self._input(new)
        return old if new is None else (old[0] + new, old[1] + 1)

    def result(self, value: Any) -> float | None:
        """Sum by count."""
        total, count = value
        return total / count if count else None

    def merge(self, a: Any, b: Any) -> Any:
        """Sums and counts together."""
        return a[0] + b[0], a[1] + b[1]


class _Chosen(_Builtin):
    """One of the values."""

    def initialize(self) -> Any:
        """None chosen."""
        return None

    def agg(self, old: Any, new: Any, timestamp: int) -> Any:
        """`old` or `new`."""
        new = self._input(new)
        if new is None:
            return old
        return new if old is None else self._choose(old, new)

    def merge(self, a: Any, b: Any) -> Any:
        """The chosen one of both."""
        if a is None or b is None:
            return b if a is None else a
        return self._choose(a, b)

    def _choose(self, old: Any, new: Any) -> Any:
        raise NotImplementedError


class Max(_Chosen):
    """The greatest value; of equal ones (`1` and `1.0`) the first processed (W-26)."""

    _kind = "max"

    def _choose(self, old: Any, new: Any) -> Any:
        return max(old, new)


class Min(_Chosen):
    """The least value; of equal ones (`1` and `1.0`) the first processed (W-26)."""

    _kind = "min"

    def _choose(self, old: Any, new: Any) -> Any:
        return min(old, new)


class First(_Chosen):
    """The value processed first (W-27)."""

    _kind = "first"

    def _choose(self, old: Any, new: Any) -> Any:
        return old


class Last(_Chosen):
    """The value processed last (W-27)."""

    _kind = "last"

    def _choose(self, old: Any, new: Any) -> Any:
        return new


class _Timed(_Builtin):
    """One of the values, chosen by timestamp. The state is the value with its timestamp."""

    def initialize(self) -> Any:
        """None chosen."""
        return None

    def agg(self, old: Any, new: Any, timestamp: int) -> Any:
        """`old`, or `new` with its timestamp."""
        new = self._input(new)
        if new is None:
            return old
        return (new, timestamp) if old is None or self._replaces(timestamp, old[1]) else old

    def result(self, value: Any) -> Any:
        """The value without its timestamp."""
        return None if value is None else value[0]

    def merge(self, a: Any, b: Any) -> Any:
        """The chosen one of both."""
        if a is None or b is None:
            return b if a is None else a
        return b if self._replaces(b[1], a[1]) else a

    def _replaces(self, timestamp: int, chosen: int) -> bool:
        raise NotImplementedError


class Earliest(_Timed):
    """The value with the smallest timestamp; of equal ones the first processed (W-27)."""

    _kind = "earliest"

    def _replaces(self, timestamp: int, chosen: int) -> bool:
        return timestamp < chosen


class Latest(_Timed):
    """The value with the greatest timestamp; of equal ones the last processed (W-27)."""

    _kind = "latest"

    def _replaces(self, timestamp: int, chosen: int) -> bool:
        return timestamp >= chosen


class Reduce(BaseAggregator[Any]):
    """What functions of yours make of the values (W-21).

    Args:
        reducer: `(accumulated, value) -> accumulated`.
        initializer: `(value) -> accumulated`, for the first value of a window, and again while the accumulated value
            is `None`.
        merger: `(accumulated, accumulated) -> accumulated`, for session windows.
    """

    def __init__(
        self,
        reducer: Callable[[Any, Any], Any],
        initializer: Callable[[Any], Any],
        merger: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        for name, function in (("reducer", reducer), ("initializer", initializer)):
            if not callable(function):
                raise TypeError(f"{name} must be callable, not {type(function).__name__}")
        self._reducer = reducer
        self._initializer = initializer
        self._merger = merger

    @property
    def state_suffix(self) -> str:
        """The name of the class."""
        return type(self).__name__

    def initialize(self) -> Any:
        """Nothing accumulated."""
        return None

    def agg(self, old: Any, new: Any, timestamp: int) -> Any:
        """Calls `initializer` or `reducer`."""
        return self._initializer(new) if old is None else self._reducer(old, new)

    def result(self, value: Any) -> Any:
        """What was accumulated."""
        return value

    def merge(self, a: Any, b: Any) -> Any:
        """Calls `merger`."""
        if self._merger is None:
            return super().merge(a, b)
        if a is None or b is None:
            return b if a is None else a
        return self._merger(a, b)

    @property
    def mergeable(self) -> bool:
        """Whether a `merger` was given."""
        return self._merger is not None or type(self).merge is not Reduce.merge

    def _native(self) -> Aggregation:
        if type(self) is not Reduce:
            return Aggregation.custom(self)
        return Aggregation.reduce(self._reducer, self._initializer, self._merger)


class BaseCollector(ABC):
    """What a collection of your own must have (W-29)."""

    @property
    @abstractmethod
    def column(self) -> str | None:
        """The column that is collected; `None` for whole values."""

    @abstractmethod
    def result(self, items: Iterable[Any]) -> Any:
        """What is emitted for the collected values."""

    def _native(self) -> Aggregation:
        """The engine's form: for a class of the user's, this object itself."""
        return Aggregation.custom_collector(self)


class Collector(BaseCollector):
    """A collection of whole values, or of one column of them. Derive your own from it.

    Args:
        column: the column; every value must have it (W-28). `None` takes whole values.
    """

    def __init__(self, column: str | None = None) -> None:
        self._column = column

    @property
    def column(self) -> str | None:
        """The column that is collected; `None` for whole values."""
        return self._column

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.column is None else repr(self.column)})"


class Collect(Collector):
    """All values in a list, by ascending timestamp, equal ones in order of arrival (W-22). For `final()` only."""

    def result(self, items: Iterable[Any]) -> list[Any]:
        """The list."""
        return list(items)

    def _native(self) -> Aggregation:
        if type(self) is not Collect or not isinstance(self.column, str | None):
            return Aggregation.custom_collector(self)
        return Aggregation.builtin("collect", self.column)
