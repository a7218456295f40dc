"""Exceptions that belong to no part of the package in particular (parity row E-10).

Every exception that Millstream raises on purpose derives from `MillstreamException`, apart from plain `ValueError`
and `TypeError` for arguments. The other classes live beside what raises them, in the modules where Quix Streams has
them: `millstream.dataframe.exceptions`, `millstream.kafka.exceptions`, `millstream.models.topics.exceptions`,
`millstream.models.serializers`, `millstream.state.exceptions`, ...
"""

__all__ = (
    "KafkaPartitionError",
    "MillstreamException",
    "NotSupportedYet",
    "PartitionAssignmentError",
    "QuixException",
)


class MillstreamException(Exception):
    """Base of the exceptions of this package."""


QuixException = MillstreamException
"""The name that programs written for Quix Streams catch."""


class NotSupportedYet(MillstreamException, NotImplementedError):
    """Something that Quix Streams has and this release does not; the text says what to use instead."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what} is not supported yet; {instead}")


class PartitionAssignmentError(MillstreamException):
    """A failure in a handler of a rebalance (E-04); its cause is the original exception."""


class KafkaPartitionError(MillstreamException):
    """Kafka reported an error for one partition."""
