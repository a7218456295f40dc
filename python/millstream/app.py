"""`Application`: a pipeline's connection to Kafka, its settings, and its run (section 1 of the parity rows)."""

from __future__ import annotations

import logging
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

from millstream import _embedded
from millstream._application_config import (
    ApplicationConfig,
    ClientName,
    ProcessingGuarantee,
    StateRecoveryOffsetReset,
)
from millstream._environment import Environment
from millstream._millstream import Runner, connection_settings
from millstream.dataframe import StreamingDataFrame
from millstream.error_callbacks import (
    ConsumerErrorCallback,
    ProcessingErrorCallback,
    ProducerErrorCallback,
    default_on_consumer_error,
    default_on_processing_error,
    default_on_producer_error,
)
from millstream.exceptions import NotSupportedYet
from millstream.kafka import AutoOffsetReset, ConnectionConfig, Consumer, Producer
from millstream.kafka.configuration import as_connection, client_settings, split_statistics
from millstream.logging import LogLevel, configure_logging
from millstream.models import (
    DeserializerType,
    SerializerType,
    TimestampExtractor,
    Topic,
    TopicAdmin,
    TopicConfig,
    TopicManager,
)
from millstream.processing import ProcessingContext
from millstream.state.exceptions import PartitionStoreIsUsed
from millstream.state.rocksdb.options import RocksDBOptions

__all__ = ("Application", "ApplicationConfig")

MessageProcessedCallback = Callable[[str, int, int], None]

_logger = logging.getLogger(__name__)

_DEFAULT_GROUP = "quixstreams-default"
# defaults that a user's settings may override.
_CONSUMER_DEFAULTS: Mapping[str, Any] = {"fetch.queue.backoff.ms": 100}
_PRODUCER_DEFAULTS: Mapping[str, Any] = {"enable.idempotence": True}


