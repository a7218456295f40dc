"""What happens to errors that records cause (parity rows E-01 to E-03, M-49).

Each callback is called with the exception, what it is about, and a logger, in the `except` block. True suppresses the
exception and goes on; anything else lets it out of `Application.run()`.
"""

import logging
from collections.abc import Callable

from millstream._millstream import Row
from millstream.models.types import RawConfluentKafkaMessageProto

__all__ = (
    "ConsumerErrorCallback",
    "ProcessingErrorCallback",
    "ProducerErrorCallback",
    "default_on_consumer_error",
    "default_on_processing_error",
    "default_on_producer_error",
)

ConsumerErrorCallback = Callable[[Exception, RawConfluentKafkaMessageProto | None, logging.Logger], bool]
"""Reading or deserializing failed; the message is `None` for failures of the poll itself (E-01)."""
ProcessingErrorCallback = Callable[[Exception, Row | None, logging.Logger], bool]
"""A step of the pipeline failed for a record (E-02). The row is the record as it was read."""
ProducerErrorCallback = Callable[[Exception, Row | None, logging.Logger], bool]
"""Writing failed; the row is `None` for a delivery that failed later (E-03)."""


def default_on_consumer_error(
    exc: Exception, message: RawConfluentKafkaMessageProto | None, logger: logging.Logger
) -> bool:
    """Logs and lets the exception out."""
    if message is None:
        logger.error("Reading from Kafka failed", exc_info=exc)
    else:
        logger.error(
            "A record could not be read: topic %r, partition %s, offset %s",
            message.topic(),
            message.partition(),
            message.offset(),
            exc_info=exc,
        )
    return False


def default_on_processing_error(exc: Exception, row: Row | None, logger: logging.Logger) -> bool:
    """Logs and lets the exception out."""
    logger.error("A record could not be processed%s", _place(row), exc_info=exc)
    return False


def default_on_producer_error(exc: Exception, row: Row | None, logger: logging.Logger) -> bool:
    """Logs and lets the exception out."""
    logger.error("A record could not be written%s", _place(row), exc_info=exc)
    return False


def _place(row: Row | None) -> str:
    return "" if row is None else f": topic {row.topic!r}, partition {row.partition}, offset {row.offset}"
