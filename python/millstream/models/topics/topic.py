"""`Topic`: a topic with its formats (parity rows T-01 to T-09)."""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from millstream._millstream import MessageContext, Row, TopicSpec
from millstream.models.messages import KafkaMessage
from millstream.models.serializers import (
    DeserializerType,
    IgnoreMessage,
    MessageField,
    SerializationContext,
    SerializerType,
    deserializer_for,
    serializer_for,
)
from millstream.models.timestamps import TimestampType
from millstream.models.types import Headers, HeadersMapping, RawConfluentKafkaMessageProto

from .exceptions import TopicConfigurationError

__all__ = ("TimestampExtractor", "Topic", "TopicConfig", "TopicType")

TimestampExtractor = Callable[[Any, list[tuple[str, bytes]] | None, int, TimestampType], int]
"""`(value, headers, timestamp_ms, timestamp_type) -> timestamp_ms`, see T-07."""


@dataclass(frozen=True)
class TopicConfig:
    """How a topic is made (T-02).

    Attributes:
        num_partitions: number of partitions; `None` leaves it to the broker.
        replication_factor: number of copies; `None` leaves it to the broker.
        extra_config: further settings of the topic as texts, e.g. `{"retention.ms": "-1"}`.
    """

    num_partitions: int | None
    replication_factor: int | None
    extra_config: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The three fields as a `dict`."""
        return asdict(self)


class TopicType(enum.Enum):
    """What a topic is for."""

    REGULAR = 1
    REPARTITION = 2
    CHANGELOG = 3


class Topic:
    """A topic with its formats, usually made by `Application.topic()`. Usable alone for (de)serializing (T-01).

    Args:
        name: the topic's name.
        topic_type: what it is for.
        create_config: how to create it if it does not exist.
        value_deserializer, key_deserializer: a name (see `millstream.models.serializers`) or a `Deserializer`.
            Defaults: `"json"`, `"bytes"`.
        value_serializer, key_serializer: a name or a `Serializer`. Defaults: `"json"`, `"bytes"`.
        timestamp_extractor: `(value, headers, timestamp_ms, timestamp_type) -> timestamp_ms`; its result is the
            record's timestamp (T-07).
        quix_name: the short name on Quix Cloud; the same as `name` elsewhere.

    Raises:
        ValueError: an unknown serializer or deserializer.

    >>> topic = Topic("readings", key_serializer="str")
    >>> topic.serialize(key="sensor-1", value={"celsius": 21.5})
    KafkaMessage(key=b'sensor-1', value=b'{"celsius":21.5}', headers=None, timestamp=None)
    """

    def __init__(
        self,
        name: str,
        topic_type: TopicType = TopicType.REGULAR,
        create_config: TopicConfig | None = None,
        value_deserializer: DeserializerType = "json",
        key_deserializer: DeserializerType = "bytes",
        value_serializer: SerializerType = "json",
        key_serializer: SerializerType = "bytes",
        timestamp_extractor: TimestampExtractor | None = None,
        quix_name: str = "",
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"a topic's name must be a text that is not empty, got {name!r}")
        self.name = name
        self.quix_name = quix_name or name
        self.create_config = copy.deepcopy(create_config)
        self._broker_config: TopicConfig | None = None
        self._value_deserializer = deserializer_for(value_deserializer)
        self._key_deserializer = deserializer_for(key_deserializer)
        self._value_serializer = serializer_for(value_serializer)
        self._key_serializer = serializer_for(key_serializer)
        self._timestamp_extractor = timestamp_extractor
        self._type = topic_type
        self._native: TopicSpec | None = None

    @property
    def broker_config(self) -> TopicConfig:
        """The topic as it is on the broker, which may differ from `create_config`: partitions, copies, and of its
        settings `retention.ms`, `retention.bytes` and `cleanup.policy` (T-13).

        Raises:
            TopicConfigurationError: the broker has not been asked, because no application knows this topic.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> topic = app.topic("readings", config=TopicConfig(num_partitions=3, replication_factor=1))
        >>> topic.broker_config.num_partitions
        3
        >>> topic.broker_config.extra_config["cleanup.policy"]
        'delete'
        """
        if self._broker_config is None:
            raise TopicConfigurationError(
                f"the settings of topic {self.name!r} are not known yet; make it with app.topic({self.name!r})"
            )
        return self._broker_config

    @broker_config.setter
    def broker_config(self, config: TopicConfig) -> None:
        self._broker_config = copy.deepcopy(config)
        self._native = None

    @property
    def is_regular(self) -> bool:
        """Whether it is an input or output topic."""
        return self._type is TopicType.REGULAR

    @property
    def is_repartition(self) -> bool:
        """Whether it re-keys records on their way through the application."""
        return self._type is TopicType.REPARTITION

    @property
    def is_changelog(self) -> bool:
        """Whether it backs a state store."""
        return self._type is TopicType.CHANGELOG

    def serialize(
        self,
        key: object = None,
        value: object = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> KafkaMessage:
        """Writes key and value, for a record to be produced (T-03).

        Both go through their serializers, `None` too: JSON writes it as `null`, the others give null.

        Args:
            key, value: objects that the serializers know.
            headers: passed through.
            timestamp_ms: passed through, ms since the epoch.

        Raises:
            SerializationError: an object cannot be written.
        """
        context = SerializationContext(self.name, MessageField.KEY, headers)
        written_key = self._key_serializer(key, context)
        context.field = MessageField.VALUE
        return KafkaMessage(written_key, self._value_serializer(value, context), headers, timestamp_ms)

    def deserialize(self, message: RawConfluentKafkaMessageProto) -> KafkaMessage:
        """Reads key and value of a message from `Application.get_consumer()` (T-04). Null stays `None`.

        Raises:
            SerializationError: the bytes cannot be read.
        """
        key, value = self._read(message)
        return KafkaMessage(key, value, message.headers(), message.timestamp()[1])  # type: ignore[arg-type]

    def _read(self, message: RawConfluentKafkaMessageProto) -> tuple[Any, Any]:
        context = SerializationContext(message.topic(), MessageField.KEY, message.headers())
        key: Any = message.key()
        if key is not None:
            key = self._key_deserializer(key, context)
        value: Any = message.value()
        if value is not None:
            context.field = MessageField.VALUE
            value = self._value_deserializer(value, context)
        return key, value

    def row_deserialize(self, message: RawConfluentKafkaMessageProto) -> Row | list[Row] | None:
        """Reads a message as a pipeline would (T-05): one row, several, or `None` if it is to be ignored."""
        try:
            key, value = self._read(message)
        except IgnoreMessage:
            return None
        kind, timestamp = message.timestamp()
        context = MessageContext(
            message.topic(), message.partition(), message.offset(), len(message), message.leader_epoch()
        )
        headers: Any = message.headers()

        def row(item: Any) -> Row:
            extracted = timestamp
            if self._timestamp_extractor is not None:
                extracted = self._timestamp_extractor(item, headers, timestamp, TimestampType(kind))
            return Row(item, key, extracted, context, headers)

        if value is not None and self._value_deserializer.split_values:
            return [row(item) for item in value]
        return row(value)

    def row_serialize(self, row: Row, key: Any) -> KafkaMessage:
        """Writes a row as `to_topic` would (T-06)."""
        context = SerializationContext(self.name, MessageField.KEY, row.headers)
        written_key = None if key is None else self._key_serializer(key, context)
        context.field = MessageField.VALUE
        written_value = self._value_serializer(row.value, context)
        headers = merge_headers(row.headers, self._value_serializer.extra_headers)
        return KafkaMessage(written_key, written_value, headers)

    def _spec(self) -> TopicSpec:
        """What the engine needs to know of it. Kept, because a callable of `to_topic` asks once per record."""
        if self._native is None:
            config = self._broker_config or self.create_config or TopicConfig(1, 1)
            self._native = TopicSpec(
                self.name,
                partitions=config.num_partitions or 1,
                replication_factor=config.replication_factor or 1,
                configs=config.extra_config,
                key_deserializer=self._key_deserializer,
                value_deserializer=self._value_deserializer,
                key_serializer=self._key_serializer,
                value_serializer=self._value_serializer,
                timestamp_extractor=self._engine_extractor(),
            )
        return self._native

    def _engine_extractor(self) -> Callable[..., int] | None:
        extractor = self._timestamp_extractor
        if extractor is None:
            return None

        def extract(value: Any, headers: Any, timestamp: int, kind: int) -> int:
            return extractor(value, headers, timestamp, TimestampType(kind))

        return extract

    def __repr__(self) -> str:
        return f"<Topic name={self.name!r}>"


def merge_headers(original: Any, other: HeadersMapping) -> list[tuple[str, Any]]:
    """Headers with those of a serializer in place of the ones of the same name, appended at the end (T-06).

    >>> merge_headers([("a", b"1"), ("b", b"2")], {"a": b"9"})
    [('b', b'2'), ('a', b'9')]
    """
    kept = [(name, value) for name, value in original or () if name not in other]
    return [*kept, *other.items()]
