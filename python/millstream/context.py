"""The context of the record being processed (parity rows M-30, M-31, A-61)."""

from contextvars import copy_context

from millstream._millstream import MessageContext, message_context, set_message_context
from millstream.exceptions import MillstreamException

__all__ = (
    "MessageContext",
    "MessageContextNotSetError",
    "copy_context",
    "message_context",
    "set_message_context",
)


class MessageContextNotSetError(MillstreamException):
    """`message_context()` was called outside of a callable that processes a record."""
