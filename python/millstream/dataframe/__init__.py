"""Dataframes, series and windows (parity row M-43)."""

from .dataframe import StreamingDataFrame
from .exceptions import (
    ColumnDoesNotExist,
    GroupByDuplicate,
    GroupByNestingLimit,
    InvalidColumnReference,
    StreamingDataFrameDuplicate,
)
from .registry import DataFrameRegistry
from .series import StreamingSeries

__all__ = (
    "ColumnDoesNotExist",
    "DataFrameRegistry",
    "GroupByDuplicate",
    "GroupByNestingLimit",
    "InvalidColumnReference",
    "StreamingDataFrame",
    "StreamingDataFrameDuplicate",
    "StreamingSeries",
)
