"""`StreamingDataFrame`: a pipeline, written step by step (section 4 of the parity rows)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from millstream._millstream import Expr, MessageContext, TopicSpec
from millstream.core.stream.exceptions import InvalidOperation
from millstream.exceptions import NotSupportedYet
from millstream.models.topics import Topic
from millstream.state.memory import MemoryStore
from millstream.state.rocksdb.store import RocksDBStore

from .durations import ensure_milliseconds
from .series import StreamingSeries
from .windows.definitions import (
    HoppingCountWindowDefinition,
    HoppingTimeWindowDefinition,
    SessionWindowDefinition,
    SlidingCountWindowDefinition,
    SlidingTimeWindowDefinition,
    TumblingCountWindowDefinition,
    TumblingTimeWindowDefinition,
    WindowAfterUpdateCallback,
    WindowBeforeUpdateCallback,
    WindowOnLateCallback,
)

if TYPE_CHECKING:
    from millstream.models.serializers import DeserializerType, SerializerType
    from millstream.processing import ProcessingContext

__all__ = ("StreamingDataFrame",)

# What a user function is called with depends on `stateful` and `metadata` (D-08), so its type says little.
UserFunction = Callable[..., Any]
Executor = Callable[[Any, Any, int, Any], None]
Leaf = tuple[Any, Any, int, Any]


class StreamingDataFrame:
    """A pipeline over the records of a topic, made by `Application.dataframe()` and by steps on another one.

    Nothing runs while it is written; `Application.run()` runs it (D-01). A step either changes this object and returns
    it, or returns a new dataframe (D-02):

    * in place: `update`, `to_topic`, `print`, `print_table`, `fill`, `drop`, `sdf[column] = ...`;
    * new: `apply`, `filter`, `sdf[condition]`, `sdf[[columns]]`, `group_by`, `set_timestamp`, `set_headers`, windows.
      Assign the result, `sdf = sdf.apply(...)`; otherwise it is a branch that ends there.

    Several steps on one dataframe make branches, which each record passes in the order they were written (D-03); each
    branch has the value to itself (D-04). User functions get the value; with `metadata=True` value, key, timestamp and
    headers; with `stateful=True` the state of the record's key as last argument (D-08).

    >>> from millstream.testing import MemoryApplication
    >>> app = MemoryApplication()
    >>> sdf = app.dataframe(app.topic("readings"))
    >>> sdf["fahrenheit"] = sdf["celsius"] * 9 / 5 + 32
    >>> sdf = sdf[sdf["fahrenheit"] > 100]
    >>> sdf.test({"celsius": 40})
    [({'celsius': 40, 'fahrenheit': 104.0}, b'key', 0, None)]
    >>> sdf.test({"celsius": 20})
    []
    """

    def __init__(self, *topics: Topic, processing_context: ProcessingContext, node: int) -> None:
        self._topics = topics
        self._context = processing_context
        self._node = node
        self._context.registry.register_stream_id(self.stream_id, [topic.name for topic in topics])

    # -- What it is ----------------------------------------------------------------------------

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that its records come from."""
        return self._topics

    @property
    def stream_id(self) -> str:
        """What its state belongs to: the topic's name, or that of the repartition topic (T-21)."""
        return self._context.builder.stream_id(self._node)

    @property
    def stream(self) -> int:
        """The step that it stands at, a number in the topology."""
        return self._node

    @property
    def processing_context(self) -> ProcessingContext:
        """What it shares with the other dataframes of the application."""
        return self._context

    def register_store(self, store_type: type[RocksDBStore] | type[MemoryStore] | None = None) -> None:
        """Declares the default state store of its stream, as a stateful function does (D-10). The first declaration
        counts (ST-41).

        Args:
            store_type: `millstream.state.memory.MemoryStore` for one that is kept in memory and rebuilt from its
                changelog at each start. Default: on disk.

        Raises:
            ValueError: it is no kind of store.
        """
        if store_type not in (None, RocksDBStore, MemoryStore):
            raise ValueError(f"store_type is MemoryStore or RocksDBStore, not {store_type!r}")
        self._context.topic_manager.ensure_topics_copartitioned(*self._topics)
        self._context.builder.register_store(self._node, in_memory=store_type is MemoryStore)
        self._settled()

    # -- Building ------------------------------------------------------------------------------

    def _settled(self, formats: dict[str, Any] | None = None) -> None:
        self._context.settle(self.stream_id, formats)

    def _in_place(self, node: int) -> StreamingDataFrame:
        # First: if it fails the node is gone, and this dataframe stays where it was.
        self._settled()
        self._node = node
        return self

    def _new(self, node: int, topics: Iterable[Topic] | None = None) -> StreamingDataFrame:
        self._settled()
        return StreamingDataFrame(
            *(self._topics if topics is None else topics), processing_context=self._context, node=node
        )

    @staticmethod
    def _callable(what: str, function: object) -> Any:
        if not callable(function):
            raise TypeError(f"{what} needs a function, not {type(function).__name__}")
        return function

    # -- Functions -----------------------------------------------------------------------------

    def apply(
        self, func: UserFunction, *, stateful: bool = False, expand: bool = False, metadata: bool = False
    ) -> StreamingDataFrame:
        """The function's result becomes the value (D-20). New dataframe.

        Args:
            func: `(value) -> value`, or as `stateful` and `metadata` say. `None` is a value like any other.
            stateful: the function takes the `State` of the record's key as last argument.
            expand: the result is iterated, and each item becomes a record, which runs to the end of the pipeline
                before the next is taken.
            metadata: the function takes value, key, timestamp (ms) and headers.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("lines"))
        >>> def count(word, state):
        ...     total = state.get("total", 0) + 1
        ...     state.set("total", total)
        ...     return word, total
        >>> sdf = sdf.apply(str.split, expand=True).apply(count, stateful=True)
        >>> [value for value, key, timestamp, headers in sdf.test("to be or")]
        [('to', 1), ('be', 2), ('or', 3)]
        """
        self._callable("apply()", func)
        return self._new(
            self._context.builder.apply(self._node, func, expand=expand, metadata=metadata, stateful=stateful)
        )

    def update(self, func: UserFunction, *, stateful: bool = False, metadata: bool = False) -> StreamingDataFrame:
        """Calls a function for what it does; its result is ignored (D-21). In place.

        Args:
            func: `(value)`, or as `stateful` and `metadata` say. It may change the value.
            stateful, metadata: as in `apply()`.
        """
        self._callable("update()", func)
        return self._in_place(
            self._context.builder.update(self._node, func, metadata=metadata, stateful=stateful)
        )

    def filter(self, func: UserFunction, *, stateful: bool = False, metadata: bool = False) -> StreamingDataFrame:
        """Keeps the records for which a function gives something true (D-22). New dataframe.

        Args:
            func: `(value) -> bool`, or as `stateful` and `metadata` say.
            stateful, metadata: as in `apply()`.
        """
        self._callable("filter()", func)
        return self._new(
            self._context.builder.filter(self._node, func, metadata=metadata, stateful=stateful)
        )

    # -- Columns -------------------------------------------------------------------------------

    @overload
    def __getitem__(self, item: str) -> StreamingSeries: ...
    @overload
    def __getitem__(self, item: StreamingSeries | StreamingDataFrame | list[Any]) -> StreamingDataFrame: ...
    def __getitem__(self, item: Any) -> StreamingSeries | StreamingDataFrame:
        """`sdf["column"]`: the column (D-30). `sdf[["a", "b"]]`: these columns only (D-31). `sdf[condition]`: the
        records for which it is true (D-32, D-33); the latter two are new dataframes.

        Raises:
            TypeError: another kind of index.
            ValueError: an empty column name.
            InvalidOperation, ValueError: a dataframe that cannot be a condition here (D-35).
        """
        if isinstance(item, StreamingSeries):
            return self._new(self._context.builder.filter_expr(self._node, item._expr))
        if isinstance(item, StreamingDataFrame):
            return self._new(self._context.builder.filter_chain(self._node, self._chain(item)))
        if isinstance(item, list):
            return self._new(self._context.builder.project(self._node, item))
        if isinstance(item, str):
            if not item:
                raise ValueError("a column's name must not be empty")
            return StreamingSeries(Expr.column(item), self)
        raise TypeError(
            f"sdf[...] takes a column's name, a list of names, or a condition, not {type(item).__name__}"
        )

    def __setitem__(self, column: Any, value: Any) -> None:
        """Sets a column to a constant, a series or the result of `sdf.apply(...)` (D-34). In place.

        Raises:
            InvalidOperation, ValueError: the series or dataframe does not belong to this dataframe as it stands (D-35).
        """
        builder = self._context.builder
        if isinstance(value, StreamingSeries):
            if value._owner is not self:
                raise InvalidOperation(
                    "this series belongs to another dataframe; take its columns from the one assigned to, e.g."
                    ' sdf["c"] = sdf["a"] + sdf["b"], after the last step that gave a new sdf'
                )
            node = builder.assign_expr(self._node, column, value._expr)
        elif isinstance(value, StreamingDataFrame):
            node = builder.assign_chain(self._node, column, self._chain(value))
        else:
            node = builder.assign_constant(self._node, column, value)
        self._in_place(node)

    def _chain(self, other: StreamingDataFrame) -> int:
        if other._context is not self._context:
            raise InvalidOperation("this dataframe belongs to another application")
        if other is self or other._node == self._node:
            raise InvalidOperation(
                'a dataframe cannot be its own column or condition; use sdf.apply(...), e.g. sdf["x"] = sdf.apply(f)'
            )
        return other._node

    def contains(self, keys: str | Iterable[Any]) -> StreamingSeries:
        """Whether a key, or all of several, are in the value: Python's `in` (D-36).

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("readings"))
        >>> sdf["complete"] = sdf.contains(["celsius", "humidity"])
        >>> sdf.test({"celsius": 20})[0][0]
        {'celsius': 20, 'complete': False}
        """
        return StreamingSeries(Expr.has_keys([keys] if isinstance(keys, str) else keys), self)

    def drop(
        self, columns: str | list[str], errors: Literal["ignore", "raise"] = "raise"
    ) -> StreamingDataFrame:
        """Removes columns (D-37). In place.

        Args:
            columns: one or several names.
            errors: what a missing column does: `"raise"` a `KeyError`, or `"ignore"`.

        Raises:
            TypeError: `columns` is neither.
        """
        if isinstance(columns, str):
            columns = [columns]
        elif not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise TypeError("drop() takes a column's name or a list of names")
        if not columns:
            return self
        return self._in_place(self._context.builder.drop(self._node, columns, errors == "ignore"))

    def fill(self, *columns: str, **mapping: Any) -> StreamingDataFrame:
        """Sets columns that are missing or `None` (D-38). In place. Values that are no dicts pass unchanged.

        Args:
            columns: names of columns to set to `None`.
            mapping: columns with the values to set.

        Raises:
            ValueError: no column named.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("readings")).fill("note", unit="celsius")
        >>> sdf.test({"unit": None})[0][0]
        {'unit': 'celsius', 'note': None}
        """
        filled = {**dict.fromkeys(columns), **mapping}
        if not filled:
            raise ValueError('fill() needs a column, e.g. fill("a") or fill(a=0)')
        return self._in_place(self._context.builder.fill(self._node, list(filled.items())))

    # -- Keys, time, headers -------------------------------------------------------------------

    def group_by(
        self,
        key: str | Callable[[Any], Any],
        name: str | None = None,
        value_deserializer: DeserializerType = "json",
        key_deserializer: DeserializerType = "json",
        value_serializer: SerializerType = "json",
        key_serializer: SerializerType = "json",
    ) -> StreamingDataFrame:
        """Gives records a new key (D-40 to D-44). New dataframe.

        With several partitions the records go through a repartition topic, so that equal keys meet in one partition;
        value and key are written and read by the formats given. With one partition they are re-keyed on the spot.

        Args:
            key: a column, or `(value) -> key`.
            name: names the operation; required with a function. It is part of the names of topics and of state.
            value_deserializer, key_deserializer, value_serializer, key_serializer: formats of the repartition topic.

        Raises:
            ValueError: no key, or a function without `name`.
            TypeError: `key` is neither text nor function.
            GroupByNestingLimit: this dataframe is grouped already.
            GroupByDuplicate: the operation's name is taken.
        """
        if not isinstance(key, str) and not callable(key):
            if name and key:
                raise TypeError(f"group_by() takes a column's name or a function, not {type(key).__name__}")
            raise ValueError("group_by() takes a column's name or a function with name=...")
        if not key:
            raise ValueError("group_by() needs a key: a column's name, or a function with name=...")
        operation = name or (key if isinstance(key, str) else None)
        if not operation:
            raise ValueError("group_by() with a function needs name=..., which becomes part of topic names")
        formats: dict[str, Any] = {
            "value_deserializer": value_deserializer,
            "key_deserializer": key_deserializer,
            "value_serializer": value_serializer,
            "key_serializer": key_serializer,
        }
        # A topic object resolves and checks the four.
        checked = Topic(operation, **formats)
        node = self._context.builder.group_by(
            self._node,
            operation,
            key,
            key_serializer=checked._key_serializer,
            value_serializer=checked._value_serializer,
            key_deserializer=checked._key_deserializer,
            value_deserializer=checked._value_deserializer,
        )
        self._settled(formats)
        repartition = self._context.topic_manager.repartition_topics.get(self._context.builder.stream_id(node))
        return self._new(node, None if repartition is None else [repartition])

    def set_timestamp(self, func: Callable[[Any, Any, int, Any], int]) -> StreamingDataFrame:
        """Gives records another timestamp from here on (D-51). New dataframe.

        Args:
            func: `(value, key, timestamp, headers) -> timestamp`, in ms since the epoch.
        """
        return self._new(
            self._context.builder.set_timestamp(self._node, self._callable("set_timestamp()", func))
        )

    def set_headers(self, func: Callable[[Any, Any, int, Any], Any]) -> StreamingDataFrame:
        """Replaces all headers (D-52). New dataframe.

        Args:
            func: `(value, key, timestamp, headers) -> headers`, pairs of name and bytes or text; it gets a list of its
                own. `None`: no headers.
        """
        return self._new(self._context.builder.set_headers(self._node, self._callable("set_headers()", func)))

    # -- Output --------------------------------------------------------------------------------

    def to_topic(
        self,
        topic: Topic | Callable[[Any, Any, int, Any], Topic],
        key: Callable[[Any], Any] | None = None,
    ) -> StreamingDataFrame:
        """Writes the records to a topic, with their timestamp and headers (D-50). In place.

        Args:
            topic: the topic, or `(value, key, timestamp, headers) -> topic`.
            key: `(value) -> key`, in place of the record's key.

        >>> from millstream.testing import MemoryApplication, TopologyTestDriver
        >>> app = MemoryApplication()
        >>> readings, alarms = app.topic("readings"), app.topic("alarms")
        >>> sdf = app.dataframe(readings)
        >>> sdf = sdf[sdf["celsius"] > 30].to_topic(alarms)
        >>> with TopologyTestDriver(app) as driver:
        ...     driver.pipe_input(readings, {"celsius": 35}, key="kitchen")
        ...     driver.read_output(alarms).value
        {'celsius': 35}
        """
        target: TopicSpec | Callable[[Any, Any, int, Any], TopicSpec]
        if isinstance(topic, Topic):
            target = topic._spec()
        elif callable(topic):
            target = _choosing(topic)
        else:
            raise TypeError(
                f"to_topic() takes a Topic or a function that gives one, not {type(topic).__name__}; make it with"
                " app.topic(...)"
            )
        if key is not None:
            self._callable("to_topic(key=...)", key)
        return self._in_place(self._context.builder.to_topic(self._node, target, key))

    def print(self, pretty: bool = True, metadata: bool = False) -> StreamingDataFrame:
        """Prints each record to stdout as `{"value": ...}` (D-54). In place.

        Args:
            pretty: over several lines, indented.
            metadata: with key, timestamp and headers.
        """
        return self._in_place(self._context.builder.print(self._node, pretty, metadata))

    def print_table(
        self,
        size: int = 5,
        title: str | None = None,
        metadata: bool = True,
        timeout: float = 5.0,
        live: bool = True,
        live_slowdown: float = 0.5,
        columns: list[str] | None = None,
        column_widths: dict[str, int] | None = None,
    ) -> StreamingDataFrame:
        """Shows the last records in a table (D-55). In place.

        On a terminal the table is redrawn as records come. Elsewhere, or with `live=False`, whole tables are printed.

        Args:
            size: rows.
            title: a line above.
            metadata: with the columns `_key` and `_timestamp` in front.
            timeout: seconds after which a table that is not full is printed, when not live.
            live: redraw on a terminal.
            live_slowdown: seconds to wait after each redraw.
            columns: which columns, in this order. Default: all, as they turn up.
            column_widths: widths in characters. Default: as needed.
        """
        if columns is not None:
            if not columns and not metadata:
                warnings.warn(f"the table {title!r} has no columns and will be empty", stacklevel=2)
            if metadata:
                columns = ["_key", "_timestamp", *columns]
        printer = self._context.printer
        table = printer.add_table(size, title, timeout, live, live_slowdown, columns, column_widths)
        if metadata:

            def add(value: Any, key: Any, timestamp: int, headers: Any) -> None:
                printer.add_row(table, value, (key, timestamp))

            return self.update(add, metadata=True)

        def add_value(value: Any) -> None:
            printer.add_row(table, value, None)

        return self.update(add_value)

    # -- Windows -------------------------------------------------------------------------------

    def tumbling_window(
        self,
        duration_ms: int | timedelta,
        grace_ms: int | timedelta = 0,
        name: str | None = None,
        on_late: WindowOnLateCallback | None = None,
        before_update: WindowBeforeUpdateCallback | None = None,
        after_update: WindowAfterUpdateCallback | None = None,
    ) -> TumblingTimeWindowDefinition:
        """Puts the records of each key into windows `[k * duration, (k + 1) * duration)` by timestamp (W-01).

        Goes on with an aggregation and an emission: `.count().final()`. Records without a key are skipped with a
        warning (W-10). A window's result has its start as timestamp, the record's key, and no headers (W-36).

        Args:
            duration_ms: length, ms or a `timedelta`; at least 1.
            grace_ms: how long after its end a window still takes records, in event time. Default: 0.
            name: goes into the name of the window's state; needed for a second window like this on one stream (W-09).
            on_late: called for each window that a record is too late for: `(value, key, timestamp, late_by_ms, start,
                end, store_name, topic, partition, offset) -> bool`. True logs the standard warning, too.
            before_update: `(aggregated, value, key, timestamp, headers) -> bool`; true emits and deletes the window
                without this value (W-54).
            after_update: the same with this value (W-55).

        Raises:
            TypeError: a length is neither int nor `timedelta`.
            ValueError: `duration_ms` below 1, or `grace_ms` below 0.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("readings"))
        >>> sdf = sdf.apply(lambda value: value["celsius"])
        >>> sdf = sdf.tumbling_window(duration_ms=1000).mean().final()
        >>> sdf.test({"celsius": 20}, timestamp=100), sdf.test({"celsius": 22}, timestamp=900)
        ([], [])
        >>> sdf.test({"celsius": 30}, timestamp=1000)
        [({'start': 0, 'end': 1000, 'value': 21.0}, b'key', 0, None)]
        """
        return TumblingTimeWindowDefinition(
            ensure_milliseconds(duration_ms),
            ensure_milliseconds(grace_ms),
            self,
            name,
            on_late,
            before_update,
            after_update,
        )

    def _add_window(self, **window: Any) -> StreamingDataFrame:
        self._context.topic_manager.ensure_topics_copartitioned(*self._topics)
        return self._new(self._context.builder.window(self._node, **window))

    def hopping_window(self, *args: Any, **kwargs: Any) -> HoppingTimeWindowDefinition:
        """Not supported yet: use `tumbling_window()`."""
        return HoppingTimeWindowDefinition()

    def sliding_window(self, *args: Any, **kwargs: Any) -> SlidingTimeWindowDefinition:
        """Not supported yet: use `tumbling_window()`."""
        return SlidingTimeWindowDefinition()

    def session_window(self, *args: Any, **kwargs: Any) -> SessionWindowDefinition:
        """Not supported yet: use `tumbling_window()`."""
        return SessionWindowDefinition()

    def tumbling_count_window(self, *args: Any, **kwargs: Any) -> TumblingCountWindowDefinition:
        """Not supported yet: use `tumbling_window()`."""
        return TumblingCountWindowDefinition()

    def hopping_count_window(self, *args: Any, **kwargs: Any) -> HoppingCountWindowDefinition:
        """Not supported yet: use `tumbling_window()`."""
        return HoppingCountWindowDefinition()

    def sliding_count_window(self, *args: Any, **kwargs: Any) -> SlidingCountWindowDefinition:
        """Not supported yet: use `tumbling_window()`."""
        return SlidingCountWindowDefinition()

    # -- Not in this release -------------------------------------------------------------------

    def sink(self, sink: object) -> NoReturn:
        """Not supported yet: use `to_topic()` or `update()`."""
        raise NotSupportedYet(
            "sdf.sink()", "write to a topic with sdf.to_topic(...), or call your client in sdf.update(...)"
        )

    def concat(self, other: StreamingDataFrame) -> NoReturn:
        """Not supported yet: write both streams to one topic."""
        raise NotSupportedYet("sdf.concat()", "write both streams to one topic with to_topic(), and read that one")

    def join_asof(self, right: StreamingDataFrame, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet: keep one side in state."""
        raise NotSupportedYet(
            "sdf.join_asof()", "write both sides to one topic and keep the right one in State, per key"
        )

    def join_interval(self, right: StreamingDataFrame, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet: keep both sides in state."""
        raise NotSupportedYet("sdf.join_interval()", "write both sides to one topic and keep them in State, per key")

    def join_lookup(self, lookup: object, fields: object, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported yet: look values up in a function."""
        raise NotSupportedYet("sdf.join_lookup()", "look the fields up in sdf.update(...)")

    # -- Trying it out -------------------------------------------------------------------------

    def test(
        self,
        value: Any,
        key: Any = b"key",
        timestamp: int = 0,
        headers: Any = None,
        ctx: MessageContext | None = None,
        topic: Topic | None = None,
    ) -> list[Leaf]:
        """Runs one record through everything that reads this dataframe's topic, without Kafka (D-60).

        State lasts from one call to the next, until a step is added. Topics are not written; use
        `millstream.testing.TopologyTestDriver` to see what would be.

        Args:
            value, key: objects, as if they were deserialized.
            timestamp: ms since the epoch.
            headers: list of pairs, or `None`.
            ctx: what `message_context()` gives; made up (partition 0, offset 0) if it is `None`.
            topic: which topic, for a dataframe over several.

        Returns:
            Value, key, timestamp and headers of each record that reached the end of a branch, in order.
        """
        if topic is None:
            if len(self._topics) > 1:
                raise ValueError("this dataframe reads several topics; say which with topic=...")
            topic = self._topics[0]
        return self._context.driver().process(topic.name, value, key, timestamp, headers, ctx)

    def compose(self, sink: Executor | None = None) -> dict[str, Executor]:
        """Functions that run one record through the pipeline, by topic (D-61).

        Args:
            sink: called with value, key, timestamp and headers of each record at the end of a branch.
        """
        driver = self._context.driver()

        def executor(name: str) -> Executor:
            def run(value: Any, key: Any, timestamp: int, headers: Any) -> None:
                for leaf in driver.process(name, value, key, timestamp, headers, None):
                    if sink is not None:
                        sink(*leaf)

            return run

        return {topic.name: executor(topic.name) for topic in self._context.registry.consumer_topics}

    def __bool__(self) -> NoReturn:
        raise InvalidOperation(
            "a dataframe has no truth of its own; use sdf[condition] or sdf.filter(...) instead of `if`, and & | ~ on"
            " columns instead of `and`, `or`, `not`"
        )

    def __repr__(self) -> str:
        return f"<StreamingDataFrame {self.stream_id!r} at step {self._node}>"


def _choosing(
    choose: Callable[[Any, Any, int, Any], Topic],
) -> Callable[[Any, Any, int, Any], TopicSpec]:
    def spec(value: Any, key: Any, timestamp: int, headers: Any) -> TopicSpec:
        topic = choose(value, key, timestamp, headers)
        if not isinstance(topic, Topic):
            raise TypeError(
                f"the function given to to_topic() must return a Topic made with app.topic(...), not"
                f" {type(topic).__name__}"
            )
        return topic._spec()

    return spec
