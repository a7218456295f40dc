"""Kafka clients and their settings (parity rows C-01 to C-06, M-20, M-21, M-46)."""

from millstream._millstream import KafkaError, Message, TopicPartition

from .configuration import ConnectionConfig
from .consumer import AutoOffsetReset, BaseConsumer, Consumer, RebalancingCallback, raise_for_msg_error
from .producer import Producer

__all__ = (
    "AutoOffsetReset",
    "BaseConsumer",
    "ConnectionConfig",
    "Consumer",
    "KafkaError",
    "Message",
    "Producer",
    "RebalancingCallback",
    "TopicPartition",
    "raise_for_msg_error",
)
