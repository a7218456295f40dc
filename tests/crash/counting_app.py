"""The program that the crash tests kill: counts records per key in state, and in windows.

Every output names the process that made it (`run`), so that a test can hold the order of one
process's outputs against the input. A record with `probe` set does not count: it asks what the
state says.
"""

import argparse
import uuid

from millstream import Application
from millstream.dataframe.windows import Count

RUN = uuid.uuid4().hex


def count(value, state):
    total = state.get("count", 0)
    if not value.get("probe"):
        total += 1
        state.set("count", total)
    return {"n": value["n"], "count": total, "probe": bool(value.get("probe")), "run": RUN}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--state-dir", required=True)
    parser.add_argument("--group", default="crash")
    parser.add_argument("--commit-interval", type=float, default=0.5)
    arguments = parser.parse_args()

    app = Application(
        broker_address=arguments.broker,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        state_dir=arguments.state_dir,
        commit_interval=arguments.commit_interval,
        consumer_extra_config={"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000},
        loglevel="INFO",
    )
    numbers = app.topic("numbers", key_deserializer="str")
    counted = app.topic("counted", key_serializer="str")
    windows = app.topic("windows", key_serializer="str")

    sdf = app.dataframe(numbers)
    sdf.apply(count, stateful=True).to_topic(counted)
    real = sdf[sdf["probe"] == False]  # noqa: E712 - an expression, not a comparison
    real.tumbling_window(duration_ms=1000).agg(count=Count()).final().to_topic(windows)
    app.run()


if __name__ == "__main__":
    main()
