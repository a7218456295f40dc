"""The benchmarks run and say what they are to say. How fast anything is, is not asserted."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import brokers  # noqa: E402
import engines  # noqa: E402
import quix  # noqa: E402
import report  # noqa: E402

LINES = {
    ("consume", "librdkafka"),
    ("copy", "librdkafka"),
    ("expressions", "millstream"),
    ("lambdas", "millstream"),
    ("window", "millstream"),
}
DRIVER = [sys.executable, str(ROOT / "bench" / "run.py")]


@pytest.mark.slow
def test_a_small_run_on_a_given_broker_reports_every_line_and_leaves_nothing(tmp_path):
    with brokers.embedded() as address:
        done = subprocess.run(
            [*DRIVER, "--broker", address, "--records", "3000", "--runs", "1", "--no-quix", "--rate", "50",
             "--latency-seconds", "1", "--results", str(tmp_path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        assert done.returncode == 0, done.stdout
        assert brokers.Topics(address).millstream("list", "--json") == ""
    [path] = tmp_path.iterdir()
    saved = json.loads(path.read_text())

    assert {(line["workload"], line["engine"]) for line in saved["lines"]} == LINES
    for line in saved["lines"]:
        assert len(line["cpu_us"]) == len(line["wall_us"]) == 1
        assert len(line["first_s"]) == (0 if line["workload"] == "consume" else 1)
        assert all(seconds > 0 for seconds in line["first_s"])
        assert any(row.split()[:2] == [line["workload"], line["engine"]] for row in done.stdout.splitlines())
    assert [found["engine"] for found in saved["latencies"]] == ["librdkafka", "millstream"]
    assert all(run["records"] == 45 for found in saved["latencies"] for run in found["runs"])

    ratios, latency = saved["verdicts"][:-1], saved["verdicts"][-1]
    assert len(ratios) == len(report.TARGETS)
    for said, (workload, other, _) in zip(ratios, report.TARGETS, strict=True):
        assert said.startswith(f"{workload}: ")
        assert ("not measured" in said) == (other == "quixstreams")
    assert "ms" in latency and "not measured" not in latency
    assert all(said in done.stdout for said in saved["verdicts"])
    assert "WITHOUT QUIX STREAMS" in done.stdout


def test_the_help_says_how_to_run_on_a_given_broker():
    said = subprocess.run([*DRIVER, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    assert "--broker HOST:PORT" in said


def test_an_address_without_a_port_is_refused():
    done = subprocess.run(
        [*DRIVER, "--broker", "localhost"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr


def cost(cpu_s, wall_s=1.0, first_s=None):
    return engines.Cost(cpu_s, wall_s, 100.0, first_s)


def test_start_and_stop_are_not_part_of_a_records_cost():
    small = [cost(0.5, 2.0, 1.5), cost(0.7, 2.0, 1.3), cost(0.6, 2.0, 1.4)]
    full = [cost(1.6, 4.0), cost(2.6, 6.0), cost(3.6, 8.0)]
    line = report.line("window", "millstream", 1_002_000, 2000, full, small)
    assert line.cpu_us == pytest.approx([1.0, 2.0, 3.0])
    assert line.per_cpu_second == pytest.approx(500_000)
    assert line.per_second == pytest.approx(250_000)
    assert line.first_output == 1.4
    assert not line.too_few


def test_a_run_over_before_a_small_one_has_no_rate():
    line = report.line("copy", "librdkafka", 3000, 2000, [cost(0.2, 0.9)], [cost(0.1, 1.0)])
    assert line.per_second is None and line.too_short and not line.too_few
    assert report.TOO_FEW in report.table([line])


def test_targets_are_held_against_the_ratio_of_costs():
    def line(workload, engine, cpu_s):
        return report.line(workload, engine, 1_002_000, 2000, [cost(cpu_s + 0.1, 9.0)], [cost(0.1)])

    lines = [
        line("copy", "librdkafka", 1.0),
        line("expressions", "millstream", 2.0),
        line("expressions", "quixstreams", 18.0),
        line("window", "millstream", 0.05),
        line("window", "quixstreams", 34.0),
    ]
    latencies = [report.latency("millstream", [
        {"p50_ms": 1.0, "p99_ms": p99, "max_ms": p99} for p99 in (30.0, 5.0, 6.0)
    ])]
    said = report.verdicts(lines, latencies)
    assert "9.00 (reached)" in said[0]
    assert "not measured" in said[1]
    assert "(too few records to tell)" in said[2]
    assert "0.50 (MISSED)" in said[3]
    assert "6.0 ms (reached)" in said[4]
    table = report.table(lines)
    assert report.TOO_FEW in table
    assert [row.split()[1] for row in table.splitlines() if "*" in row][:1] == ["millstream"]


PRINT_AND_FAIL = [sys.executable, "-c", "import sys; print('what went wrong'); sys.exit(3)"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_run_that_fails_shows_what_it_said():
    with pytest.raises(SystemExit, match=r"(?s)ended with 3.*what went wrong"):
        engines.measure(PRINT_AND_FAIL)


@pytest.mark.parametrize("probe, program", [(SLEEP, PRINT_AND_FAIL), (PRINT_AND_FAIL, SLEEP)])
def test_a_latency_run_ends_with_the_first_that_fails(probe, program):
    with pytest.raises(SystemExit, match=r"(?s)ended with 3.*what went wrong"):
        engines.latency(probe, program)


def test_the_cache_is_where_make_has_it(monkeypatch):
    monkeypatch.setattr(os, "environ", {"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"})
    assert quix.cache_folder() == pathlib.Path("/xdg/millstream")
    monkeypatch.setitem(os.environ, "MILLSTREAM_CACHE", "/mine")
    assert quix.cache_folder() == pathlib.Path("/mine")
