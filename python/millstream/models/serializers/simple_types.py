"""Texts, bytes, integers and doubles (parity rows T-40 to T-43).

As long as they are used as they are, the engine runs its own form of them; a subclass that overrides `__call__` runs
in Python.
"""

from __future__ import annotations

import codecs
from typing import Any, Literal

from millstream._millstream import NativeDeserializer, NativeSerializer

from .base import Deserializer, SerializationContext, Serializer, runs_natively
from .exceptions import SerializationError

__all__ = (
    "BytesDeserializer",
    "BytesSerializer",
    "DoubleDeserializer",
    "DoubleSerializer",
    "IntegerDeserializer",
    "IntegerSerializer",
    "StringDeserializer",
    "StringSerializer",
)

_Kind = Literal["str", "bytes", "int", "double"]
_UTF_8 = codecs.lookup("utf-8").name


class _BuiltinSerializer(Serializer):
    """A serializer that the engine has, too."""

    _kind: _Kind

    def __init__(self) -> None:
        self._own = NativeSerializer(self._kind)
        if runs_natively(self):
            self._native = self._own

    def __call__(self, value: Any, ctx: SerializationContext) -> str | bytes | None:
        return self._own(value, ctx.topic, "key" if ctx.field == "key" else "value")


class _BuiltinDeserializer(Deserializer):
    """A deserializer that the engine has, too."""

    _kind: _Kind

    def __init__(self) -> None:
        super().__init__()
        self._own = NativeDeserializer(self._kind)
        if runs_natively(self):
            self._native = self._own

    def __call__(self, value: bytes, ctx: SerializationContext) -> Any:
        return self._own(value, ctx.topic, "key" if ctx.field == "key" else "value")


class BytesSerializer(_BuiltinSerializer):
    """Writes bytes as they are, and `None` as null (T-41)."""

    _kind = "bytes"


class BytesDeserializer(_BuiltinDeserializer):
    """Gives bytes as they are (T-41)."""

    _kind = "bytes"


class IntegerSerializer(_BuiltinSerializer):
    """Writes an integer as four bytes, big-endian, signed (T-42); `None` as null.

    Raises:
        SerializationError: not an integer (a `bool` is one), or beyond 32 bits.

    >>> IntegerSerializer()(258, SerializationContext("numbers", "value"))
    b'\\x00\\x00\\x01\\x02'
    """

    _kind = "int"


class IntegerDeserializer(_BuiltinDeserializer):
    """Reads an integer of four bytes, big-endian, signed (T-42).

    Raises:
        SerializationError: not four bytes.
    """

    _kind = "int"


class DoubleSerializer(_BuiltinSerializer):
    """Writes a number as eight bytes, big-endian IEEE 754 (T-43); `None` as null.

    Raises:
        SerializationError: not a number.
    """

    _kind = "double"


class DoubleDeserializer(_BuiltinDeserializer):
    """Reads a number of eight bytes, big-endian IEEE 754 (T-43).

    Raises:
        SerializationError: not eight bytes.
    """

    _kind = "double"


def _checked_codec(codec: str) -> str:
    try:
        return codecs.lookup(codec).name
    except LookupError:
        raise SerializationError(f"there is no text encoding {codec!r}; use 'utf_8' or another of Python's") from None


class StringSerializer(_BuiltinSerializer):
    """Writes text in an encoding (T-40); `None` as null.

    Args:
        codec: name of one of Python's encodings. Default: `"utf_8"`.

    Raises:
        SerializationError: the encoding is unknown (here), or the object is not text or not in the encoding (at use).

    >>> StringSerializer("latin_1")("Ä", SerializationContext("names", "key"))
    b'\\xc4'
    """

    _kind = "str"

    def __init__(self, codec: str = "utf_8") -> None:
        self._codec = _checked_codec(codec)
        super().__init__()
        if self._codec != _UTF_8:
            self._native = None

    def __call__(self, value: Any, ctx: SerializationContext) -> str | bytes | None:
        if self._codec == _UTF_8:
            return super().__call__(value, ctx)
        if value is None:
            return None
        if not isinstance(value, str):
            raise SerializationError(f"expected text, got {type(value).__name__}")
        try:
            return value.encode(self._codec)
        except UnicodeError as error:
            raise SerializationError(str(error)) from error


class StringDeserializer(_BuiltinDeserializer):
    """Reads text in an encoding (T-40).

    Args:
        codec: name of one of Python's encodings. Default: `"utf_8"`.

    Raises:
        SerializationError: the encoding is unknown (here), or the bytes are not valid in it (at use).
    """

    _kind = "str"

    def __init__(self, codec: str = "utf_8") -> None:
        self._codec = _checked_codec(codec)
        super().__init__()
        if self._codec != _UTF_8:
            self._native = None

    def __call__(self, value: bytes, ctx: SerializationContext) -> Any:
        if self._codec == _UTF_8:
            return super().__call__(value, ctx)
        try:
            return value.decode(self._codec)
        except UnicodeError as error:
            raise SerializationError(str(error)) from error
