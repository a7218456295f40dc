"""Exceptions about topics (parity row E-15)."""

from millstream.exceptions import MillstreamException

__all__ = (
    "CreateTopicFailure",
    "CreateTopicTimeout",
    "TopicConfigurationError",
    "TopicConfigurationMismatch",
    "TopicNameLengthExceeded",
    "TopicNotFoundError",
    "TopicPartitionsMismatch",
    "TopicPermissionError",
)


class TopicNotFoundError(MillstreamException):
    """A topic does not exist and may not be created (T-10)."""


class TopicConfigurationMismatch(MillstreamException):
    """An existing changelog topic has another number of partitions than it needs (T-24)."""


class CreateTopicTimeout(MillstreamException):
    """A new topic did not become visible in time (T-12)."""


class CreateTopicFailure(MillstreamException):
    """The broker refused to create a topic (T-12)."""


class TopicNameLengthExceeded(MillstreamException):
    """A topic's name is too long (T-12)."""


class TopicPermissionError(MillstreamException):
    """The credentials do not allow a topic's settings to be read (T-12)."""


class TopicConfigurationError(MillstreamException):
    """The settings of a topic are needed and the broker has not been asked yet (T-01)."""


class TopicPartitionsMismatch(MillstreamException):
    """Topics that must have the same number of partitions do not (T-25)."""