class Application:
    """Connects pipelines to Kafka and runs them.

    Without a broker address it uses the embedded broker: a durable single-node Kafka broker, started as a process of
    its own and shared by all applications in the directory. With an address, or the environment variable
    `Quix__Broker__Address`, the same program runs on that cluster.

    Args:
        broker_address: `"host:9092"`, several joined by commas, a `ConnectionConfig`, or `"embedded"`. Default: the
            environment variable `Quix__Broker__Address`, else the embedded broker (not under Kubernetes).
        quix_sdk_token, quix_portal_api, quix_config_builder: Quix Cloud; not supported yet.
        consumer_group: name of the consumer group, part of the names of internal topics and of the state directory.
            Default: the environment variable `Quix__Consumer_Group`, else `"quixstreams-default"`.
        auto_offset_reset: where to begin without a committed offset: `"latest"`, `"earliest"`, or `"error"`.
        commit_interval: seconds from one checkpoint to the next.
        commit_every: make a checkpoint after so many records, too; 0 does not.
        consumer_extra_config, producer_extra_config: further settings by librdkafka's names. `stats_cb`: a function that
            is given the client's statistics as JSON text, every 30 s unless `statistics.interval.ms` says otherwise
            (`docs/statistics.md`); an exception in it ends the run.
        state_dir: directory for state. Default: the environment variable `Quix__Deployment__State__Path`, else
            `state`, or with the embedded broker the folder `state` of its data directory.
        rocksdb_options: settings of the stores.
        on_consumer_error, on_processing_error, on_producer_error: see `millstream.error_callbacks`. Default: log, and
            stop with the exception.
        on_message_processed: called with topic, partition and offset after each record read.
        consumer_poll_timeout: seconds that a poll waits at most.
        producer_poll_timeout: accepted; deliveries are served without waiting.
        loglevel: level of the logger `millstream`; `None` leaves logging untouched.
        auto_create_topics: create topics that do not exist.
        use_changelog_topics: back state by changelog topics. Without, a lost disk is lost state.
        auto_recover_from_source_offset_out_of_range: rebuild the state from its changelog when retention has deleted
            records behind the committed offset (CK-40); `False` fails instead.
        state_recovery_offset_reset: where to go on then: `"earliest"`, `"latest"` (with empty state), or `"match"`,
            which is as `auto_offset_reset`.
        topic_manager: a `TopicManager` to use.
        request_timeout: seconds for a request to the brokers.
        topic_create_timeout: seconds for a new topic to become visible.
        processing_guarantee: `"at-least-once"`; `"exactly-once"` is not supported yet.
        max_partition_buffer_size: for joins; without effect yet.
        broker_availability_timeout: seconds without any broker after which the run fails; 0 waits for ever.
        data_dir: directory of the embedded broker. Default: the environment variable `MILLSTREAM_DATA_DIR`, else
            `.millstream`.
        workers: number of worker threads; only 1 is supported yet.
        client: the Kafka client underneath: `"millstream"`, our own, or `"librdkafka"`, for settings that ours does not
            have; it must have been built in (`MILLSTREAM_LIBRDKAFKA=1`). Default: the environment variable
            `MILLSTREAM_CLIENT`, else `"millstream"`.

    Raises:
        ValueError: a setting has a value that it cannot have, or no broker is named under Kubernetes.
        NotSupportedYet: a setting asks for what this release does not have.

    ```python
    from millstream import Application

    app = Application(consumer_group="alarms", auto_offset_reset="earliest")
    readings = app.topic("readings")
    alarms = app.topic("alarms")

    sdf = app.dataframe(readings)
    sdf = sdf[sdf["celsius"] > 30].to_topic(alarms)
    app.run()
    ```
    """

    def __init__(
        self,
        broker_address: str | ConnectionConfig | None = None,
        *,
        quix_sdk_token: str | None = None,
        quix_portal_api: str | None = None,
        consumer_group: str | None = None,
        auto_offset_reset: AutoOffsetReset = "latest",
        commit_interval: float = 5.0,
        commit_every: int = 0,
        consumer_extra_config: dict[str, Any] | None = None,
        producer_extra_config: dict[str, Any] | None = None,
        state_dir: str | Path | None = None,
        rocksdb_options: RocksDBOptions | None = None,
        on_consumer_error: ConsumerErrorCallback | None = None,
        on_processing_error: ProcessingErrorCallback | None = None,
        on_producer_error: ProducerErrorCallback | None = None,
        on_message_processed: MessageProcessedCallback | None = None,
        consumer_poll_timeout: float = 1.0,
        producer_poll_timeout: float = 0.0,
        loglevel: int | LogLevel | None = "INFO",
        auto_create_topics: bool = True,
        use_changelog_topics: bool = True,
        auto_recover_from_source_offset_out_of_range: bool = True,
        state_recovery_offset_reset: StateRecoveryOffsetReset = "earliest",
        quix_config_builder: object = None,
        topic_manager: TopicManager | None = None,
        request_timeout: float = 30,
        topic_create_timeout: float = 60,
        processing_guarantee: ProcessingGuarantee = "at-least-once",
        max_partition_buffer_size: int = 10_000,
        broker_availability_timeout: float = 120.0,
        data_dir: str | Path | None = None,
        workers: int = 1,
        client: ClientName | None = None,
    ) -> None:
        configure_logging(loglevel)
        if broker_availability_timeout < 0:
            raise ValueError(f"broker_availability_timeout must not be negative, got {broker_availability_timeout}")
        if workers != 1:
            raise NotSupportedYet(f"workers={workers}", "start the program several times; its processes share the work")
        if client not in (None, "librdkafka", "millstream"):
            raise ValueError(f'client must be "librdkafka" or "millstream", got {client!r}')
        chosen = {} if client is None else {"millstream.client": client}
        environment = Environment.read()
        connection, embedded_dir = self._connection(
            broker_address, quix_sdk_token, quix_config_builder, data_dir, environment
        )
        if state_dir is None:
            beside = Path("state") if embedded_dir is None else embedded_dir / "state"
            state_dir = environment.state_dir or beside
        self._config = ApplicationConfig(
            broker_address=connection,
            consumer_group=consumer_group or environment.consumer_group or _DEFAULT_GROUP,
            auto_offset_reset=auto_offset_reset,
            commit_interval=commit_interval,
            commit_every=commit_every,
            producer_extra_config={**_PRODUCER_DEFAULTS, **(producer_extra_config or {}), **chosen},
            consumer_extra_config={**_CONSUMER_DEFAULTS, **(consumer_extra_config or {}), **chosen},
            processing_guarantee=processing_guarantee,
            consumer_poll_timeout=consumer_poll_timeout,
            producer_poll_timeout=producer_poll_timeout,
            auto_create_topics=auto_create_topics,
            request_timeout=request_timeout,
            topic_create_timeout=topic_create_timeout,
            state_dir=Path(state_dir),
            rocksdb_options=rocksdb_options,
            use_changelog_topics=use_changelog_topics,
            auto_recover_from_source_offset_out_of_range=auto_recover_from_source_offset_out_of_range,
            state_recovery_offset_reset=state_recovery_offset_reset,
            max_partition_buffer_size=max_partition_buffer_size,
        )
        self._refuse_unsupported()
        self._on_consumer_error = on_consumer_error
        self._on_processing_error = on_processing_error
        self._on_producer_error = on_producer_error
        self._on_message_processed = on_message_processed
        self._broker_availability_timeout = broker_availability_timeout
        self._topic_manager = topic_manager or TopicManager(
            self._topic_admin(),
            self._config.consumer_group,
            self._config.request_timeout,
            self._config.topic_create_timeout,
            self._config.auto_create_topics,
        )
        self._context = ProcessingContext(
            self._config.consumer_group,
            self._config.use_changelog_topics,
            self._topic_manager,
            self._config.rocksdb_options,
        )
        options = self._config.rocksdb_options or RocksDBOptions()
        self._context.builder.set_expiry(
            max_evictions_per_flush=options.max_evictions_per_flush,
            changelog_tombstones=options.ttl_changelog_tombstones,
        )
        if options._without_effect():
            _logger.warning("Without effect in Millstream: rocksdb_options %s", ", ".join(options._without_effect()))
        self._runner: Runner | None = None
        # Between `stop()` in one thread and `run()` in another.
        self._lock = threading.Lock()

    def _connection(
        self,
        broker_address: str | ConnectionConfig | None,
        quix_sdk_token: str | None,
        quix_config_builder: object,
        data_dir: str | Path | None,
        environment: Environment,
    ) -> tuple[ConnectionConfig, Path | None]:
        """Which broker: the connection, and the data directory if it is the embedded one (A-01)."""
        address = broker_address or environment.broker_address
        if address is None:
            if quix_sdk_token or quix_config_builder or environment.sdk_token:
                raise NotSupportedYet(
                    "Connecting to Quix Cloud (quix_sdk_token)",
                    "pass the address of its Kafka brokers: Application(broker_address=ConnectionConfig(...))",
                )
            _embedded.refuse_on_kubernetes(environment)
        elif address != "embedded":
            return as_connection(address), None
        directory = Path(data_dir or environment.data_dir or _embedded.DEFAULT_DATA_DIR)
        return _embedded.embedded_broker(directory), directory

    def _topic_admin(self) -> TopicAdmin:
        return TopicAdmin(self._config.broker_address, extra_config=self._admin_settings())

    def _admin_settings(self) -> dict[str, Any]:
        return connection_settings(self._config.producer_extra_config)

    def _refuse_unsupported(self) -> None:
        config = self._config
        if config.exactly_once:
            raise NotSupportedYet(
                'processing_guarantee="exactly-once"',
                'use "at-least-once": state counts each record once; outputs may repeat after a crash',
            )

    # -- Declaring -----------------------------------------------------------------------------

    @property
    def config(self) -> ApplicationConfig:
        """The settings (A-38)."""
        return self._config

    @property
    def is_quix_app(self) -> bool:
        """Whether it runs on Quix Cloud: no."""
        return False

    @classmethod
    def Quix(cls, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: N802 - the name that programs use
        """Gone; raises `AttributeError` (A-39)."""
        raise AttributeError(
            "Application.Quix() is gone; use Application(quix_sdk_token=...), or Application(broker_address=...) with"
            " the address of the Kafka brokers"
        )

    def topic(
        self,
        name: str,
        value_deserializer: DeserializerType = "json",
        key_deserializer: DeserializerType = "bytes",
        value_serializer: SerializerType = "json",
        key_serializer: SerializerType = "bytes",
        config: TopicConfig | None = None,
        timestamp_extractor: TimestampExtractor | None = None,
    ) -> Topic:
        """Declares a topic to read or write: looks it up, and creates it if it is missing (A-30, T-10).

        Args:
            name: the topic's name.
            value_deserializer, key_deserializer: how to read it: a name (`"json"`, `"bytes"`, `"str"`, `"int"`,
                `"double"`) or a `Deserializer`.
            value_serializer, key_serializer: how to write it.
            config: how to create it. Default: 1 partition, 1 copy.
            timestamp_extractor: `(value, headers, timestamp_ms, timestamp_type) -> timestamp_ms`, for records whose
                time is in the value.

        Raises:
            ValueError: an unknown format.
            TopicNotFoundError: it is missing and `auto_create_topics` is off.
            CreateTopicFailure: the broker refused to create it, for instance because of its name.
            KafkaBrokerUnavailableError: no broker answers.
        """
        return self._topic_manager.topic(
            name,
            value_deserializer,
            key_deserializer,
            value_serializer,
            key_serializer,
            config,
            timestamp_extractor,
        )

    def dataframe(self, topic: Topic | None = None, source: object = None) -> StreamingDataFrame:
        """Begins a pipeline that reads a topic (A-31).

        Args:
            topic: made by `topic()`.
            source: not supported yet.

        Raises:
            ValueError: no topic.
            StreamingDataFrameDuplicate: there is a dataframe for this topic already.
        """
        if source is not None:
            self.add_source(source)
        if topic is None:
            raise ValueError("dataframe() needs a topic, e.g. app.dataframe(app.topic('readings'))")
        if not isinstance(topic, Topic):
            raise TypeError(
                f"dataframe() needs a Topic, not {type(topic).__name__}; e.g. app.dataframe(app.topic('readings'))"
            )
        self._context.registry.check_free(topic.name)
        if self._topic_manager.topics.get(topic.name) is not topic:
            self._topic_manager.register(topic)
        self._context.changed()
        node = self._context.builder.source(topic._spec())
        dataframe = StreamingDataFrame(topic, processing_context=self._context, node=node)
        self._context.registry.register_root(dataframe)
        return dataframe

    def add_source(self, source: object, topic: Topic | None = None) -> NoReturn:
        """Not supported yet: write to a topic with `get_producer()`."""
        raise NotSupportedYet(
            "Sources", "write to a topic with app.get_producer() or `millstream produce`, and read that topic"
        )

    # -- Running -------------------------------------------------------------------------------

    def run(
        self,
        dataframe: StreamingDataFrame | None = None,
        timeout: float = 0.0,
        count: int = 0,
        collect: bool = True,
        metadata: bool = False,
    ) -> list[dict[Any, Any]]:
        """Runs the pipelines until it is stopped (A-33, A-50 to A-62). Works in any thread, and again after it ended.

        SIGINT (Ctrl-C) and SIGTERM end it after the current batch, with a checkpoint; a second Ctrl-C interrupts.

        Args:
            dataframe: a leftover; ignored.
            timeout: end after so many seconds without a record; 0 does not.
            count: end after so many outputs; 0 does not. An output is a record that reached the end of a branch.
            collect: return the outputs, if `timeout` or `count` is given.
            metadata: put `_key`, `_timestamp`, `_headers`, `_topic`, `_partition` and `_offset` in front of each.

        Returns:
            The outputs as dicts (a value that is no dict as `{"_value": value}`), or an empty list.

        Raises:
            ValueError: there is no dataframe.
            Exception: whatever a record's processing raised and no error callback suppressed.
        """
        if dataframe is not None:
            warnings.warn("run(dataframe) ignores its argument; call run()", FutureWarning, stacklevel=2)
        if not self._context.registry.consumer_topics:
            raise ValueError("there is nothing to run; begin a pipeline with app.dataframe(app.topic(...))")
        self._log_settings()
        with self._lock:
            if self._runner is not None and self._runner.running:
                raise RuntimeError("this application runs already; make another one to run twice")
            runner = self._runner = self._new_runner()
        try:
            return runner.run(
                self._context.topology(),
                timeout_ms=round(max(0.0, timeout) * 1000),
                count=max(0, count),
                collect=collect,
                metadata=metadata,
            )
        finally:
            self._context.printer.finish()

    def stop(self, fail: bool = False) -> None:
        """Asks `run()` to end (A-34). Callable from any thread, and from user functions.

        Args:
            fail: do not commit what was processed since the last checkpoint.
        """
        with self._lock:
            if self._runner is not None:
                self._runner.stop(fail)

    def clear_state(self) -> None:
        """Deletes the state of this consumer group on this machine (A-37); it is restored from changelogs.

        Raises:
            PartitionStoreIsUsed: the application runs.
        """
        if self._runner is not None and self._runner.running:
            raise PartitionStoreIsUsed("state cannot be cleared while the application runs; stop it first")
        shutil.rmtree(self._config.state_dir / self._config.consumer_group, ignore_errors=True)

    def _new_runner(self) -> Runner:
        config = self._config
        connection = config.broker_address.as_librdkafka_dict()
        consumer_config, on_consumer_statistics = split_statistics(config.consumer_extra_config)
        producer_config, on_producer_statistics = split_statistics(config.producer_extra_config)
        return Runner(
            broker_address=config.broker_address.bootstrap_servers,
            consumer_group=config.consumer_group,
            auto_offset_reset=config.auto_offset_reset,
            consumer_config=client_settings(consumer_config, connection),
            producer_config=client_settings({"partitioner": "murmur2"}, producer_config, connection),
            commit_interval_ms=round(config.commit_interval * 1000),
            commit_every=max(0, config.commit_every),
            state_dir=str(config.state_dir),
            use_changelog_topics=config.use_changelog_topics,
            consumer_poll_timeout_ms=round(config.consumer_poll_timeout * 1000),
            request_timeout_ms=round(config.request_timeout * 1000),
            broker_availability_timeout_ms=round(self._broker_availability_timeout * 1000),
            source_gap=_source_gap(config),
            rocksdb_options=None if config.rocksdb_options is None else config.rocksdb_options.to_options(),
            on_consumer_error=self._on_consumer_error or default_on_consumer_error,
            on_processing_error=self._on_processing_error or default_on_processing_error,
            on_producer_error=self._on_producer_error or default_on_producer_error,
            on_message_processed=self._message_processed_callback(),
            on_consumer_statistics=on_consumer_statistics,
            on_producer_statistics=on_producer_statistics,
        )

    def _message_processed_callback(self) -> MessageProcessedCallback | None:
        printer, user = self._context.printer, self._on_message_processed
        if not printer.active:
            return user

        def processed(topic: str, partition: int, offset: int) -> None:
            printer.refresh()
            if user is not None:
                user(topic, partition, offset)

        return processed

    def _log_settings(self) -> None:
        config = self._config
        _logger.info(
            "Starting: broker_address=%r consumer_group=%r auto_offset_reset=%r commit_interval=%gs commit_every=%d"
            " processing_guarantee=%r state_dir=%r",
            config.broker_address.bootstrap_servers,
            config.consumer_group,
            config.auto_offset_reset,
            config.commit_interval,
            config.commit_every,
            config.processing_guarantee,
            str(config.state_dir),
        )
        _logger.info("Topics read: %s", ", ".join(topic.name for topic in self._context.registry.consumer_topics))

    # -- Clients -------------------------------------------------------------------------------

    def get_producer(self, transactional: bool = False) -> Producer:
        """A new producer with this application's connection and settings (A-35). Use it in a `with` block.

        Args:
            transactional: not supported yet.
        """
        return Producer(
            self._config.broker_address,
            extra_config=self._config.producer_extra_config,
            flush_timeout=self._config.flush_timeout,
            transactional=transactional,
        )

    def get_consumer(self, auto_commit_enable: bool = True) -> Consumer:
        """A new consumer in this application's group, with its settings (A-36). Use it in a `with` block.

        Args:
            auto_commit_enable: commit what `store_offsets()` was given, now and then.
        """
        return Consumer(
            self._config.broker_address,
            self._config.consumer_group,
            self._config.auto_offset_reset,
            auto_commit_enable,
            extra_config=self._config.consumer_extra_config,
        )

    def __repr__(self) -> str:
        return (
            f"<Application broker_address={self._config.broker_address.bootstrap_servers!r}"
            f" consumer_group={self._config.consumer_group!r}>"
        )


def _source_gap(config: ApplicationConfig) -> Literal["fail", "earliest", "latest"]:
    """What to do about a committed offset that retention has deleted (A-21, CK-40 to CK-42)."""
    if not config.auto_recover_from_source_offset_out_of_range:
        return "fail"
    reset = config.state_recovery_offset_reset
    if reset == "match":
        return "fail" if config.auto_offset_reset == "error" else config.auto_offset_reset
    return reset
