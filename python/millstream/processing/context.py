"""`ProcessingContext`: what the dataframes of one application share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream._millstream import InternalTopic, TestDriver, Topology, TopologyBuilder
from millstream.dataframe.registry import DataFrameRegistry
from millstream.dataframe.tables import TablePrinter
from millstream.exceptions import MillstreamException

if TYPE_CHECKING:
    from millstream.models.topics import TopicManager
    from millstream.state.rocksdb.options import RocksDBOptions

__all__ = ("CheckpointNotInitialized", "ProcessingContext")


class CheckpointNotInitialized(MillstreamException):
    """State was used outside of a run."""


class ProcessingContext:
    """The topology that an application's dataframes build, the topics they need, and the tables they print."""

    def __init__(
        self,
        consumer_group: str,
        use_changelog_topics: bool,
        topic_manager: TopicManager,
        rocksdb_options: RocksDBOptions | None = None,
    ) -> None:
        self.builder = TopologyBuilder(consumer_group, use_changelog_topics=use_changelog_topics)
        self.topic_manager = topic_manager
        self.registry = DataFrameRegistry()
        self.printer = TablePrinter()
        options = {} if rocksdb_options is None else rocksdb_options.to_options()
        self.codec = {name: options[name] for name in ("dumps", "loads") if name in options}
        self._declared: set[str] = set()
        self._driver: TestDriver | None = None

    def changed(self) -> None:
        """Notes that the topology grew: what `test()` built is old."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def declare_topics(self, stream_id: str, formats: dict[str, Any] | None = None) -> None:
        """Looks up or creates the internal topics that the last step asks for (T-10)."""
        for internal in self.builder.internal_topics():
            if internal.name not in self._declared:
                topic = self.topic_manager.declare_internal(internal, stream_id, _store_name(internal), formats)
                if internal.kind == "repartition":
                    # One that was there already keeps its size, also if the input has grown since (T-10).
                    self.builder.repartition_found(internal.name, topic.broker_config.num_partitions or 1)
                self._declared.add(internal.name)

    def settle(self, stream_id: str, formats: dict[str, Any] | None = None) -> None:
        """Does what the last step asks for. If that fails the step is undone, so that it can be tried again."""
        self.changed()
        declared = set(self._declared)
        try:
            self.declare_topics(stream_id, formats)
        except BaseException:
            self._declared = declared
            self.builder.roll_back()
            raise

    def topology(self) -> Topology:
        """The topology as it stands."""
        return self.builder.build()

    def driver(self) -> TestDriver:
        """Runs the topology without Kafka (D-60). Its state lasts until the topology changes."""
        if self._driver is None:
            self._driver = TestDriver(self.topology(), **self.codec)
        return self._driver


def _store_name(internal: InternalTopic) -> str | None:
    """The store of a changelog topic, which is the last part of its name (T-20)."""
    return internal.name.rsplit("--", 1)[-1] if internal.kind == "changelog" else None
