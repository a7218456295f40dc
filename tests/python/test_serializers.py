"""Serializers and deserializers: T-40 to T-52."""

import collections
import dataclasses
import datetime
import enum
import math
import uuid

import pytest

from millstream.exceptions import NotSupportedYet
from millstream.models.serializers import (
    BytesDeserializer,
    BytesSerializer,
    DoubleDeserializer,
    DoubleSerializer,
    IntegerDeserializer,
    IntegerSerializer,
    JSONDeserializer,
    JSONSerializer,
    SerializationContext,
    SerializationError,
    StringDeserializer,
    StringSerializer,
    deserializer_for,
    serializer_for,
)

CONTEXT = SerializationContext("topic", "value")


def write(serializer, value):
    return serializer(value, CONTEXT)


@pytest.mark.parametrize(
    ("name", "serializer", "deserializer"),
    [
        ("str", StringSerializer, StringDeserializer),
        ("string", StringSerializer, StringDeserializer),
        ("bytes", BytesSerializer, BytesDeserializer),
        ("int", IntegerSerializer, IntegerDeserializer),
        ("integer", IntegerSerializer, IntegerDeserializer),
        ("double", DoubleSerializer, DoubleDeserializer),
        ("json", JSONSerializer, JSONDeserializer),
    ],
)
def test_names(name, serializer, deserializer):
    """T-40 to T-45"""
    assert type(serializer_for(name)) is serializer
    assert type(deserializer_for(name)) is deserializer


@pytest.mark.parametrize("choice", ["yaml", None, 5, JSONSerializer])
def test_unknown_names(choice):
    with pytest.raises(ValueError, match="use one of str, "):
        serializer_for(choice)
    with pytest.raises(ValueError, match="use one of str, "):
        deserializer_for(choice)


@pytest.mark.parametrize("name", ["quix", "quix_timeseries", "quix_events"])
def test_formats_of_the_quix_platform(name):
    with pytest.raises(NotSupportedYet, match="is not supported yet; use 'json'"):
        (deserializer_for if name == "quix" else serializer_for)(name)


class TestSimpleTypes:
    def test_text(self):
        """T-40"""
        assert write(StringSerializer(), "Zürich") == "Zürich".encode()
        assert write(StringSerializer(), None) is None
        assert write(StringDeserializer(), "Zürich".encode()) == "Zürich"
        assert write(StringSerializer("utf-16-le"), "ab") == b"a\0b\0"
        assert write(StringDeserializer("latin_1"), b"\xe4") == "ä"

    @pytest.mark.parametrize("value", [5, b"x", ["a"]])
    def test_text_refuses(self, value):
        """T-40"""
        with pytest.raises(SerializationError):
            write(StringSerializer(), value)

    def test_bytes_that_are_no_text(self):
        """T-40: wrapped, unlike in Quix Streams."""
        with pytest.raises(SerializationError):
            write(StringDeserializer(), b"\xff")
        with pytest.raises(SerializationError):
            write(StringDeserializer("ascii"), b"\xe4")
        with pytest.raises(SerializationError):
            write(StringSerializer("ascii"), "ä")

    def test_encodings_are_checked_at_construction(self):
        """T-40"""
        with pytest.raises(SerializationError, match="no text encoding 'utf_9'"):
            StringSerializer("utf_9")
        with pytest.raises(SerializationError, match="no text encoding 'utf_9'"):
            StringDeserializer("utf_9")

    def test_bytes(self):
        """T-41"""
        assert write(BytesSerializer(), b"\0\xff") == b"\0\xff"
        assert write(BytesSerializer(), None) is None
        assert write(BytesDeserializer(), b"\0\xff") == b"\0\xff"

    @pytest.mark.parametrize("value", [0, 1, -1, 2**31 - 1, -(2**31), True])
    def test_integers(self, value):
        """T-42"""
        data = write(IntegerSerializer(), value)
        assert data == int(value).to_bytes(4, "big", signed=True)
        assert write(IntegerDeserializer(), data) == value

    @pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 1.0, "1", b"1"])
    def test_integers_refuse(self, value):
        """T-42"""
        with pytest.raises(SerializationError):
            write(IntegerSerializer(), value)

    @pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\0\0\0\0\0"])
    def test_integers_of_a_wrong_length(self, data):
        """T-42"""
        with pytest.raises(SerializationError):
            write(IntegerDeserializer(), data)

    @pytest.mark.parametrize("value", [0.0, -0.0, 1.5, 1e300, math.inf, 7])
    def test_doubles(self, value):
        """T-43"""
        data = write(DoubleSerializer(), value)
        assert len(data) == 8
        assert write(DoubleDeserializer(), data) == value

    @pytest.mark.parametrize("value", ["1", b"1", [1.0]])
    def test_doubles_refuse(self, value):
        """T-43"""
        with pytest.raises(SerializationError):
            write(DoubleSerializer(), value)

    def test_doubles_of_a_wrong_length(self):
        """T-43"""
        with pytest.raises(SerializationError):
            write(DoubleDeserializer(), b"\0\0\0\0")


class Colour(enum.Enum):
    RED = "red"


class Name(str):
    pass


class Number(int):
    pass


@dataclasses.dataclass
class Point:
    x: int


