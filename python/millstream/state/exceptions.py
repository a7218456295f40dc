"""Exceptions of state stores (parity row ST-40)."""

from millstream.exceptions import MillstreamException

__all__ = (
    "ChangelogFlushError",
    "ChangelogTopicPartitionNotAssigned",
    "ColumnFamilyDoesNotExist",
    "ColumnFamilyHeaderMissing",
    "IncompatibleStateStoreError",
    "InvalidChangelogOffset",
    "InvalidStoreChangelogOffset",
    "InvalidStoreTransactionStateError",
    "PartitionNotAssignedError",
    "PartitionStoreIsUsed",
    "StateError",
    "StateMigrationError",
    "StateRecoveryOffsetOutOfRange",
    "StateSerializationError",
    "StateTransactionError",
    "StoreAlreadyRegisteredError",
    "StoreNotRegisteredError",
    "StoreTransactionFailed",
)


class PartitionNotAssignedError(MillstreamException):
    """A store partition was used that this process does not own."""


class PartitionStoreIsUsed(MillstreamException):
    """State cannot be cleared while the application runs (A-37)."""


class StoreNotRegisteredError(MillstreamException):
    """A store was used that no operator registered."""


class StoreAlreadyRegisteredError(MillstreamException):
    """Two windows of one stream have the same store name (W-09); give one of them a `name`."""


class InvalidStoreTransactionStateError(MillstreamException):
    """A store transaction was used out of order."""


class StoreTransactionFailed(MillstreamException):
    """A store's transaction failed earlier, so its checkpoint cannot commit (ST-04)."""


class InvalidStoreChangelogOffset(MillstreamException):
    """The local state claims to be ahead of its changelog, e.g. because the topic was made anew (CK-30)."""


class StateRecoveryOffsetOutOfRange(MillstreamException):
    """The group's committed offset was deleted by retention (CK-41)."""


class ChangelogTopicPartitionNotAssigned(MillstreamException):
    """A changelog partition was used that this process does not own."""


class StateError(MillstreamException):
    """Base of errors about a store's contents."""


class IncompatibleStateStoreError(StateError):
    """The local state has a format that this release cannot read."""


class StateSerializationError(StateError):
    """A state key or value has no JSON form, or cannot be read back (ST-04)."""


class StateMigrationError(StateError):
    """A store could not be brought to a newer form."""


class StateTransactionError(StateError):
    """A store was used after its transaction had failed (ST-04)."""


class ColumnFamilyHeaderMissing(StateError):
    """A changelog record lacks the name of its column family."""


class ColumnFamilyDoesNotExist(StateError):
    """A changelog record names a column family that the store does not have."""


class InvalidChangelogOffset(StateError):
    """A changelog offset is not valid for its store."""


class ChangelogFlushError(StateError):
    """Changelog records could not be confirmed in time."""
