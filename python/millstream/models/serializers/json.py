"""JSON (parity rows T-44 to T-46).

With their default settings the engine runs its own form of both classes: it reads only the fields that a pipeline
asks for and never makes a Python object of the rest. With `dumps`, `loads`, a schema or a subclass, Python runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from millstream._millstream import NativeDeserializer, NativeSerializer, json_dumps, json_loads
from millstream.exceptions import NotSupportedYet

from .base import Deserializer, SerializationContext, Serializer, runs_natively
from .exceptions import SerializationError

__all__ = ("JSONDeserializer", "JSONSerializer")


class Validator(Protocol):
    """What is used of a validator of the `jsonschema` package."""

    @property
    def schema(self) -> Any: ...
    def check_schema(self, schema: Any) -> None: ...
    def validate(self, instance: Any) -> None: ...


def _validator(schema: Mapping[str, Any] | None, validator: Validator | None) -> Validator | None:
    if validator is None and schema:
        try:
            from jsonschema import Draft202012Validator
        except ImportError:
            raise ImportError(
                "validating against a JSON schema needs the jsonschema package: pip install 'millstream[jsonschema]'"
            ) from None
        validator = Draft202012Validator(schema)
    if validator is not None:
        validator.check_schema(validator.schema)
    return validator


def _validate(validator: Validator, value: Any) -> None:
    from jsonschema import ValidationError

    try:
        validator.validate(value)
    except ValidationError as error:
        raise SerializationError(str(error)) from error


def _refuse_registry(**configs: object) -> None:
    for name, config in configs.items():
        if config is not None:
            raise NotSupportedYet(f"{name} (Schema Registry)", "leave it out: plain JSON is written and read")


class JSONSerializer(Serializer):
    """Writes JSON: compact, UTF-8, NaN and infinities as `null`; `None` as the four bytes `null` (T-44).

    Args:
        dumps: `object -> str | bytes`. Default: the engine's own, which refuses dates, bytes, sets and dataclasses.
        schema: a JSON schema (Draft 2020-12) that values must satisfy; needs the extra `jsonschema`.
        validator: a validator of the `jsonschema` package, instead of `schema`.
        schema_registry_client_config, schema_registry_serialization_config: not supported yet.

    Raises:
        SerializationError: (at use) the value has no JSON form or does not satisfy the schema.
        jsonschema.SchemaError: the schema itself is wrong.
        NotSupportedYet: a Schema Registry is asked for.

    >>> JSONSerializer()({"celsius": 21.5, "tags": ("indoor",)}, SerializationContext("readings", "value"))
    b'{"celsius":21.5,"tags":["indoor"]}'
    """

    def __init__(
        self,
        dumps: Callable[[Any], str | bytes] = json_dumps,
        schema: Mapping[str, Any] | None = None,
        validator: Validator | None = None,
        schema_registry_client_config: object = None,
        schema_registry_serialization_config: object = None,
    ) -> None:
        _refuse_registry(
            schema_registry_client_config=schema_registry_client_config,
            schema_registry_serialization_config=schema_registry_serialization_config,
        )
        self._dumps = dumps
        self._validator = _validator(schema, validator)
        if dumps is json_dumps and self._validator is None and runs_natively(self):
            self._native = NativeSerializer("json")

    def __call__(self, value: Any, ctx: SerializationContext) -> str | bytes | None:
        if self._validator is not None:
            _validate(self._validator, value)
        try:
            return self._dumps(value)
        except (ValueError, TypeError) as error:
            raise SerializationError(str(error)) from error


class JSONDeserializer(Deserializer):
    """Reads JSON (T-45): integers beyond 64 bits become floats; of a name that stands twice the last value wins.

    Args:
        loads: `bytes -> object`. Default: the engine's own.
        schema: a JSON schema (Draft 2020-12) that values must satisfy; needs the extra `jsonschema`.
        validator: a validator of the `jsonschema` package, instead of `schema`.
        schema_registry_client_config: not supported yet.

    Raises:
        SerializationError: (at use) the bytes are not JSON or do not satisfy the schema.
        jsonschema.SchemaError: the schema itself is wrong.
        NotSupportedYet: a Schema Registry is asked for.

    >>> JSONDeserializer()(b'{"celsius": 21.5}', SerializationContext("readings", "value"))
    {'celsius': 21.5}
    """

    def __init__(
        self,
        loads: Callable[[bytes], Any] = json_loads,
        schema: Mapping[str, Any] | None = None,
        validator: Validator | None = None,
        schema_registry_client_config: object = None,
    ) -> None:
        super().__init__()
        _refuse_registry(schema_registry_client_config=schema_registry_client_config)
        self._loads = loads
        self._validator = _validator(schema, validator)
        if loads is json_loads and self._validator is None and runs_natively(self):
            self._native = NativeDeserializer("json")

    def __call__(self, value: bytes, ctx: SerializationContext) -> Any:
        try:
            data = self._loads(value)
        except (ValueError, TypeError) as error:
            raise SerializationError(str(error)) from error
        if self._validator is not None:
            _validate(self._validator, data)
        return data
