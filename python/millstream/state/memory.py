"""`MemoryStore` (parity row ST-21)."""

__all__ = ("MemoryStore",)


class MemoryStore:
    """Names the kind of store that is kept in memory, for `StreamingDataFrame.register_store`.

    It works as one on disk does, and is rebuilt from its changelog topic at each start. Without changelog topics what
    is in it ends with the process.

    >>> from millstream.state.memory import MemoryStore
    >>> from millstream.testing import MemoryApplication, TopologyTestDriver
    >>> app = MemoryApplication()
    >>> clicks = app.topic("clicks")
    >>> def count(click, state):
    ...     state.set("n", state.get("n", 0) + 1)
    ...     return state.get("n")
    >>> sdf = app.dataframe(clicks)
    >>> sdf.register_store(MemoryStore)
    >>> sdf = sdf.apply(count, stateful=True)
    >>> with TopologyTestDriver(app) as driver:
    ...     driver.pipe_input(clicks, {}, key="Ada")
    ...     driver.checkpoint()
    ...     driver.crash()
    ...     driver.pipe_input(clicks, {}, key="Ada")
    ...     [n for n, *_ in driver.read_results()]
    [1, 2]
    """
