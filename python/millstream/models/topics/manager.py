"""`TopicManager`: the topics of one application (parity rows T-10 to T-25, T-30)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Literal

from millstream._millstream import InternalTopic
from millstream.kafka.exceptions import KafkaException
from millstream.models.serializers import DeserializerType, SerializerType

from .admin import TopicAdmin
from .exceptions import (
    TopicConfigurationMismatch,
    TopicNameLengthExceeded,
    TopicNotFoundError,
    TopicPartitionsMismatch,
)
from .topic import TimestampExtractor, Topic, TopicConfig, TopicType

__all__ = ("TopicManager",)

_logger = logging.getLogger(__name__)

# Kafka's code for a topic that the broker does not know, or not yet.
_UNKNOWN_TOPIC = 3
# What Kafka sets when nobody says otherwise: 7 days.
_DEFAULT_RETENTION_MS = 604_800_000


class TopicManager:
    """Looks up, creates and remembers the topics of one application (T-30).

    Asks the broker when a topic is declared, not when the application runs (T-10). Existing topics are never altered.

    Args:
        topic_admin: how to reach the cluster.
        consumer_group: part of the name of every internal topic (T-20).
        timeout: seconds for a request.
        create_timeout: seconds for a new topic to become visible.
        auto_create_topics: create topics that do not exist.
    """

    default_num_partitions: int | None = 1
    default_replication_factor: int | None = 1
    default_extra_config: dict[str, str] = {}

    _max_topic_name_len = 255
    _remembered_settings = frozenset({"retention.bytes", "retention.ms", "cleanup.policy"})

    def __init__(
        self,
        topic_admin: TopicAdmin,
        consumer_group: str,
        timeout: float = 30,
        create_timeout: float = 60,
        auto_create_topics: bool = True,
    ) -> None:
        self._admin = topic_admin
        self._consumer_group = consumer_group
        self._timeout = timeout
        self._create_timeout = create_timeout
        self._auto_create_topics = auto_create_topics
        self._regular: dict[str, Topic] = {}
        self._repartition: dict[str, Topic] = {}
        self._changelog: dict[str | None, dict[str, Topic]] = {}

    # -- What is known -------------------------------------------------------------------------

    @property
    def topics(self) -> dict[str, Topic]:
        """Input and output topics by name."""
        return self._regular

    @property
    def repartition_topics(self) -> dict[str, Topic]:
        """Repartition topics by name."""
        return self._repartition

    @property
    def changelog_topics(self) -> dict[str | None, dict[str, Topic]]:
        """Changelog topics by stream id, then by store name."""
        return self._changelog

    @property
    def changelog_topics_list(self) -> list[Topic]:
        """All changelog topics."""
        return list(chain.from_iterable(stores.values() for stores in self._changelog.values()))

    @property
    def non_changelog_topics(self) -> dict[str, Topic]:
        """Input, output and repartition topics by name."""
        return {**self._regular, **self._repartition}

    @property
    def all_topics(self) -> dict[str, Topic]:
        """All topics by name."""
        return {**self.non_changelog_topics, **{topic.name: topic for topic in self.changelog_topics_list}}

    # -- Declaring topics ----------------------------------------------------------------------

    def topic_config(
        self,
        num_partitions: int | None = None,
        replication_factor: int | None = None,
        extra_config: dict[str, str] | None = None,
    ) -> TopicConfig:
        """A `TopicConfig` with the defaults for what is left out: 1 partition, 1 copy, no further settings (T-11)."""
        return TopicConfig(
            num_partitions or self.default_num_partitions,
            replication_factor or self.default_replication_factor,
            dict(extra_config or self.default_extra_config),
        )

    def topic(
        self,
        name: str,
        value_deserializer: DeserializerType = "json",
        key_deserializer: DeserializerType = "bytes",
        value_serializer: SerializerType = "json",
        key_serializer: SerializerType = "bytes",
        create_config: TopicConfig | None = None,
        timestamp_extractor: TimestampExtractor | None = None,
    ) -> Topic:
        """Declares a topic; see `Application.topic()`."""
        return self.register(
            Topic(
                name,
                TopicType.REGULAR,
                create_config,
                value_deserializer,
                key_deserializer,
                value_serializer,
                key_serializer,
                timestamp_extractor,
            )
        )

    def register(self, topic: Topic) -> Topic:
        """Declares a topic that was made by hand."""
        if topic.create_config is None:
            topic.create_config = self.topic_config()
        self._settle(topic)
        self._regular[topic.name] = topic
        return topic

    def repartition_topic(
        self,
        operation: str,
        stream_id: str,
        config: TopicConfig,
        value_deserializer: DeserializerType = "json",
        key_deserializer: DeserializerType = "json",
        value_serializer: SerializerType = "json",
        key_serializer: SerializerType = "json",
    ) -> Topic:
        """Declares the repartition topic of an operation on a stream (T-20)."""
        return self._add_repartition(
            Topic(
                self._internal_name("repartition", stream_id, operation),
                TopicType.REPARTITION,
                config,
                value_deserializer,
                key_deserializer,
                value_serializer,
                key_serializer,
            )
        )

    def _add_repartition(self, topic: Topic) -> Topic:
        self._settle(topic)
        self._repartition[topic.name] = topic
        return topic

    def changelog_topic(self, stream_id: str | None, store_name: str, config: TopicConfig) -> Topic:
        """Declares the changelog topic of a store (T-20, T-23).

        Raises:
            TopicConfigurationMismatch: it exists with another number of partitions (T-24).
        """
        config = TopicConfig(
            config.num_partitions,
            config.replication_factor,
            {**config.extra_config, "cleanup.policy": "compact"},
        )
        topic = self._changelog_of(self._internal_name("changelog", stream_id, store_name), config)
        self._changelog.setdefault(stream_id, {})[store_name] = topic
        return topic

    def _changelog_of(self, name: str, config: TopicConfig) -> Topic:
        topic = Topic(name, TopicType.CHANGELOG, config, "bytes", "bytes", "bytes", "bytes")
        self._settle(topic)
        found = topic.broker_config.num_partitions
        if found != config.num_partitions:
            raise TopicConfigurationMismatch(
                f"changelog topic {name!r} has {found} partitions and needs {config.num_partitions}, as the input has;"
                " use another consumer_group, or delete the changelog topic and the state directory to start empty"
            )
        return topic

    def declare_internal(
        self,
        internal: InternalTopic,
        stream_id: str | None = None,
        store_name: str | None = None,
        formats: dict[str, Any] | None = None,
    ) -> Topic:
        """Declares a topic that the engine asks for, under the name and with the settings that the engine gave it.

        Raises:
            TopicConfigurationMismatch: as `changelog_topic()`.
        """
        config = TopicConfig(internal.partitions, internal.replication_factor, dict(internal.configs))
        if internal.kind == "changelog":
            topic = self._changelog_of(internal.name, config)
            self._changelog.setdefault(stream_id, {})[store_name or internal.name] = topic
            return topic
        return self._add_repartition(
            Topic(internal.name, TopicType.REPARTITION, config, **(formats or {}))
        )

    def _settle(self, topic: Topic) -> None:
        """Fills in what the broker says about the topic, having created it if it was missing (T-10)."""
        found = self._admin.inspect_topics([topic.name], timeout=self._timeout)[topic.name]
        if found is None:
            found = self._create(topic)
        topic.broker_config = TopicConfig(
            found.num_partitions,
            found.replication_factor,
            {name: value for name, value in found.extra_config.items() if name in self._remembered_settings},
        )

    def _create(self, topic: Topic) -> TopicConfig:
        if not self._auto_create_topics:
            raise TopicNotFoundError(
                f"topic {topic.name!r} does not exist; create it with `millstream topics create {topic.name}`, or let"
                " the application create its topics with auto_create_topics=True"
            )
        if len(topic.name) > self._max_topic_name_len:
            raise TopicNameLengthExceeded(
                f"the topic name {topic.name!r} has {len(topic.name)} characters; use at most 249"
            )
        self._admin.create_topics([topic], timeout=self._timeout, finalize_timeout=self._create_timeout)
        # Brokers learn of a new topic one after the other, and this asks whichever is at hand.
        deadline = time.monotonic() + max(self._create_timeout, 1)
        while (found := self._look_again(topic.name)) is None:
            if time.monotonic() > deadline:
                raise TopicNotFoundError(
                    f"topic {topic.name!r} was created and is gone again; look whether another program deletes it"
                )
            time.sleep(0.1)
        return found

    def _look_again(self, name: str) -> TopicConfig | None:
        try:
            return self._admin.inspect_topics([name], timeout=self._timeout)[name]
        except KafkaException as error:
            if error.code != _UNKNOWN_TOPIC:
                raise
            return None

    # -- Rules ---------------------------------------------------------------------------------

    @classmethod
    def derive_topic_config(cls, topics: Iterable[Topic]) -> TopicConfig:
        """The settings of an internal topic, derived from the input topics (T-22).

        Most partitions, most copies, and the longest retention of all; -1 is unlimited.
        """
        configs = [topic.broker_config for topic in topics]
        if not configs:
            raise ValueError("at least one topic must be given")

        def longest(option: str, missing: int) -> str:
            values = [int(config.extra_config.get(option, missing)) for config in configs]
            return str(-1 if -1 in values else max(values))

        return TopicConfig(
            max(config.num_partitions or 1 for config in configs),
            max(config.replication_factor or 1 for config in configs),
            {
                "retention.bytes": longest("retention.bytes", -1),
                "retention.ms": longest("retention.ms", _DEFAULT_RETENTION_MS),
            },
        )

    @classmethod
    def ensure_topics_copartitioned(cls, *topics: Topic) -> None:
        """Raises `TopicPartitionsMismatch` unless all topics have the same number of partitions (T-25)."""
        if len({topic.broker_config.num_partitions for topic in topics}) > 1:
            counts = ", ".join(f"{topic.name!r}: {topic.broker_config.num_partitions}" for topic in topics)
            raise TopicPartitionsMismatch(
                f"topics used together with state must have the same number of partitions; they have {counts}"
            )

    def stream_id_from_topics(self, topics: Sequence[Topic]) -> str:
        """The stream id of a dataframe over these topics: their names, sorted, joined by `--` (T-21)."""
        if not topics:
            raise ValueError("at least one topic must be given")
        return "--".join(sorted({topic.name for topic in topics}))

    def _internal_name(self, kind: Literal["changelog", "repartition"], stream_id: str | None, suffix: str) -> str:
        parts = [self._consumer_group, suffix]
        if stream_id is not None:
            if f"__{self._consumer_group}--" in stream_id:
                stream_id = stream_id.replace(f"__{self._consumer_group}", "").replace("--", ".")
            parts.insert(1, stream_id)
        return f"{kind}__{'--'.join(parts)}"
