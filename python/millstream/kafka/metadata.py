"""What a cluster says about its topics (parity rows M-21, T-31)."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ("ClusterMetadata", "TopicMetadata")


@dataclass(frozen=True)
class TopicMetadata:
    """A topic in the list of a cluster.

    Attributes:
        topic: its name.
        partitions: its partitions by number.
    """

    topic: str
    partitions: Mapping[int, int]


@dataclass(frozen=True)
class ClusterMetadata:
    """The topics of a cluster.

    Attributes:
        topics: by name.
    """

    topics: Mapping[str, TopicMetadata]


def topics_of(counts: Mapping[str, int]) -> dict[str, TopicMetadata]:
    """Topics by name, of their numbers of partitions.

    >>> topics_of({"orders": 2})
    {'orders': TopicMetadata(topic='orders', partitions={0: 0, 1: 1})}
    """
    return {name: TopicMetadata(name, {n: n for n in range(count)}) for name, count in counts.items()}
