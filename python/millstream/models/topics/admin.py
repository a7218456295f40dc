"""`TopicAdmin`: looks topics up and creates them (parity rows T-12, T-31)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from millstream._millstream import KafkaAdmin, KafkaError
from millstream.kafka.configuration import ConnectionConfig, as_connection, client_settings
from millstream.kafka.exceptions import KafkaBrokerUnavailableError, KafkaException
from millstream.kafka.metadata import TopicMetadata, topics_of

from .exceptions import CreateTopicFailure, CreateTopicTimeout
from .topic import Topic, TopicConfig

__all__ = ("TopicAdmin",)

_logger = logging.getLogger(__name__)

# Kafka's codes for errors that have advice of their own.
_INVALID_TOPIC, _EXISTS, _NOT_AUTHORIZED, _REPLICATION = 17, 36, 29, 38
# New topics show up within milliseconds on one broker, within a second or so on a cluster.
_VISIBLE_POLL_S = 0.05


class TopicAdmin:
    """Looks topics up and creates them (T-31).

    Args:
        broker_address: `host:port` or a `ConnectionConfig`.
        logger: where it says which topics it creates.
        extra_config: further settings of librdkafka.
    """

    def __init__(
        self,
        broker_address: str | ConnectionConfig,
        logger: logging.Logger = _logger,
        extra_config: Mapping[str, Any] | None = None,
    ) -> None:
        connection = as_connection(broker_address)
        self._settings = client_settings(extra_config or {}, connection.as_librdkafka_dict())
        self._address = connection.bootstrap_servers
        self._logger = logger
        self._native: KafkaAdmin | None = None

    @property
    def _client(self) -> KafkaAdmin:
        if self._native is None:
            self._native = KafkaAdmin(self._settings)
        return self._native

    def list_topics(self, timeout: float = -1) -> dict[str, TopicMetadata]:
        """The topics of the cluster.

        Args:
            timeout: seconds; -1 waits for a day.

        Raises:
            KafkaBrokerUnavailableError: no broker answered in time.
        """
        with _Reachable(self._address, timeout):
            return topics_of(self._client.list_topics(_seconds(timeout)))

    def inspect_topics(
        self, topic_names: Sequence[str], timeout: float = 30
    ) -> dict[str, TopicConfig | None]:
        """The settings of topics; `None` for one that does not exist.

        Args:
            topic_names: names.
            timeout: seconds.

        Raises:
            KafkaBrokerUnavailableError: no broker answered in time.
            TopicPermissionError: the credentials do not allow it.
        """
        return {name: self._inspect(name, timeout) for name in topic_names}

    def _inspect(self, name: str, timeout: float) -> TopicConfig | None:
        try:
            with _Reachable(self._address, timeout):
                found = self._client.inspect_topics([name], _seconds(timeout))[name]
        except KafkaException as error:
            if error.code == _INVALID_TOPIC:
                # There can be no topic of that name. Creating it says what is wrong with the name.
                return None
            raise
        if found is None:
            return None
        partitions, replicas, settings = found
        return TopicConfig(
            partitions, replicas, {option: value for option, value in settings.items() if value is not None}
        )

    def create_topics(
        self, topics: Iterable[Topic], timeout: float = 30, finalize_timeout: float = 60
    ) -> None:
        """Creates those topics that do not exist, and waits until they are visible.

        Args:
            topics: with their `create_config`; what it leaves open is the broker's default.
            timeout: seconds for the request.
            finalize_timeout: seconds for the topics to become visible.

        Raises:
            CreateTopicFailure: the broker refused; the text has its reason and what to do.
            CreateTopicTimeout: they did not become visible in time.
            KafkaBrokerUnavailableError: no broker answered in time.
        """
        missing = {topic.name: topic for topic in topics}
        for name in self.list_topics(timeout).keys() & missing.keys():
            del missing[name]
        if not missing:
            return
        orders = []
        for topic in missing.values():
            config = topic.create_config or TopicConfig(None, None)
            self._logger.info("Creating topic %r: %s", topic.name, config.as_dict())
            orders.append(
                (topic.name, config.num_partitions or -1, config.replication_factor or -1, config.extra_config)
            )
        with _Reachable(self._address, timeout):
            answers = self._client.create_topics(orders, _seconds(timeout))
        # Another process may have been quicker, which is as good (T-14).
        refused = {
            name: error for name, error in answers.items() if error is not None and error.code() != _EXISTS
        }
        if refused:
            raise CreateTopicFailure(creation_advice(refused))
        self._await_visible(set(missing), timeout, finalize_timeout)

    def _await_visible(self, names: set[str], timeout: float, finalize_timeout: float) -> None:
        deadline = time.monotonic() + finalize_timeout
        while hidden := names - self.list_topics(timeout).keys():
            if time.monotonic() > deadline:
                raise CreateTopicTimeout(
                    f"topics not visible {finalize_timeout:g} s after they were created: {', '.join(sorted(hidden))};"
                    " look at the brokers, or raise topic_create_timeout"
                )
            time.sleep(_VISIBLE_POLL_S)

    # A process that gets this object by pickling makes a connection of its own.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_native": None}

    def __repr__(self) -> str:
        return f"<TopicAdmin broker={self._address!r}>"


def _seconds(timeout: float) -> float:
    return timeout if timeout >= 0 else 86_400.0


def creation_advice(refused: Mapping[str, KafkaError]) -> str:
    """What to do about topics that the broker refused to create."""
    return "; ".join(f"topic {name!r} could not be created: {_advice(error)}" for name, error in refused.items())


def _advice(error: KafkaError) -> str:
    match error.code():
        case code if code == _INVALID_TOPIC:
            return (
                "Kafka does not allow this name; use at most 249 letters (a-z, A-Z), digits, '.', '_' and '-', and not"
                " '.' or '..' alone"
            )
        case code if code == _NOT_AUTHORIZED:
            return f"{error.str()}; the credentials need the rights Create and Describe"
        case code if code == _REPLICATION:
            return f"{error.str()}; pass config=TopicConfig(..., replication_factor=N) with no more than the brokers"
        case _:
            return error.str()


class _Reachable:
    """Says which address was tried and what to do when no broker answers."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, KafkaBrokerUnavailableError):
            raise KafkaBrokerUnavailableError(
                f"no Kafka broker answers at {self._address} (waited {self._timeout:g} s); check that it runs and that"
                " broker_address is right, or leave broker_address out to use the embedded broker"
            ) from error
