"""Windows and aggregations (parity rows W-01 to W-80, M-44)."""

from .aggregations import (
    Aggregator,
    Collect,
    Collector,
    Count,
    Earliest,
    First,
    Last,
    Latest,
    Max,
    Mean,
    Min,
    Reduce,
    Sum,
)
from .definitions import (
    HoppingCountWindowDefinition,
    HoppingTimeWindowDefinition,
    SessionWindowDefinition,
    SlidingCountWindowDefinition,
    SlidingTimeWindowDefinition,
    TumblingCountWindowDefinition,
    TumblingTimeWindowDefinition,
)

__all__ = (
    "Aggregator",
    "Collect",
    "Collector",
    "Count",
    "Earliest",
    "First",
    "HoppingCountWindowDefinition",
    "HoppingTimeWindowDefinition",
    "Last",
    "Latest",
    "Max",
    "Mean",
    "Min",
    "Reduce",
    "SessionWindowDefinition",
    "SlidingCountWindowDefinition",
    "SlidingTimeWindowDefinition",
    "Sum",
    "TumblingCountWindowDefinition",
    "TumblingTimeWindowDefinition",
)