class TestJson:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, b"null"),
            (True, b"true"),
            ("ä\n\x01", '"ä\\n\\u0001"'.encode()),
            ({"b": 1, "a": [1, 2.0]}, b'{"b":1,"a":[1,2.0]}'),
            ((1, (2,)), b"[1,[2]]"),
            (-0.0, b"-0.0"),
            (0.1, b"0.1"),
            (math.nan, b"null"),
            (-math.inf, b"null"),
            (2**64 - 1, b"18446744073709551615"),
            (-(2**63), b"-9223372036854775808"),
            (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
            (Colour.RED, b'"red"'),
            (Name("x"), b'"x"'),
            (Number(5), b"5"),
            (collections.OrderedDict(a=1), b'{"a":1}'),
        ],
    )
    def test_writing(self, value, text):
        """T-44"""
        assert write(JSONSerializer(), value) == text

    @pytest.mark.parametrize(
        "value",
        [
            datetime.datetime(2020, 1, 1), datetime.date(2020, 1, 1), datetime.time(1), Point(1), b"x", {1, 2}, "\ud800",
            {1: 2}, 2**64, -(2**63) - 1, object(), 1j, {"deep": [{"er": b"x"}]},
        ],
    )
    def test_refused(self, value):
        """T-44"""
        with pytest.raises(SerializationError):
            write(JSONSerializer(), value)

    def test_a_structure_that_contains_itself(self):
        loop = []
        loop.append(loop)
        with pytest.raises(SerializationError):
            write(JSONSerializer(), loop)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            (b'{"a": 1, "a": 2}', {"a": 2}),
            (b"[1, 2.0, null, true]", [1, 2.0, None, True]),
            (b" 7 ", 7),
            (b"18446744073709551615", 2**64 - 1),
            (b"18446744073709551616", 18446744073709551616.0),
            (b"-9223372036854775809", -9223372036854775809.0),
            ('"\\u00e4ä"'.encode(), "ää"),
        ],
    )
    def test_reading(self, text, value):
        """T-45"""
        found = write(JSONDeserializer(), text)
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("text", [b"", b"NaN", b"Infinity", b"{", b"[1,]", b"'a'", b"\xff", b'"\xff"', b"1 2", b"{a:1}"])
    def test_bad_text(self, text):
        """T-45"""
        with pytest.raises(SerializationError):
            write(JSONDeserializer(), text)

    def test_functions_of_the_user(self):
        """T-44, T-45"""
        assert write(JSONSerializer(dumps=lambda value: f"<{value}>"), 5) == "<5>"
        assert write(JSONDeserializer(loads=len), b"abc") == 3

    @pytest.mark.parametrize(("error", "seen"), [(ValueError, SerializationError), (TypeError, SerializationError),
                                                 (KeyError, KeyError)])
    def test_which_errors_of_the_user_are_wrapped(self, error, seen):
        """T-44"""

        def fail(value):
            raise error("no")

        with pytest.raises(seen) as caught:
            write(JSONSerializer(dumps=fail), 5)
        assert seen is error or isinstance(caught.value.__cause__, error)

    def test_schemas(self):
        """T-46"""
        jsonschema = pytest.importorskip("jsonschema")
        schema = {"type": "object", "required": ["a"]}
        assert write(JSONSerializer(schema=schema), {"a": 1}) == b'{"a":1}'
        assert write(JSONDeserializer(schema=schema), b'{"a":1}') == {"a": 1}
        with pytest.raises(SerializationError, match="required"):
            write(JSONSerializer(schema=schema), {})
        with pytest.raises(SerializationError, match="required"):
            write(JSONDeserializer(schema=schema), b"{}")
        with pytest.raises(jsonschema.SchemaError):
            JSONSerializer(schema={"type": "nothing"})

    def test_a_validator_wins_over_a_schema(self):
        """T-46"""
        jsonschema = pytest.importorskip("jsonschema")
        validator = jsonschema.Draft202012Validator({"type": "integer"})
        assert write(JSONSerializer(schema={"type": "string"}, validator=validator), 5) == b"5"

    def test_registries_are_refused(self):
        with pytest.raises(NotSupportedYet, match="Schema Registry"):
            JSONSerializer(schema={}, schema_registry_client_config=object())
        with pytest.raises(NotSupportedYet, match="Schema Registry"):
            JSONDeserializer(schema={}, schema_registry_client_config=object())


class TestWhatRunsNatively:
    """The engine's own form stands in only for classes that nobody changed."""

    def test_unchanged(self):
        for name in ("str", "bytes", "int", "double", "json"):
            assert serializer_for(name)._native is not None
            assert deserializer_for(name)._native is not None

    def test_a_subclass_that_changes_nothing(self):
        class Same(JSONSerializer):
            pass

        assert Same()._native is not None

    def test_changed(self):
        class Loud(StringSerializer):
            def __call__(self, value, ctx):
                return super().__call__(value.upper(), ctx)

        class Marked(JSONSerializer):
            @property
            def extra_headers(self):
                return {"mark": b"1"}

        class Splitting(JSONDeserializer):
            @property
            def split_values(self):
                return True

        assert Loud()._native is None
        assert write(Loud(), "a") == b"A"
        assert Marked()._native is None
        assert Splitting()._native is None
        assert JSONSerializer(dumps=str)._native is None
        assert StringSerializer("latin_1")._native is None
