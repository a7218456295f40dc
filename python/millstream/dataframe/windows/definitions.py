"""Windows: definition, aggregation, emission (parity rows W-01 to W-41).

A window is written in three steps: `sdf.tumbling_window(...)` says which records belong together, `.sum()` or
`.agg(...)` what to make of them, `.final()` or `.current()` when to emit. The last step returns a dataframe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from millstream._millstream import Aggregation
from millstream.core.stream.exceptions import InvalidOperation
from millstream.exceptions import NotSupportedYet

from .aggregations import BaseAggregator, BaseCollector, Collect, Count, Max, Mean, Min, Reduce, Sum

if TYPE_CHECKING:
    from millstream.dataframe.dataframe import StreamingDataFrame

__all__ = (
    "ClosingStrategy",
    "HoppingCountWindowDefinition",
    "HoppingTimeWindowDefinition",
    "SessionWindowDefinition",
    "SlidingCountWindowDefinition",
    "SlidingTimeWindowDefinition",
    "TumblingCountWindowDefinition",
    "TumblingTimeWindow",
    "TumblingTimeWindowDefinition",
    "WindowAfterUpdateCallback",
    "WindowBeforeUpdateCallback",
    "WindowOnLateCallback",
)

ClosingStrategy = Literal["key", "partition"]

WindowBeforeUpdateCallback = Callable[[Any, Any, Any, int, Any], bool]
"""`(aggregated, value, key, timestamp, headers) -> bool`, see W-54."""
WindowAfterUpdateCallback = Callable[[Any, Any, Any, int, Any], bool]
"""`(aggregated, value, key, timestamp, headers) -> bool`, see W-55."""


class WindowOnLateCallback(Protocol):
    """Called for each window that a record came too late for (W-53)."""

    def __call__(
        self,
        value: Any,
        key: Any,
        timestamp_ms: int,
        late_by_ms: int,
        start: int,
        end: int,
        store_name: str,
        topic: str,
        partition: int,
        offset: int,
        /,
    ) -> bool:
        """True: the standard warning is logged as well."""


class TumblingTimeWindow:
    """A tumbling window with its aggregation; `final()` or `current()` make a dataframe of it."""

    def __init__(
        self,
        definition: TumblingTimeWindowDefinition,
        aggregations: Mapping[str, BaseAggregator[Any] | BaseCollector],
        shortcut: str | None,
    ) -> None:
        self._definition = definition
        self._aggregations = aggregations
        self._shortcut = shortcut

    @property
    def name(self) -> str:
        """Name of the window's store (W-09)."""
        parts = [self._definition.name, f"tumbling_window_{self._definition.duration_ms}", self._shortcut]
        return "_".join(part for part in parts if part)

    def current(self, closing_strategy: ClosingStrategy = "key") -> StreamingDataFrame:
        """Emits a window's result so far, each time a record has changed it (W-37).

        Args:
            closing_strategy: `"key"`: a window closes when a later record of its key arrives; `"partition"`: a later
                record of its partition.

        Raises:
            InvalidOperation: the window collects values.
            StoreAlreadyRegisteredError: the stream has a window with this store name; give this one a `name`.
            TypeError: another closing strategy.
        """
        if any(isinstance(aggregation, BaseCollector) for aggregation in self._aggregations.values()):
            raise InvalidOperation("windows that collect values emit them with final(), not with current()")
        return self._emit("current", closing_strategy)

    def final(self, closing_strategy: ClosingStrategy = "key") -> StreamingDataFrame:
        """Emits each window once, when it closes (W-38): when the time in its scope has reached `end + grace_ms`.

        Args:
            closing_strategy: whose records move time: `"key"`, those of the same key; `"partition"`, all.

        Raises:
            StoreAlreadyRegisteredError: the stream has a window with this store name; give this one a `name`.
            TypeError: another closing strategy.
        """
        return self._emit("final", closing_strategy)

    def _emit(self, emit: Literal["current", "final"], closing_strategy: str) -> StreamingDataFrame:
        strategy = closing_strategy.lower() if isinstance(closing_strategy, str) else closing_strategy
        if strategy not in ("key", "partition"):
            raise TypeError(f"closing_strategy must be 'key' or 'partition', not {closing_strategy!r}")
        # W-35: aggregators before collectors, whatever the order they were written in.
        ordered = sorted(self._aggregations.items(), key=lambda item: isinstance(item[1], BaseCollector))
        definition = self._definition
        return definition.dataframe._add_window(
            duration_ms=definition.duration_ms,
            grace_ms=definition.grace_ms,
            name=definition.name,
            aggregations=[(column, aggregation._native()) for column, aggregation in ordered],
            shortcut=self._shortcut,
            emit=emit,
            closing_strategy=strategy,
            on_late=definition.on_late,
            before_update=definition.before_update,
            after_update=definition.after_update,
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(type(self._definition.dataframe), name):
            raise InvalidOperation(
                f"a window is no dataframe yet, so it has no {name}(): say when it emits first, with .final() or"
                f" .current(), e.g. .final().{name}(...)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<TumblingTimeWindow {self.name}>"


class TumblingTimeWindowDefinition:
    """Windows of equal length, one after the other; see `StreamingDataFrame.tumbling_window()`."""

    def __init__(
        self,
        duration_ms: int,
        grace_ms: int,
        dataframe: StreamingDataFrame,
        name: str | None = None,
        on_late: WindowOnLateCallback | None = None,
        before_update: WindowBeforeUpdateCallback | None = None,
        after_update: WindowAfterUpdateCallback | None = None,
    ) -> None:
        if duration_ms < 1:
            raise ValueError(f"a window's duration_ms must be at least 1, not {duration_ms}")
        if grace_ms < 0:
            raise ValueError(f"a window's grace_ms must not be negative, got {grace_ms}; 0 drops every late record")
        self.duration_ms = duration_ms
        self.grace_ms = grace_ms
        self.dataframe = dataframe
        self.name = name
        self.on_late = on_late
        self.before_update = before_update
        self.after_update = after_update

    def sum(self) -> TumblingTimeWindow:
        """The sum of the values, as field `value`."""
        return self._shortcut("sum", Sum())

    def count(self) -> TumblingTimeWindow:
        """How many values, as field `value`."""
        return self._shortcut("count", Count())

    def mean(self) -> TumblingTimeWindow:
        """The mean of the values, as field `value`."""
        return self._shortcut("mean", Mean())

    def max(self) -> TumblingTimeWindow:
        """The greatest value, as field `value`."""
        return self._shortcut("max", Max())

    def min(self) -> TumblingTimeWindow:
        """The least value, as field `value`."""
        return self._shortcut("min", Min())

    def reduce(
        self,
        reducer: Callable[[Any, Any], Any],
        initializer: Callable[[Any], Any],
        merger: Callable[[Any, Any], Any] | None = None,
    ) -> TumblingTimeWindow:
        """What functions of yours make of the values, as field `value` (W-21).

        Args:
            reducer: `(accumulated, value) -> accumulated`.
            initializer: `(value) -> accumulated`, for the first value.
            merger: for session windows.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("words"))
        >>> longest = sdf.tumbling_window(1000).reduce(lambda old, new: max(old, new, key=len), lambda word: word)
        >>> sdf = longest.current()
        >>> sdf.test("rye")[0][0], sdf.test("barley")[0][0]
        ({'start': 0, 'end': 1000, 'value': 'rye'}, {'start': 0, 'end': 1000, 'value': 'barley'})
        """
        return self._shortcut("reduce", Reduce(reducer, initializer, merger))

    def collect(self) -> TumblingTimeWindow:
        """All values in a list, as field `value`; for `final()` only (W-22)."""
        return self._shortcut("collect", Collect())

    def agg(self, **operations: BaseAggregator[Any] | BaseCollector) -> TumblingTimeWindow:
        """Several aggregations at once, each under its keyword (W-23).

        Raises:
            ValueError: none given, or one called `start` or `end`.
            TypeError: something that is no aggregation.

        >>> from millstream.testing import MemoryApplication
        >>> from millstream.dataframe.windows import Max, Mean
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("readings"))
        >>> sdf = sdf.tumbling_window(1000).agg(mean=Mean("celsius"), peak=Max("celsius")).current()
        >>> sdf.test({"celsius": 20})[0][0]
        {'mean': 20.0, 'peak': 20, 'start': 0, 'end': 1000}
        """
        if not operations:
            raise ValueError("agg() needs at least one aggregation, e.g. agg(total=Sum('amount'))")
        for column, operation in operations.items():
            if column in ("start", "end"):
                raise ValueError(f"{column!r} is a field of every window's result; choose another name")
            if not isinstance(operation, BaseAggregator | BaseCollector):
                raise TypeError(
                    f"{column!r} must be an aggregation such as Sum('amount'), not {type(operation).__name__}"
                )
        return TumblingTimeWindow(self, operations, None)

    def _shortcut(self, name: str, aggregation: BaseAggregator[Any] | BaseCollector) -> TumblingTimeWindow:
        return TumblingTimeWindow(self, {"value": aggregation}, name)

    def __getattr__(self, name: str) -> Any:
        if name in ("final", "current"):
            raise InvalidOperation(
                f"a window needs an aggregation before {name}(): e.g. .count().{name}() or"
                f" .agg(total=Sum('amount')).{name}()"
            )
        # What users try on a definition is usually something of a dataframe.
        if not name.startswith("_") and hasattr(type(self.dataframe), name):
            raise InvalidOperation(
                f"a window is no dataframe yet, so it has no {name}(): add an aggregation and an emission first, e.g."
                f" .count().final().{name}(...)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<TumblingTimeWindowDefinition duration_ms={self.duration_ms} grace_ms={self.grace_ms}>"


class _LaterDefinition:
    """A kind of window that Quix Streams has and this release does not."""

    _what: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotSupportedYet(self._what, "use tumbling_window(duration_ms=...)")


class HoppingTimeWindowDefinition(_LaterDefinition):
    """Overlapping windows of equal length: not supported yet."""

    _what = "hopping_window()"


class SlidingTimeWindowDefinition(_LaterDefinition):
    """Windows placed by the records: not supported yet."""

    _what = "sliding_window()"


class SessionWindowDefinition(_LaterDefinition):
    """Windows delimited by silence: not supported yet."""

    _what = "session_window()"


class TumblingCountWindowDefinition(_LaterDefinition):
    """Windows of so many records: not supported yet."""

    _what = "tumbling_count_window()"


class HoppingCountWindowDefinition(_LaterDefinition):
    """Overlapping windows of so many records: not supported yet."""

    _what = "hopping_count_window()"


class SlidingCountWindowDefinition(_LaterDefinition):
    """Windows of the last so many records: not supported yet."""

    _what = "sliding_count_window()"


# The engine's type, for annotations of `StreamingDataFrame._add_window`.
Aggregations = list[tuple[str, Aggregation]]
