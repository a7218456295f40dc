"""`TopologyTestDriver`: runs an application's pipelines record by record, in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

from millstream._millstream import TestDriver
from millstream.app import Application
from millstream.dataframe.durations import ensure_milliseconds
from millstream.models.serializers import (
    BytesDeserializer,
    BytesSerializer,
    Deserializer,
    DoubleDeserializer,
    DoubleSerializer,
    IntegerDeserializer,
    IntegerSerializer,
    JSONDeserializer,
    JSONSerializer,
    MessageField,
    SerializationContext,
    Serializer,
    StringDeserializer,
    StringSerializer,
)
from millstream.models.topics import Topic

from .partitioning import partition_of

__all__ = ("OutputRecord", "TopologyTestDriver")

# What reads what the other writes. For formats of the user's own, tests give and get bytes.
_COUNTERPARTS: tuple[tuple[type[Serializer], type[Deserializer]], ...] = (
    (BytesSerializer, BytesDeserializer),
    (StringSerializer, StringDeserializer),
    (IntegerSerializer, IntegerDeserializer),
    (DoubleSerializer, DoubleDeserializer),
    (JSONSerializer, JSONDeserializer),
)


@dataclass(frozen=True)
class OutputRecord:
    """A record that a pipeline wrote.

    Attributes:
        topic, partition: where to.
        key, value: read back by the counterpart of the topic's serializers; bytes for formats of your own.
        timestamp: ms since the epoch.
        headers: list of pairs.
        raw_key, raw_value: the bytes; `None` is null.
    """

    topic: str
    partition: int
    key: Any
    value: Any
    timestamp: int
    headers: list[tuple[str, bytes | None]]
    raw_key: bytes | None
    raw_value: bytes | None


class TopologyTestDriver:
    """Runs the pipelines of an application without Kafka, with state, windows and repartition topics.

    Nothing happens by itself: `pipe_input` runs one record to the end, `advance` moves the wall clock, `checkpoint`
    makes a checkpoint, and `crash` loses all since the last one, as a killed process would: the records since then
    come again.

    Args:
        app: the application; its pipelines as they are declared now. A `MemoryApplication`, or any other, whose broker
            is not touched.
        start_ms: what the wall clock shows at first, ms since the epoch.

    >>> from millstream.testing import MemoryApplication, TopologyTestDriver
    >>> app = MemoryApplication()
    >>> rides = app.topic("rides")
    >>> fares = app.topic("fares")
    >>> sdf = app.dataframe(rides).group_by("city")
    >>> sdf = sdf.apply(lambda ride: ride["fare"]).tumbling_window(timedelta(minutes=1)).sum().final().to_topic(fares)
    >>> driver = TopologyTestDriver(app)
    >>> driver.pipe_input(rides, {"city": "Chur", "fare": 9}, timestamp=1_000)
    >>> driver.pipe_input(rides, {"city": "Chur", "fare": 5}, timestamp=59_000)
    >>> driver.pipe_input(rides, {"city": "Chur", "fare": 7}, timestamp=60_000)
    >>> driver.read_output(fares).value
    {'start': 0, 'end': 60000, 'value': 14}
    >>> driver.close()
    """

    def __init__(self, app: Application, start_ms: int = 0) -> None:
        self._app = app
        self._native = TestDriver(
            app._context.topology(),
            on_consumer_error=app._on_consumer_error,
            on_processing_error=app._on_processing_error,
            on_producer_error=app._on_producer_error,
            on_message_processed=app._on_message_processed,
            **app._context.codec,
        )
        self._now_ms = start_ms
        self._outputs: dict[str, deque[OutputRecord]] = {}
        self._leaves: list[tuple[Any, Any, int, Any]] = []

    @property
    def now_ms(self) -> int:
        """What the wall clock shows, ms since the epoch."""
        return self._now_ms

    def pipe_input(
        self,
        topic: Topic | str,
        value: Any = None,
        key: Any = None,
        timestamp: int | None = None,
        headers: Any = None,
        partition: int | None = None,
    ) -> None:
        """Hands in one record and runs everything that comes of it.

        Args:
            topic: the topic, or its name.
            value, key: written by the counterpart of the topic's deserializers. Bytes are taken as they are, and
                `None` is null.
            timestamp: ms since the epoch. Default: what the wall clock shows.
            headers: list of pairs of name and bytes, or `None`.
            partition: default: that of the key, by murmur2.

        Raises:
            Exception: whatever a step raised, as it comes out of `Application.run()`.
        """
        found = self._topic(topic)
        raw_key = _written(key, found._key_deserializer, found.name, MessageField.KEY)
        raw_value = _written(value, found._value_deserializer, found.name, MessageField.VALUE)
        if partition is None:
            # The producer would choose it.
            partition = partition_of(raw_key, found._spec().partitions)
        self._native.send(
            found.name, raw_value, raw_key, self._now_ms if timestamp is None else timestamp, headers, partition
        )
        self._run()

    def advance(self, by: int | timedelta) -> None:
        """Moves the wall clock on, by ms or a `timedelta`."""
        self._now_ms += ensure_milliseconds(by)
        self._native.tick(self._now_ms)
        self._run()

    def checkpoint(self) -> None:
        """Makes a checkpoint: what was processed is not processed again. Changelog topics are written now."""
        self._native.checkpoint()
        self._collect_outputs()

    def crash(self) -> None:
        """Loses what was not in a checkpoint and processes the records since the last one again (CK-08)."""
        self._native.crash()
        self._run()

    def read_output(self, topic: Topic | str) -> OutputRecord:
        """The next record that was written to a topic.

        Raises:
            LookupError: there is none.
        """
        name = topic.name if isinstance(topic, Topic) else topic
        records = self._outputs.get(name)
        if not records:
            raise LookupError(f"nothing (more) was written to topic {name!r}")
        return records.popleft()

    def read_outputs(self, topic: Topic | str) -> list[OutputRecord]:
        """The records that were written to a topic since the last call."""
        name = topic.name if isinstance(topic, Topic) else topic
        return list(self._outputs.pop(name, ()))

    def read_results(self) -> list[tuple[Any, Any, int, Any]]:
        """Value, key, timestamp and headers of the records that reached the end of a branch since the last call."""
        results, self._leaves = self._leaves, []
        return results

    def close(self) -> None:
        """Throws everything away."""
        self._native.close()

    def _run(self) -> None:
        try:
            self._leaves.extend(self._native.run())
        finally:
            self._collect_outputs()
            self._app._context.printer.refresh()

    def _collect_outputs(self) -> None:
        for output in self._native.outputs():
            self._outputs.setdefault(output["topic"], deque()).append(self._read(output))

    def _read(self, output: dict[str, Any]) -> OutputRecord:
        topic = self._app._topic_manager.all_topics.get(output["topic"]) or Topic(output["topic"])
        key, value, partition = output["key"], output["value"], output["partition"]
        if partition is None:
            # The producer would choose it.
            partition = partition_of(key, topic._spec().partitions)
        return OutputRecord(
            topic=output["topic"],
            partition=partition,
            key=_read_back(key, topic._key_serializer, topic.name, MessageField.KEY),
            value=_read_back(value, topic._value_serializer, topic.name, MessageField.VALUE),
            timestamp=output["timestamp"],
            headers=output["headers"] or [],
            raw_key=key,
            raw_value=value,
        )

    def _topic(self, topic: Topic | str) -> Topic:
        if isinstance(topic, Topic):
            return topic
        found = self._app._topic_manager.all_topics.get(topic)
        if found is None:
            raise LookupError(f"the application declares no topic {topic!r}")
        return found

    def __enter__(self) -> TopologyTestDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TopologyTestDriver of {self._app!r} at {self._now_ms} ms>"


def _written(value: Any, reader: Deserializer, topic: str, field: str) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    for writer, counterpart in _COUNTERPARTS:
        if isinstance(reader, counterpart):
            if writer is BytesSerializer:
                break
            codec = [reader._codec] if isinstance(reader, StringDeserializer) else []
            written = writer(*codec)(value, SerializationContext(topic, field))
            return written.encode() if isinstance(written, str) else written
    if isinstance(value, str):
        return value.encode()
    raise TypeError(
        f"the {field} of topic {topic!r} is read by a {type(reader).__name__}; give the driver bytes for it, not"
        f" {type(value).__name__}"
    )


def _read_back(data: bytes | None, writer: Serializer, topic: str, field: str) -> Any:
    if data is None:
        return None
    for kind, reader in _COUNTERPARTS:
        if isinstance(writer, kind):
            codec = [writer._codec] if isinstance(writer, StringSerializer) else []
            return reader(*codec)(data, SerializationContext(topic, field))
    return data
