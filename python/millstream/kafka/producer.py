"""`Producer`: writes records to Kafka outside of a pipeline (parity rows A-35, M-20)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from millstream._millstream import KafkaError, KafkaProducer, Message, connection_settings
from millstream.exceptions import NotSupportedYet

from .availability import Availability
from .configuration import ConnectionConfig, as_connection, client_settings, split_statistics

if TYPE_CHECKING:
    from millstream.models.types import Headers

__all__ = ("PRODUCER_ON_ERROR_RETRIES", "PRODUCER_POLL_TIMEOUT", "Producer")

DeliveryCallback = Callable[[KafkaError | None, Message], None]

PRODUCER_POLL_TIMEOUT = 30.0
PRODUCER_ON_ERROR_RETRIES = 10

_logger = logging.getLogger(__name__)


class Producer:
    """Writes already serialized records. Connects when it is first used; flushes when its `with` block ends.

    Usually made by `Application.get_producer()`; to serialize, see `Topic.serialize()`.

    Args:
        broker_address: `host:port` or a `ConnectionConfig`.
        logger: kept for compatibility; client events go to the logger `millstream.kafka`.
        error_callback: not supported yet; must be `None`.
        extra_config: further settings by librdkafka's names. The partitioner is `murmur2` unless set here (C-11).
            `stats_cb` is called from `poll()` and `flush()` with the statistics as JSON text, every 30 s unless
            `statistics.interval.ms` says otherwise; where none of them is called, only the last statistics are kept.
        flush_timeout: seconds that `flush()` waits by default; `None` waits for ever.
        transactional: not supported yet; must be `False`.

    Raises:
        NotSupportedYet: for the arguments that say so.

    ```python
    with app.get_producer() as producer:
        message = topic.serialize(key=b"sensor-1", value={"celsius": 21.5})
        producer.produce(topic.name, key=message.key, value=message.value)
    ```
    """

    def __init__(
        self,
        broker_address: str | ConnectionConfig,
        logger: logging.Logger = _logger,
        error_callback: Callable[[KafkaError], None] | None = None,
        extra_config: Mapping[str, Any] | None = None,
        flush_timeout: float | None = None,
        transactional: bool = False,
    ) -> None:
        if transactional:
            raise NotSupportedYet("A transactional producer", "use one without transactional=True (at-least-once)")
        if error_callback is not None:
            raise NotSupportedYet(
                "error_callback", "pass on_delivery to produce(), or read the logger 'millstream.kafka'"
            )
        extra, self._on_statistics = split_statistics(extra_config)
        self._settings = client_settings(
            {"partitioner": "murmur2"},
            extra,
            as_connection(broker_address).as_librdkafka_dict(),
        )
        self._logger = logger
        self._flush_timeout = flush_timeout
        self._native: KafkaProducer | None = None
        self._availability = Availability(connection_settings(self._settings))

    @property
    def _client(self) -> KafkaProducer:
        if self._native is None:
            self._native = KafkaProducer(self._settings, self._on_statistics)
        return self._native

    @property
    def transactional(self) -> bool:
        """Whether it writes in transactions: `False` in this release."""
        return False

    @property
    def instantiated(self) -> bool:
        """Whether it has connected."""
        return self._native is not None

    def produce(
        self,
        topic: str,
        value: str | bytes | None = None,
        key: str | bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
        poll_timeout: float = PRODUCER_POLL_TIMEOUT,
        buffer_error_max_tries: int = PRODUCER_ON_ERROR_RETRIES,
        on_delivery: DeliveryCallback | None = None,
    ) -> None:
        """Queues one record and polls once.

        Args:
            topic: name of the topic.
            value, key: serialized; `None` is null.
            headers: pairs of name and value, or a mapping.
            partition: `None` lets the partitioner choose by the key.
            timestamp: ms since the epoch; `None` is now.
            poll_timeout: seconds to wait for room when the queue is full, per try.
            buffer_error_max_tries: how often to try with a full queue.
            on_delivery: called with an error or `None`, and the message, from a later call. What it raises comes out
                of that call; the reports behind it are told by the next one. It may produce again: `flush()` waits
                for that record, too.

        Raises:
            BufferError: the queue stayed full.
        """
        tries = 0
        while True:
            tries += 1
            try:
                self._client.produce(topic, value, key, headers, partition, timestamp, on_delivery)
            except BufferError:
                if buffer_error_max_tries < 1 or tries >= buffer_error_max_tries:
                    raise
                self._client.poll(poll_timeout)
            else:
                # Not the statistics: the record is taken, and what their callback raises would read as if it were not.
                self._client.poll(0, statistics=False)
                return

    def poll(self, timeout: float = 0) -> int:
        """Serves delivery reports, waiting up to `timeout` seconds; returns how many."""
        return self._client.poll(timeout)

    def flush(self, timeout: float | None = None) -> int:
        """Waits until everything queued is delivered.

        Args:
            timeout: seconds; `None` takes the `flush_timeout` of the constructor.

        Returns:
            How many records are still queued.
        """
        if self._native is None:
            return 0
        return self._native.flush(self._flush_timeout if timeout is None else timeout)

    def purge(self) -> None:
        """Throws away what is queued and not yet sent."""
        self._client.purge()

    def raise_if_broker_unavailable(self, timeout: float) -> None:
        """Raises `KafkaBrokerUnavailableError` if no broker has been reachable for `timeout` seconds."""
        self._availability.check(timeout)

    def begin_transaction(self) -> None:
        """Needs a transactional producer: raises `InvalidProducerConfigError`."""
        raise self._not_transactional()

    def send_offsets_to_transaction(
        self, positions: Any, group_metadata: Any, timeout: float | None = None
    ) -> None:
        """Needs a transactional producer: raises `InvalidProducerConfigError`."""
        raise self._not_transactional()

    def commit_transaction(self, timeout: float | None = None) -> None:
        """Needs a transactional producer: raises `InvalidProducerConfigError`."""
        raise self._not_transactional()

    def abort_transaction(self, timeout: float | None = None) -> None:
        """Needs a transactional producer: raises `InvalidProducerConfigError`."""
        raise self._not_transactional()

    @staticmethod
    def _not_transactional() -> Exception:
        from .exceptions import InvalidProducerConfigError

        return InvalidProducerConfigError(
            "this producer was not made for transactions; transactional producers are not supported yet"
        )

    def __len__(self) -> int:
        return 0 if self._native is None else len(self._native)

    def __bool__(self) -> bool:
        # Without this an idle producer, whose length is 0, would be false.
        return True

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.flush()

    def __repr__(self) -> str:
        return f"<Producer broker={self._settings['bootstrap.servers']!r}>"
