"""Serializers and deserializers, and the names that stand for them (parity rows T-40 to T-52, M-47).

| Name | Writes and reads |
|---|---|
| `"str"`, `"string"` | text, UTF-8 |
| `"bytes"` | bytes as they are |
| `"int"`, `"integer"` | four bytes, big-endian, signed |
| `"double"` | eight bytes, big-endian IEEE 754 |
| `"json"` | JSON |
"""

from __future__ import annotations

from millstream._import_refusal import refusal
from millstream.exceptions import NotSupportedYet

from .base import (
    Deserializer,
    DeserializerType,
    MessageField,
    SerializationContext,
    Serializer,
    SerializerType,
)
from .exceptions import (
    IgnoreMessage,
    KeyDeserializationError,
    KeySerializationError,
    SerializationError,
    ValueDeserializationError,
    ValueSerializationError,
)
from .json import JSONDeserializer, JSONSerializer
from .simple_types import (
    BytesDeserializer,
    BytesSerializer,
    DoubleDeserializer,
    DoubleSerializer,
    IntegerDeserializer,
    IntegerSerializer,
    StringDeserializer,
    StringSerializer,
)

__all__ = (
    "DESERIALIZERS",
    "SERIALIZERS",
    "BytesDeserializer",
    "BytesSerializer",
    "Deserializer",
    "DeserializerType",
    "DoubleDeserializer",
    "DoubleSerializer",
    "IgnoreMessage",
    "IntegerDeserializer",
    "IntegerSerializer",
    "JSONDeserializer",
    "JSONSerializer",
    "KeyDeserializationError",
    "KeySerializationError",
    "MessageField",
    "SerializationContext",
    "SerializationError",
    "Serializer",
    "SerializerType",
    "StringDeserializer",
    "StringSerializer",
    "ValueDeserializationError",
    "ValueSerializationError",
)

SERIALIZERS: dict[str, type[Serializer]] = {
    "str": StringSerializer,
    "string": StringSerializer,
    "bytes": BytesSerializer,
    "double": DoubleSerializer,
    "int": IntegerSerializer,
    "integer": IntegerSerializer,
    "json": JSONSerializer,
}

DESERIALIZERS: dict[str, type[Deserializer]] = {
    "str": StringDeserializer,
    "string": StringDeserializer,
    "bytes": BytesDeserializer,
    "double": DoubleDeserializer,
    "int": IntegerDeserializer,
    "integer": IntegerDeserializer,
    "json": JSONDeserializer,
}

_LATER = frozenset({"quix", "quix_timeseries", "quix_events"})
_LATER_CLASSES = frozenset(
    {
        "QuixDeserializer",
        "QuixEventsSerializer",
        "QuixTimeseriesSerializer",
        "SchemaRegistryClientConfig",
        "SchemaRegistrySerializationConfig",
    }
)


def serializer_for(choice: SerializerType) -> Serializer:
    """The serializer that a name or an object stands for.

    Raises:
        ValueError: neither a known name nor a `Serializer`.
        NotSupportedYet: a name of a format of the Quix platform.
    """
    if isinstance(choice, Serializer):
        return choice
    _refuse_later(choice)
    if isinstance(choice, str) and choice in SERIALIZERS:
        return SERIALIZERS[choice]()
    raise ValueError(
        f"Unknown serializer {choice!r}; use one of {', '.join(SERIALIZERS)}, or an object of a subclass of Serializer"
    )


def deserializer_for(choice: DeserializerType) -> Deserializer:
    """The deserializer that a name or an object stands for.

    Raises:
        ValueError: neither a known name nor a `Deserializer`.
        NotSupportedYet: a name of a format of the Quix platform.
    """
    if isinstance(choice, Deserializer):
        return choice
    _refuse_later(choice)
    if isinstance(choice, str) and choice in DESERIALIZERS:
        return DESERIALIZERS[choice]()
    raise ValueError(
        f"Unknown deserializer {choice!r}; use one of {', '.join(DESERIALIZERS)}, or an object of a subclass of"
        " Deserializer"
    )


def _refuse_later(choice: object) -> None:
    if isinstance(choice, str) and choice in _LATER:
        raise NotSupportedYet(f"The format {choice!r}", "use 'json', or a Serializer or Deserializer of your own")


def __getattr__(name: str) -> object:
    if name in _LATER_CLASSES:
        raise refusal(f"{__name__}.{name}", "The formats of Quix and the Schema Registry", "use JSON or bytes")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
