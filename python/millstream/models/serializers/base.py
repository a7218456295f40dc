"""What serializers and deserializers are (parity row T-51)."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal

from millstream._millstream import NativeDeserializer, NativeSerializer
from millstream.models.types import Headers, HeadersMapping, KafkaHeaders

__all__ = (
    "Deserializer",
    "DeserializerType",
    "MessageField",
    "SerializationContext",
    "Serializer",
    "SerializerType",
)


class MessageField:
    """Which part of a record is being written or read."""

    NONE: ClassVar[str] = "none"
    KEY: ClassVar[str] = "key"
    VALUE: ClassVar[str] = "value"


class SerializationContext:
    """What a serializer is told beside the object.

    Attributes:
        topic: name of the topic.
        field: `MessageField.KEY` or `MessageField.VALUE`.
        headers: the record's headers, if it has any.
    """

    __slots__ = ("field", "headers", "topic")

    def __init__(self, topic: str, field: str, headers: KafkaHeaders | Headers = None) -> None:
        self.topic = topic
        self.field = field
        self.headers = headers

    def __repr__(self) -> str:
        return f"SerializationContext(topic={self.topic!r}, field={self.field!r})"


class Deserializer(abc.ABC):
    """Turns bytes into an object: `deserializer(data, context)`.

    Subclass it for a format of your own. It may raise `IgnoreMessage` to drop a record silently, and
    `SerializationError` for data that it cannot read.

    >>> class Lines(Deserializer):
    ...     split_values = True                 # each line is a record of its own (T-64)
    ...     def __call__(self, value, ctx):
    ...         return value.decode().splitlines()
    """

    # The engine's own form of it; `None` for one that runs in Python.
    _native: NativeDeserializer | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Subclasses may hand on whatever they were made with.
        super().__init__()

    @property
    def split_values(self) -> bool:
        """Whether the object is a series of values, each of which becomes a record. Default: `False`."""
        return False

    @abc.abstractmethod
    def __call__(self, value: bytes, ctx: SerializationContext) -> Any:
        """The object that `value` stands for."""


class Serializer(abc.ABC):
    """Turns an object into bytes (or text, written as UTF-8): `serializer(value, context)`.

    Subclass it for a format of your own.

    >>> class Csv(Serializer):
    ...     def __call__(self, value, ctx):
    ...         return ",".join(str(cell) for cell in value.values())
    """

    # The engine's own form of it; `None` for one that runs in Python.
    _native: NativeSerializer | None = None

    @property
    def extra_headers(self) -> HeadersMapping:
        """Headers that each record gets, in place of those of the same name (T-06). Default: none."""
        return {}

    @abc.abstractmethod
    def __call__(self, value: Any, ctx: SerializationContext) -> str | bytes | None:
        """`value` in its written form; `None` for null."""


SerializerStr = Literal[
    "str", "string", "bytes", "double", "int", "integer", "json", "quix_timeseries", "quix_events"
]
SerializerType = SerializerStr | Serializer

DeserializerStr = Literal["str", "string", "bytes", "double", "int", "integer", "json", "quix"]
DeserializerType = DeserializerStr | Deserializer


def runs_natively(instance: object) -> bool:
    """Whether the engine's own form may stand for this object of one of our classes: no subclass changed it."""
    for cls in type(instance).__mro__:
        if cls.__module__.startswith("millstream.models.serializers."):
            return True
        if not vars(cls).keys().isdisjoint(("__call__", "extra_headers", "split_values")):
            return False
    return False
