"""`Consumer`: reads records from Kafka outside of a pipeline (parity rows A-36, M-21)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from millstream._millstream import (
    KafkaAdmin,
    KafkaConsumer,
    KafkaError,
    Message,
    TopicPartition,
    connection_settings,
)
from millstream.exceptions import MillstreamException, NotSupportedYet, PartitionAssignmentError

from .availability import Availability
from .configuration import ConnectionConfig, as_connection, client_settings, split_statistics
from .exceptions import KafkaConsumerException
from .metadata import ClusterMetadata, topics_of

__all__ = ("AutoOffsetReset", "BaseConsumer", "Consumer", "RebalancingCallback", "raise_for_msg_error")

AutoOffsetReset = Literal["earliest", "latest", "error"]
RebalancingCallback = Callable[["Consumer", list[TopicPartition]], None]
OnCommitCallback = Callable[[KafkaError | None, list[TopicPartition]], None]

_logger = logging.getLogger(__name__)


def raise_for_msg_error(message: Message) -> Message:
    """The message, or `KafkaConsumerException` if it stands for an error.

    Raises:
        KafkaConsumerException: `message.error()` is set.
    """
    error = message.error()
    if error is not None:
        raise KafkaConsumerException(error)
    return message


class Consumer:
    """Reads records of topics, alone or in a group. Connects when it is first used; closes when its `with` block ends.

    Usually made by `Application.get_consumer()`; to deserialize, see `Topic.deserialize()`. Messages and partitions
    have the methods of confluent-kafka's.

    Args:
        broker_address: `host:port` or a `ConnectionConfig`.
        consumer_group: name of the group, or `None`.
        auto_offset_reset: where to begin without a committed offset: `"earliest"`, `"latest"`, or `"error"`.
        auto_commit_enable: commit stored offsets now and then. Only offsets given to `store_offsets()` are stored,
            unless `extra_config` sets `enable.auto.offset.store`.
        logger: kept for compatibility; client events go to the logger `millstream.kafka`.
        error_callback, on_commit: not supported yet; must be `None`.
        extra_config: further settings by librdkafka's names. `stats_cb` is called from `poll()` and `consume()` with the
            statistics as JSON text, every 30 s unless `statistics.interval.ms` says otherwise.

    Raises:
        NotSupportedYet: for the arguments that say so.

    ```python
    with app.get_consumer() as consumer:
        consumer.subscribe([topic.name])
        message = consumer.poll(timeout=5)
        print(topic.deserialize(message).value)
    ```
    """

    def __init__(
        self,
        broker_address: str | ConnectionConfig,
        consumer_group: str | None,
        auto_offset_reset: AutoOffsetReset,
        auto_commit_enable: bool = True,
        logger: logging.Logger = _logger,
        error_callback: Callable[[KafkaError], None] | None = None,
        on_commit: OnCommitCallback | None = None,
        extra_config: Mapping[str, Any] | None = None,
    ) -> None:
        if error_callback is not None:
            raise NotSupportedYet("error_callback", "check message.error(), or read the logger 'millstream.kafka'")
        if on_commit is not None:
            raise NotSupportedYet("on_commit", "call commit(asynchronous=False), which returns the outcome")
        extra, self._on_statistics = split_statistics(extra_config)
        self._settings = client_settings(
            {"enable.auto.offset.store": False, "partition.assignment.strategy": "range"},
            extra,
            as_connection(broker_address).as_librdkafka_dict(),
            {
                "group.id": consumer_group,
                "enable.auto.commit": auto_commit_enable,
                "auto.offset.reset": auto_offset_reset,
            },
        )
        self._logger = logger
        self._native: KafkaConsumer | None = None
        self._availability = Availability(connection_settings(self._settings))

    @property
    def _client(self) -> KafkaConsumer:
        if self._native is None:
            self._native = KafkaConsumer(self._settings, self._on_statistics)
        return self._native

    # -- Which records -------------------------------------------------------------------------

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: RebalancingCallback | None = None,
        on_revoke: RebalancingCallback | None = None,
        on_lost: RebalancingCallback | None = None,
    ) -> None:
        """Joins the group for these topics.

        Args:
            topics: names; one that begins with `^` is a regular expression.
            on_assign, on_revoke, on_lost: called from `poll()` with this consumer and the partitions.

        An exception in a callback comes out of `poll()`: those of this package as they are, others as the cause of a
        `PartitionAssignmentError`.
        """
        self._client.subscribe(
            list(topics), self._guarded(on_assign), self._guarded(on_revoke), self._guarded(on_lost)
        )

    def _guarded(
        self, callback: RebalancingCallback | None
    ) -> Callable[[list[TopicPartition]], None] | None:
        if callback is None:
            return None

        def call(partitions: list[TopicPartition]) -> None:
            try:
                callback(self, partitions)
            except MillstreamException:
                raise
            except Exception as error:
                raise PartitionAssignmentError("Error during partition assignment") from error

        return call

    def unsubscribe(self) -> None:
        """Leaves the topics subscribed to."""
        self._client.unsubscribe()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Reads exactly these partitions, from their offsets."""
        self._client.assign(list(partitions))

    def unassign(self) -> None:
        """Reads no partition any more."""
        self._client.unassign()

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Not supported yet: use `assign()`."""
        raise NotSupportedYet("Consumer.incremental_assign()", "use assign() with all partitions")

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        """Not supported yet: use `assign()`."""
        raise NotSupportedYet("Consumer.incremental_unassign()", "use assign() with the remaining partitions")

    def assignment(self) -> list[TopicPartition]:
        """The partitions being read."""
        return self._client.assignment()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Holds these partitions."""
        self._client.pause(list(partitions))

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Goes on with these partitions."""
        self._client.resume(list(partitions))

    def seek(self, partition: TopicPartition) -> None:
        """Goes to the offset of `partition`."""
        self._client.seek(partition)

    # -- Reading -------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None) -> Message | None:
        """The next message, or `None` if none arrives within `timeout` seconds (`None`: for ever).

        A message may stand for an error: see `message.error()`.
        """
        return self._client.poll(timeout)

    def consume(self, num_messages: int = 1, timeout: float | None = None) -> list[Message]:
        """Up to `num_messages` messages, fewer if `timeout` seconds pass first."""
        return self._client.consume(num_messages, timeout)

    # -- Offsets -------------------------------------------------------------------------------

    def store_offsets(
        self, message: Message | None = None, offsets: Sequence[TopicPartition] | None = None
    ) -> None:
        """Marks a message, or these offsets, for the next automatic commit."""
        self._client.store_offsets(message, None if offsets is None else list(offsets))

    def commit(
        self,
        message: Message | None = None,
        offsets: Sequence[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None:
        """Commits a message, these offsets, or the current positions.

        Returns:
            What was committed, with each partition's error; `None` if asynchronous.
        """
        return self._client.commit(message, None if offsets is None else list(offsets), asynchronous)

    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]:
        """The group's committed offsets; -1001 where there is none."""
        return self._client.committed(list(partitions), timeout)

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The offset that is read next, per partition."""
        return self._client.position(list(partitions))

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float | None = None, cached: bool = False
    ) -> tuple[int, int]:
        """The first offset that is still there, and the one that the next record will get."""
        return self._client.get_watermark_offsets(partition, timeout, cached)

    def offsets_for_times(
        self, partitions: Sequence[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]:
        """The first offsets at or after the times (ms) that stand in place of the partitions' offsets."""
        return self._client.offsets_for_times(list(partitions), timeout)

    # -- The cluster ---------------------------------------------------------------------------

    def list_topics(self, topic: str | None = None, timeout: float | None = None) -> ClusterMetadata:
        """The topics of the cluster.

        Args:
            topic: only this one.
            timeout: seconds; `None` waits for half a minute.
        """
        admin = KafkaAdmin(connection_settings(self._settings))
        try:
            found = topics_of(admin.list_topics(30.0 if timeout is None else timeout))
        finally:
            admin.close()
        return ClusterMetadata({name: found[name] for name in found if topic in (None, name)})

    def memberid(self) -> str | None:
        """The id of this member in its group, once it has joined."""
        return self._client.memberid()

    def consumer_group_metadata(self) -> Any:
        """Not supported yet: it is for transactions."""
        raise NotSupportedYet("Consumer.consumer_group_metadata()", "commit with commit(), without a transaction")

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Not supported yet: make a new consumer."""
        raise NotSupportedYet("Consumer.set_sasl_credentials()", "make a new Consumer with the new credentials")

    def raise_if_broker_unavailable(self, timeout: float) -> None:
        """Raises `KafkaBrokerUnavailableError` if no broker has been reachable for `timeout` seconds."""
        self._availability.check(timeout)

    def close(self) -> None:
        """Commits stored offsets if automatic commits are on, and leaves the group."""
        if self._native is not None:
            self._native.close()
            self._native = None

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer broker={self._settings['bootstrap.servers']!r} group={self._settings.get('group.id')!r}>"


BaseConsumer = Consumer
"""The name under which Quix Streams has the base class."""
