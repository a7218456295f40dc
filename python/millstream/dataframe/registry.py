"""`DataFrameRegistry`: the dataframes of one application that read topics (parity rows A-31, M-43)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exceptions import StreamingDataFrameDuplicate

if TYPE_CHECKING:
    from millstream.models.topics import Topic

    from .dataframe import StreamingDataFrame

__all__ = ("DataFrameRegistry",)


class DataFrameRegistry:
    """Knows which topics are read, and which streams come of them."""

    def __init__(self) -> None:
        self._roots: dict[str, StreamingDataFrame] = {}
        self._stream_ids: dict[str, list[str]] = {}

    @property
    def consumer_topics(self) -> list[Topic]:
        """The topics that dataframes read."""
        return [root.topics[0] for root in self._roots.values()]

    def check_free(self, topic_name: str) -> None:
        """Raises `StreamingDataFrameDuplicate` if a dataframe reads this topic already."""
        if topic_name in self._roots:
            raise StreamingDataFrameDuplicate(
                f"there is a dataframe for topic {topic_name!r} already; go on with that one (its branches may differ)"
            )

    def register_root(self, dataframe: StreamingDataFrame) -> None:
        """Adds the dataframe that reads a topic."""
        topic = dataframe.topics[0]
        self.check_free(topic.name)
        self._roots[topic.name] = dataframe

    def register_stream_id(self, stream_id: str, topic_names: list[str]) -> None:
        """Notes that a stream comes of these topics."""
        for name in topic_names:
            streams = self._stream_ids.setdefault(name, [])
            if stream_id not in streams:
                streams.append(stream_id)

    def get_stream_ids(self, topic_name: str) -> list[str]:
        """The streams that come of a topic."""
        return list(self._stream_ids[topic_name])

    def get_topics_for_stream_id(self, stream_id: str) -> list[str]:
        """The topics that a stream comes of."""
        return [name for name, streams in self._stream_ids.items() if stream_id in streams]
