"""Exceptions of checkpoints (parity row E-16)."""

from millstream.exceptions import MillstreamException
from millstream.kafka.exceptions import KafkaConsumerException

__all__ = ("CheckpointConsumerCommitError", "CheckpointProducerTimeout", "InvalidStoredOffset")


class InvalidStoredOffset(MillstreamException):
    """An offset went backwards within one checkpoint (CK-07)."""


class CheckpointProducerTimeout(MillstreamException):
    """Records were not delivered within the flush timeout (CK-05)."""


class CheckpointConsumerCommitError(KafkaConsumerException):
    """The broker refused the offsets of a checkpoint (CK-06)."""
