"""Exceptions of serializers and deserializers (parity row T-52)."""

from millstream.exceptions import MillstreamException

__all__ = (
    "IgnoreMessage",
    "KeyDeserializationError",
    "KeySerializationError",
    "SerializationError",
    "ValueDeserializationError",
    "ValueSerializationError",
)


class SerializationError(MillstreamException):
    """A key or value could not be written or read; the cause is kept."""


class KeySerializationError(SerializationError):
    """A key could not be written."""


class ValueSerializationError(SerializationError):
    """A value could not be written."""


class KeyDeserializationError(SerializationError):
    """A key could not be read."""


class ValueDeserializationError(SerializationError):
    """A value could not be read."""


class IgnoreMessage(MillstreamException):
    """Raised by a deserializer to drop the message silently (T-51). Its offset counts as processed."""
