"""Exceptions of the Kafka clients (parity row E-11)."""

from millstream._millstream import KafkaError
from millstream.exceptions import MillstreamException

__all__ = (
    "BaseKafkaException",
    "InvalidProducerConfigError",
    "KafkaBrokerUnavailableError",
    "KafkaConsumerException",
    "KafkaException",
    "KafkaProducerDeliveryError",
)


class BaseKafkaException(MillstreamException):
    """An error that Kafka or its client reported.

    Attributes:
        error: the `KafkaError` itself; its `code()` is Kafka's, negative for errors of the client.
    """

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error

    @property
    def code(self) -> int:
        """Kafka's error code; negative for errors of the client, e.g. -195 for a broker that is not there."""
        return self.error.code()

    @property
    def description(self) -> str:
        """The error in words."""
        return self.error.str()

    def __str__(self) -> str:
        return f'<{type(self).__name__} code="{self.code}" description="{self.description}">'

    def __repr__(self) -> str:
        return str(self)


class KafkaException(BaseKafkaException):
    """A request to Kafka failed."""


class KafkaConsumerException(BaseKafkaException):
    """Reading failed."""


class KafkaProducerDeliveryError(BaseKafkaException):
    """A record could not be delivered (E-03)."""


class InvalidProducerConfigError(MillstreamException):
    """A producer was asked for what its settings do not allow, e.g. a transaction (M-20)."""


class KafkaBrokerUnavailableError(MillstreamException):
    """No broker could be reached for too long (E-12)."""
