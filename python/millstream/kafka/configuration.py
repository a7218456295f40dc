"""How to reach a Kafka cluster: `ConnectionConfig` (parity rows C-01 to C-06)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from millstream.exceptions import NotSupportedYet

__all__ = ("ConnectionConfig", "Secret")

_MASK: Final = "**********"


class Secret:
    """A text that shows itself only when asked.

    >>> password = Secret("hunter2")
    >>> password
    Secret('**********')
    >>> password.get_secret_value()
    'hunter2'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """The text itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __str__(self) -> str:
        return _MASK if self._value else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {type(value).__name__}")
    return value


def _secret(value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(_text(value))


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected an integer, got {type(value).__name__}")
    return int(value)


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"expected true or false, got {value!r}")


def _callback(value: object) -> Callable[[str], tuple[str, float]]:
    if not callable(value):
        raise ValueError("expected a callable")
    return value


@dataclass(frozen=True)
class _OneOf:
    """One of a few texts, in any case."""

    choices: tuple[str, ...]
    fold: Callable[[str], str]

    def __call__(self, value: object) -> str:
        folded = self.fold(_text(value))
        if folded not in self.choices:
            raise ValueError(f"expected one of {', '.join(self.choices)}, got {value!r}")
        return folded


_PROTOCOL = _OneOf(("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"), str.lower)
_MECHANISM = _OneOf(("GSSAPI", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"), str.upper)
_METHOD = _OneOf(("default", "oidc"), str.lower)
_IDENTIFICATION = _OneOf(("none", "https"), str.lower)

# C-02, in the order of the row.
_FIELDS: Final[Mapping[str, Callable[[object], Any]]] = MappingProxyType(
    {
        "bootstrap_servers": _text,
        "security_protocol": _PROTOCOL,
        "client_id": _text,
        "sasl_mechanism": _MECHANISM,
        "sasl_username": _text,
        "sasl_password": _secret,
        "sasl_kerberos_kinit_cmd": _text,
        "sasl_kerberos_keytab": _text,
        "sasl_kerberos_min_time_before_relogin": _integer,
        "sasl_kerberos_service_name": _text,
        "sasl_kerberos_principal": _text,
        "oauth_cb": _callback,
        "sasl_oauthbearer_config": _text,
        "enable_sasl_oauthbearer_unsecure_jwt": _flag,
        "sasl_oauthbearer_method": _METHOD,
        "sasl_oauthbearer_client_id": _text,
        "sasl_oauthbearer_client_secret": _secret,
        "sasl_oauthbearer_scope": _text,
        "sasl_oauthbearer_extensions": _text,
        "sasl_oauthbearer_token_endpoint_url": _text,
        "ssl_cipher_suites": _text,
        "ssl_curves_list": _text,
        "ssl_sigalgs_list": _text,
        "ssl_key_location": _text,
        "ssl_key_password": _secret,
        "ssl_key_pem": _secret,
        "ssl_certificate_location": _text,
        "ssl_certificate_pem": _text,
        "ssl_ca_location": _text,
        "ssl_ca_pem": _secret,
        "ssl_ca_certificate_stores": _text,
        "ssl_crl_location": _text,
        "ssl_keystore_location": _text,
        "ssl_keystore_password": _secret,
        "ssl_providers": _text,
        "ssl_engine_location": _text,
        "ssl_engine_id": _text,
        "enable_ssl_certificate_verification": _flag,
        "ssl_endpoint_identification_algorithm": _IDENTIFICATION,
    }
)
_ALIASES: Final = MappingProxyType({"sasl_mechanisms": "sasl_mechanism"})
# The one option of librdkafka whose name has an underscore.
_UNDOTTED: Final = frozenset({"oauth_cb"})


class ConnectionConfig:
    """Connection and authentication settings of a Kafka cluster (C-01 to C-06).

    Only what is given here counts: neither environment variables nor files are read. Fields have librdkafka's names
    with underscores for dots; `sasl_mechanisms` may stand for `sasl_mechanism`. Settings with a fixed set of values
    take them in any letter case.

    Args:
        bootstrap_servers: `host:port[,host:port]`, required.
        security_protocol: `"plaintext"`, `"ssl"`, `"sasl_plaintext"` or `"sasl_ssl"`.
        sasl_mechanism: `"GSSAPI"`, `"PLAIN"`, `"SCRAM-SHA-256"`, `"SCRAM-SHA-512"` or `"OAUTHBEARER"`.
        sasl_username, sasl_password: credentials; the password is a secret.
        sasl_oauthbearer_method: `"oidc"` with the mechanism `"OAUTHBEARER"`: the client fetches tokens for
            `sasl_oauthbearer_client_id` and `sasl_oauthbearer_client_secret` from
            `sasl_oauthbearer_token_endpoint_url`, directly and not by a proxy, and renews them before they end.
        ssl_ca_location, ssl_certificate_location, ssl_key_location: paths of PEM files.
        ...: all other fields of row C-02. Each is optional and `None` by default.

    Raises:
        ValueError: a field is unknown, missing or has a value it cannot have.

    Printing one never shows a secret:

    >>> config = ConnectionConfig(
    ...     bootstrap_servers="kafka-1:9094", security_protocol="SASL_SSL",
    ...     sasl_mechanism="PLAIN", sasl_username="reader", sasl_password="hunter2",
    ... )
    >>> config
    ConnectionConfig(bootstrap_servers='kafka-1:9094', security_protocol='sasl_ssl', sasl_mechanism='PLAIN', \
sasl_username='reader', sasl_password=Secret('**********'))
    >>> config.as_librdkafka_dict()["sasl.password"]
    'hunter2'
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        values: dict[str, Any] = {}
        for given, value in fields.items():
            name = _ALIASES.get(given, given)
            check = _FIELDS.get(name)
            if check is None:
                raise ValueError(
                    f"ConnectionConfig has no field {given!r}; settings of librdkafka that are not about the"
                    " connection belong into consumer_extra_config and producer_extra_config"
                )
            if value is None:
                continue
            try:
                values[name] = check(value)
            except ValueError as error:
                raise ValueError(f"ConnectionConfig field {given!r}: {error}") from None
        if "bootstrap_servers" not in values:
            raise ValueError("ConnectionConfig needs bootstrap_servers, e.g. bootstrap_servers='localhost:9092'")
        object.__setattr__(self, "_values", {name: values[name] for name in _FIELDS if name in values})

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS:
            return self._values.get(name)
        raise AttributeError(f"ConnectionConfig has no field {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a ConnectionConfig cannot be changed; make a new one")

    @classmethod
    def from_librdkafka_dict(cls, config: Mapping[str, Any], ignore_extras: bool = False) -> ConnectionConfig:
        """Makes one of librdkafka's dotted names (C-03).

        Args:
            config: e.g. `{"bootstrap.servers": "kafka-1:9092"}`.
            ignore_extras: leave out names that are not about the connection, instead of refusing them.

        Raises:
            ValueError: as the constructor.

        >>> ConnectionConfig.from_librdkafka_dict({"bootstrap.servers": "a:1", "linger.ms": 5}, ignore_extras=True)
        ConnectionConfig(bootstrap_servers='a:1')
        """
        fields = {name.replace(".", "_"): value for name, value in config.items()}
        if ignore_extras:
            fields = {name: value for name, value in fields.items() if _ALIASES.get(name, name) in _FIELDS}
        return cls(**fields)

    def as_librdkafka_dict(self, plaintext_secrets: bool = True) -> dict[str, Any]:
        """The settings under librdkafka's names, those that are `None` left out (C-04, C-06).

        Args:
            plaintext_secrets: give secrets as text; `False` gives `Secret` objects, which print as stars.
        """
        return {
            name if name in _UNDOTTED else name.replace("_", "."): (
                value.get_secret_value() if plaintext_secrets and isinstance(value, Secret) else value
            )
            for name, value in self._values.items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConnectionConfig) and other._values == self._values

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._values.items())

    def __repr__(self) -> str:
        return f"ConnectionConfig({', '.join(f'{name}={value!r}' for name, value in self)})"

    # The two methods by which `copy` and `pickle` work although attributes cannot be set.
    def __reduce__(self) -> tuple[Callable[..., ConnectionConfig], tuple[dict[str, Any]]]:
        return _rebuild, (self._values,)


