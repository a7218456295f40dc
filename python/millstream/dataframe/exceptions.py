"""Exceptions of dataframes (parity row E-13)."""

from millstream.exceptions import MillstreamException

__all__ = (
    "ColumnDoesNotExist",
    "GroupByDuplicate",
    "GroupByNestingLimit",
    "InvalidColumnReference",
    "StreamingDataFrameDuplicate",
)


class ColumnDoesNotExist(MillstreamException):
    """A column read found no such column in the record's value (S-01)."""


class InvalidColumnReference(MillstreamException):
    """A column read met a value that has no columns, such as `None` or a number (S-01)."""


class GroupByNestingLimit(MillstreamException):
    """`group_by` of a dataframe that is grouped already (D-43)."""


class GroupByDuplicate(MillstreamException):
    """Two `group_by` of one dataframe with the same operation name (D-43)."""


class StreamingDataFrameDuplicate(MillstreamException):
    """A second `app.dataframe()` for the same topic (A-31)."""
