"""Names for the types of keys, values and headers (parity row M-47)."""

from collections.abc import Sequence
from typing import Protocol

from millstream._millstream import KafkaError

__all__ = (
    "Headers",
    "HeadersMapping",
    "HeadersTuple",
    "HeadersTuples",
    "HeadersValue",
    "KafkaHeaders",
    "MessageKey",
    "MessageValue",
    "RawConfluentKafkaMessageProto",
    "SuccessfulConfluentKafkaMessageProto",
)

MessageKey = str | bytes | None
MessageValue = str | bytes | None

HeadersValue = str | bytes
HeadersMapping = dict[str, HeadersValue]
HeadersTuple = tuple[str, HeadersValue]
HeadersTuples = Sequence[HeadersTuple]
Headers = HeadersTuples | HeadersMapping

KafkaHeaders = list[tuple[str, bytes | None]] | None


class RawConfluentKafkaMessageProto(Protocol):
    """What a message from a consumer can be asked; it may stand for an error."""

    def headers(self) -> KafkaHeaders: ...
    def key(self) -> MessageKey: ...
    def value(self) -> MessageValue: ...
    def offset(self) -> int: ...
    def partition(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def topic(self) -> str: ...
    def leader_epoch(self) -> int | None: ...
    def error(self) -> KafkaError | None: ...
    def __len__(self) -> int: ...


SuccessfulConfluentKafkaMessageProto = RawConfluentKafkaMessageProto
