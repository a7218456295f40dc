"""Exceptions of the application's own producer, at the path Quix Streams has them (parity row E-16)."""

from millstream.exceptions import MillstreamException

__all__ = ("KafkaProducerTransactionAlreadyActive", "KafkaProducerTransactionCommitFailed")


class KafkaProducerTransactionCommitFailed(MillstreamException):
    """A transaction could not be committed (CK-11)."""


class KafkaProducerTransactionAlreadyActive(MillstreamException):
    """A transaction was begun while another was open."""
