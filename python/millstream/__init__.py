"""Millstream: stream processing on Kafka, written in Python, run natively.

```python
from millstream import Application

app = Application(consumer_group="alarms", auto_offset_reset="earliest")
sdf = app.dataframe(app.topic("readings"))
sdf = sdf[sdf["celsius"] > 30].to_topic(app.topic("alarms"))
app.run()
```

Names and meaning are those of Quix Streams: `sed s/quixstreams/millstream/` migrates a program.
"""

from millstream._millstream import __version__

from .app import Application
from .context import MessageContext, message_context
from .state import State

__all__ = ("Application", "MessageContext", "State", "__version__", "message_context")
