"""The flights demo against Polars: the same hourly table, computed directly from the file.

`examples/flights.py` runs as a user would run it, once on the embedded broker and once on Apache Kafka. Every window
that the last records close must be there exactly once, with equal counts and worst delays and means to 1e-9. As
the counts are exact, no record was dropped as late, although three partitions are read at their own pace (W-46
to W-48; the stream time behind `group_by`).
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from brokers import MILLSTREAM, ROOT, own_broker

EXAMPLES = ROOT / "examples"
HOUR_MS = 3_600_000
PATIENCE_SECONDS = 300


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request, tmp_path):
    with own_broker(request.param, tmp_path) as broker:
        yield broker.address


def millstream(broker, *arguments):
    done = subprocess.run(
        [*MILLSTREAM, *arguments, "--broker", broker], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{arguments[0]}: {done.stderr}"
    return done.stdout


def written(broker):
    described = json.loads(millstream(broker, "topics", "describe", "hourly-delays", "--json"))
    return sum(partition["end_offset"] for partition in described["partitions"])


def run_until(broker, folder, count):
    """Runs the program until it has written that many windows and a little longer, then stops it as Ctrl-C would."""
    with open(folder / "program.log", "wb") as log:
        program = subprocess.Popen(
            [sys.executable, EXAMPLES / "flights.py"], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=os.environ | {"Quix__Broker__Address": broker},
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while written(broker) < count:
            said = (folder / "program.log").read_text()[-3000:]
            assert program.poll() is None, f"the program ended by itself:\n{said}"
            assert time.monotonic() < deadline, f"{written(broker)} of {count} windows:\n{said}"
            time.sleep(0.3)
        # More than was asked for would be a window too many; leave it the time to come.
        time.sleep(3)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0, (folder / "program.log").read_text()[-3000:]
    finally:
        program.kill()
        program.wait()


@pytest.mark.slow
def test_every_closed_hour_equals_polars(broker, flights, oracle, tmp_path):
    millstream(broker, "topics", "create", "departures", "--partitions", "3", "--config", "retention.ms=-1")
    millstream(broker, "topics", "create", "hourly-delays", "--partitions", "1", "--config", "retention.ms=-1")
    feed = ("--key-field", "carrier", "--timestamp-field", "departure_ms", "--quiet")
    millstream(broker, "produce", "departures", str(flights), *feed)

    run_until(broker, tmp_path, len(oracle))

    printed = millstream(broker, "consume", "hourly-delays", "--format", "json")
    records = [json.loads(line) for line in printed.splitlines()]
    keys = [(record["key"], record["value"]["start"]) for record in records]
    assert len(keys) == len(set(keys)), "a window was written twice"
    found = dict(zip(keys, (record["value"] for record in records), strict=True))
    assert found.keys() == oracle.keys()
    for window, (flights_of_hour, mean_delay, worst) in oracle.items():
        value = found[window]
        assert value["end"] == window[1] + HOUR_MS, window
        assert (value["flights"], value["worst"]) == (flights_of_hour, worst), window
        assert value["mean_delay"] == pytest.approx(mean_delay, rel=1e-9, abs=1e-9), window
    # W-36: the record's timestamp is the window's start.
    assert all(record["timestamp"] == record["value"]["start"] for record in records)
