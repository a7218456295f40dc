"""Pipelines without Kafka, for tests (parity row M-01).

`MemoryApplication` takes the arguments of `Application` and never looks for a broker. `TopologyTestDriver` runs what it
declares, record by record: tests say what arrives, what time it is, and when the program dies.

>>> from millstream.testing import MemoryApplication, TopologyTestDriver
>>> app = MemoryApplication()
>>> words, counts = app.topic("words", value_deserializer="str"), app.topic("counts")
>>> def count(word, state):
...     total = state.get("total", 0) + 1
...     state.set("total", total)
...     return {"word": word, "total": total}
>>> sdf = app.dataframe(words).apply(count, stateful=True).to_topic(counts)
>>> with TopologyTestDriver(app) as driver:
...     for word in ("rye", "oats", "rye"):
...         driver.pipe_input(words, word, key=word)
...     [record.value for record in driver.read_outputs(counts)]
[{'word': 'rye', 'total': 1}, {'word': 'oats', 'total': 1}, {'word': 'rye', 'total': 2}]
"""

from .driver import OutputRecord, TopologyTestDriver
from .memory import MemoryAdmin, MemoryApplication

__all__ = ("MemoryAdmin", "MemoryApplication", "OutputRecord", "TopologyTestDriver")
