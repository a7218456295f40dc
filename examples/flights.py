"""Departures per airport and hour: how many, how late on average, and the worst; of every flight that did leave.

Without a broker address this runs on the embedded broker. For a Kafka cluster, set the environment variable
`Quix__Broker__Address`, or give `Application` a `broker_address="host:9092"`; nothing else changes.
"""

from millstream import Application
from millstream.dataframe.windows import Count, Max, Mean

app = Application(consumer_group="delays", auto_offset_reset="earliest")   # no broker address: embedded broker
flights = app.topic("departures", value_deserializer="json")
delays = app.topic("hourly-delays", value_serializer="json")

sdf = app.dataframe(flights)
sdf = sdf[sdf["dep_delay"].notnull()]
sdf["late"] = sdf["dep_delay"] > 15
sdf = sdf.group_by("origin").tumbling_window(duration_ms=3_600_000, grace_ms=3_600_000) \
         .agg(flights=Count(), mean_delay=Mean("dep_delay"), worst=Max("dep_delay")).final()
sdf.to_topic(delays)

if __name__ == "__main__":
    app.run()
