"""An application that needs no broker."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from millstream._environment import Environment
from millstream._millstream import KafkaError
from millstream.app import Application
from millstream.kafka import ConnectionConfig
from millstream.kafka.metadata import TopicMetadata, topics_of
from millstream.models.topics.admin import TopicAdmin, creation_advice
from millstream.models.topics.exceptions import CreateTopicFailure
from millstream.models.topics.topic import Topic, TopicConfig

__all__ = ("MemoryAdmin", "MemoryApplication")

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_INVALID_TOPIC = 17
# What a broker reports for a topic that was created without settings.
_BROKER_DEFAULTS = {"retention.ms": "604800000", "retention.bytes": "-1", "cleanup.policy": "delete"}


class MemoryAdmin(TopicAdmin):
    """Topics that exist only in this object, by Kafka's rules for names and settings."""

    def __init__(self) -> None:
        super().__init__("memory:0")
        self._topics: dict[str, TopicConfig] = {}

    def list_topics(self, timeout: float = -1) -> dict[str, TopicMetadata]:
        """The topics created so far."""
        return topics_of({name: config.num_partitions or 1 for name, config in self._topics.items()})

    def inspect_topics(
        self, topic_names: Sequence[str], timeout: float = 30
    ) -> dict[str, TopicConfig | None]:
        """The settings of topics; `None` for one that was not created."""
        return {name: self._topics.get(name) for name in topic_names}

    def create_topics(
        self, topics: Iterable[Topic], timeout: float = 30, finalize_timeout: float = 60
    ) -> None:
        """Creates those topics that do not exist.

        Raises:
            CreateTopicFailure: Kafka would not allow the name.
        """
        for topic in topics:
            if topic.name in self._topics:
                continue
            if not _LEGAL_NAME.fullmatch(topic.name) or topic.name in (".", ".."):
                raise CreateTopicFailure(creation_advice({topic.name: KafkaError(_INVALID_TOPIC)}))
            config = topic.create_config or TopicConfig(1, 1)
            self._topics[topic.name] = TopicConfig(
                config.num_partitions or 1,
                config.replication_factor or 1,
                {**_BROKER_DEFAULTS, **config.extra_config},
            )


class MemoryApplication(Application):
    """An `Application` without any broker: topics live in memory, and `TopologyTestDriver` runs its pipelines.

    Takes the arguments of `Application`; `loglevel` is `None` by default.

    >>> from millstream.models import TopicConfig
    >>> app = MemoryApplication(consumer_group="orders")
    >>> topic = app.topic("orders", config=TopicConfig(num_partitions=3, replication_factor=1))
    >>> app.dataframe(topic).group_by("customer").stream_id
    'repartition__orders--orders--customer'
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("loglevel", None)
        super().__init__(*args, **settings)

    def _connection(
        self,
        broker_address: str | ConnectionConfig | None,
        quix_sdk_token: str | None,
        quix_config_builder: object,
        data_dir: str | Path | None,
        environment: Environment,
    ) -> tuple[ConnectionConfig, Path | None]:
        return ConnectionConfig(bootstrap_servers="memory:0"), None

    def _topic_admin(self) -> TopicAdmin:
        return MemoryAdmin()

    def run(self, *args: Any, **kwargs: Any) -> NoReturn:
        """There is no broker to run on: raises `RuntimeError`."""
        raise RuntimeError("a MemoryApplication has no broker; run it with millstream.testing.TopologyTestDriver(app)")

    def get_producer(self, transactional: bool = False) -> NoReturn:
        """There is no broker to write to: raises `RuntimeError`."""
        raise RuntimeError("a MemoryApplication has no broker; use TopologyTestDriver.pipe_input()")

    def get_consumer(self, auto_commit_enable: bool = True) -> NoReturn:
        """There is no broker to read from: raises `RuntimeError`."""
        raise RuntimeError("a MemoryApplication has no broker; use TopologyTestDriver.read_outputs()")