def _rebuild(values: dict[str, Any]) -> ConnectionConfig:
    return ConnectionConfig(**values)


def as_connection(broker_address: str | ConnectionConfig) -> ConnectionConfig:
    """The settings that an address stands for."""
    if isinstance(broker_address, ConnectionConfig):
        return broker_address
    if isinstance(broker_address, str):
        return ConnectionConfig(bootstrap_servers=broker_address)
    kind = type(broker_address).__name__
    raise TypeError(f"broker_address must be a text such as 'localhost:9092' or a ConnectionConfig, not {kind}")


StatisticsCallback = Callable[[str], object]

# What Quix Streams has; librdkafka itself makes none unless told how often.
_STATISTICS_INTERVAL_MS: Final = 30_000


def split_statistics(extra: Mapping[str, Any] | None) -> tuple[dict[str, Any], StatisticsCallback | None]:
    """Further settings of a client without `stats_cb`, and that (A-07). With one, statistics come every 30 s unless
    `statistics.interval.ms` says otherwise.

    Raises:
        TypeError: `stats_cb` cannot be called.

    >>> settings, callback = split_statistics({"linger.ms": 5, "stats_cb": print})
    >>> settings
    {'statistics.interval.ms': 30000, 'linger.ms': 5}
    """
    settings = dict(extra or {})
    callback = settings.pop("stats_cb", None)
    if callback is None:
        return settings, None
    if not callable(callback):
        raise TypeError(f"stats_cb is a function that takes the statistics as JSON text, not {type(callback).__name__}")
    return {"statistics.interval.ms": _STATISTICS_INTERVAL_MS, **settings}, callback


def client_settings(*layers: Mapping[str, Any]) -> dict[str, str]:
    """Settings for a native client, later layers winning: librdkafka takes every value as text.

    Raises:
        NotSupportedYet: a setting is a Python callback.
    """
    settings: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            if value is None:
                settings.pop(name, None)
            elif callable(value):
                raise NotSupportedYet(
                    f"The client setting {name!r} as a Python callback",
                    "let the client fetch its tokens by sasl_oauthbearer_method='oidc'"
                    if name == "oauth_cb"
                    else "leave it out; client events come through the logger 'millstream.kafka'",
                )
            elif isinstance(value, bool):
                settings[name] = "true" if value else "false"
            elif isinstance(value, Secret):
                settings[name] = value.get_secret_value()
            else:
                settings[name] = str(value)
    return settings


_SECRET_WORDS: Final = ("password", "secret", "token", "jaas", ".pem", "oauthbearer.config", "oauthbearer.extensions")


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of client settings fit for printing.

    >>> masked({"linger.ms": 5, "ssl.key.password": "hunter2"})
    {'linger.ms': 5, 'ssl.key.password': '**********'}
    """
    return {
        name: _MASK if any(word in name.lower() for word in _SECRET_WORDS) else value
        for name, value in settings.items()
    }
