"""`make demo`: its table against Polars, a second demo in the same folder, and what it says of a program that fails."""

import datetime
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from brokers import MILLSTREAM, ROOT, embedded_brokers_of, end_embedded_brokers_of

FLIGHTS = 336_776
PATIENCE_SECONDS = 400
ROW = re.compile(r"^(EWR|JFK|LGA) +(\d{4}-\d\d-\d\d \d\d:\d\d) +(\d+) +(-?\d+\.\d) min +(-?\d+) min$", re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    """A folder for a demo; the broker that comes up in it outlives the demo, but not the test."""
    yield tmp_path / "demo"
    end_embedded_brokers_of(tmp_path / "demo")


def run(folder, script=ROOT / "examples" / "demo.py", **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("Quix__")}
    return subprocess.run(
        [sys.executable, script, "--dir", folder], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE_SECONDS, env=clean | environment,
    )


def table(printed, title, until):
    """The rows of one of the two tables: (airport, start, flights, mean delay, worst delay)."""
    part = printed[printed.index(title) : printed.index(until)]
    return [
        (airport, milliseconds(hour), int(flights), float(mean), int(worst))
        for airport, hour, flights, mean, worst in ROW.findall(part)
    ]


def milliseconds(text):
    hour = datetime.datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=datetime.UTC)
    return int(hour.timestamp() * 1000)


def check_tables(printed, oracle):
    """What is shown is what Polars has for those hours, and no other hour would have had to be shown instead."""
    busy = table(printed, "Busiest hours", "Latest hours")
    late = table(printed, "Latest hours", "What next")
    assert len(busy) == len(late) == 5, printed
    for airport, start, flights, mean, worst in busy + late:
        expected = oracle[airport, start]
        assert (flights, worst) == (expected[0], expected[2]), (airport, start)
        assert mean == pytest.approx(expected[1], abs=0.0501), (airport, start)
    assert [row[2] for row in busy] == sorted((hour[0] for hour in oracle.values()), reverse=True)[:5]
    means = sorted((hour[1] for hour in oracle.values() if hour[0] >= 10), reverse=True)[:5]
    assert [row[3] for row in late] == pytest.approx(means, abs=0.0501)
    assert f"{FLIGHTS:,} flights became {len(oracle):,} hours" in printed


def hours_in(folder):
    """The output topic, as the demo's last words tell one to look at it: in its folder, on its broker."""
    done = subprocess.run(
        [*MILLSTREAM, "consume", "hourly-delays", "--format", "json"], cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_twice_in_a_folder(place, oracle):
    for _ in range(2):
        done = run(place)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        check_tables(done.stdout, oracle)
        found = {(hour["key"], hour["value"]["start"]): hour["value"] for hour in hours_in(place)}
        assert {window: (value["flights"], value["worst"]) for window, value in found.items()} == {
            window: (flights, worst) for window, (flights, _, worst) in oracle.items()
        }
        assert len(list(embedded_brokers_of(place))) == 1, "the broker of the demo before is gone"


@pytest.fixture
def examples(tmp_path):
    """A copy of the examples, to break."""
    return shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("if __name__", "raise RuntimeError('broken at once')\nif __name__", "ended by itself (status 1)"),
        ("    app.run()", "    app.run()\n    raise RuntimeError('broken at the end')", "ended with status 1"),
    ],
)
def test_a_program_that_fails(place, examples, old, new, complaint):
    program = examples / "flights.py"
    text = program.read_text()
    assert text.count(old) == 1
    program.write_text(text.replace(old, new))
    done = run(place, examples / "demo.py")
    assert done.returncode == 1
    assert complaint in done.stderr and "RuntimeError: broken at" in done.stderr
    assert "Busiest hours" not in done.stdout


def test_a_folder_with_something_else_in_it(tmp_path):
    (tmp_path / "thesis.txt").write_text("not to be deleted")
    done = run(tmp_path)
    assert done.returncode == 1
    assert "holds 'thesis.txt', which no demo made; take another --dir" in done.stderr
    assert (tmp_path / "thesis.txt").exists()


def test_it_does_not_run_on_somebodys_cluster(place):
    done = run(place, Quix__Broker__Address="127.0.0.1:1")
    assert done.returncode == 1 and "Quix__Broker__Address is set" in done.stderr
    assert not place.exists()
