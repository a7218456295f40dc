"""State of user functions (parity rows ST-01 to ST-58).

A stateful function gets a `State`, in which each message key has a space of its own. A value that is set with a `ttl`
expires by event time: once the timestamps of the records that use the store have come so far.

>>> from datetime import timedelta
>>> from millstream.testing import MemoryApplication, TopologyTestDriver
>>> app = MemoryApplication()
>>> orders, fresh = app.topic("orders"), app.topic("fresh")
>>> def is_new(order, state):
...     if state.exists("seen"):
...         return False
...     state.set("seen", True, ttl=timedelta(minutes=1))
...     return True
>>> sdf = app.dataframe(orders).filter(is_new, stateful=True).to_topic(fresh)
>>> with TopologyTestDriver(app) as driver:
...     for timestamp in (0, 59_999, 60_000):
...         driver.pipe_input(orders, {"at": timestamp}, key="order-1", timestamp=timestamp)
...     [order.value for order in driver.read_outputs(fresh)]
[{'at': 0}, {'at': 60000}]
"""

from millstream._millstream import State

__all__ = ("State",)
