"""Topics: what they are, how they are looked up and created (parity rows T-01 to T-31)."""

from .admin import TopicAdmin
from .manager import TopicManager
from .topic import TimestampExtractor, Topic, TopicConfig, TopicType

__all__ = ("TimestampExtractor", "Topic", "TopicAdmin", "TopicConfig", "TopicManager", "TopicType")
