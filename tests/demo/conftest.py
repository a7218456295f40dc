"""The flights, and what Polars makes of them."""

import pathlib
import subprocess
import sys

import polars
import pytest
from brokers import ROOT

HOUR_MS = GRACE_MS = 3_600_000


@pytest.fixture(scope="session")
def flights():
    """The path of the JSON lines that are fed."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "flights_data.py"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True,
    )
    return pathlib.Path(done.stdout.split()[-1])


@pytest.fixture(scope="session")
def oracle(flights):
    """(origin, start) -> (flights, mean delay, worst), of the windows that later records of the same origin close."""
    table = (
        polars.read_csv(flights.with_suffix(".csv"), null_values="NA")
        .filter(polars.col("dep_delay").is_not_null())
        .with_columns(
            departure=polars.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("ms")
            + polars.col("minute") * 60_000
        )
        .with_columns(start=polars.col("departure") // HOUR_MS * HOUR_MS)
    )
    stream_time = table.group_by("origin").agg(stream_time=polars.col("departure").max())
    closed = (
        table.group_by("origin", "start")
        .agg(
            flights=polars.len(),
            mean_delay=polars.col("dep_delay").cast(polars.Float64).mean(),
            worst=polars.col("dep_delay").max(),
        )
        .join(stream_time, on="origin")
        .filter(polars.col("start") + HOUR_MS + GRACE_MS <= polars.col("stream_time"))
    )
    columns = ("origin", "start", "flights", "mean_delay", "worst")
    return {(origin, start): rest for origin, start, *rest in closed.select(columns).iter_rows()}
