"""The benchmarks run and say what they are to say. How fast anything is, is not asserted."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import brokers  # noqa: E402
import clients  # noqa: E402
import embedded  # noqa: E402
import engines  # noqa: E402
import kafka_streams  # noqa: E402
import process  # noqa: E402
import quix  # noqa: E402
import report  # noqa: E402
import rounds  # noqa: E402
import targets  # noqa: E402

PIPELINES = {
    ("consume", "librdkafka"),
    ("copy", "librdkafka"),
    ("expressions", "millstream"),
    ("lambdas", "millstream"),
    ("window", "millstream"),
}
DRIVER = [sys.executable, str(ROOT / "bench" / "run.py")]
SMALL_RUN = ["--records", "3000", "--runs", "1", "--rate", "50", "--latency-seconds", "1", "--partitions", "20"]


def bench(results, *arguments):
    """A small run of the driver: what it printed, and what it saved."""
    done = subprocess.run(
        [*DRIVER, *SMALL_RUN, "--results", str(results), *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    assert done.returncode == 0, done.stdout
    [path] = results.iterdir()
    return done.stdout, json.loads(path.read_text())


def assert_reported(said, part, pairs):
    assert {(line["workload"], line["engine"]) for line in part["lines"]} == pairs
    for line in part["lines"]:
        assert len(line["cpu_us"]) == len(line["wall_us"]) == 1
        words = [*line["workload"].split(), line["engine"]]
        assert any(row.split()[: len(words)] == words for row in said.splitlines()), words
    for found in part["latencies"]:
        assert [run["records"] for run in found["runs"]] == [45]


@pytest.mark.slow
def test_a_small_run_on_a_given_broker_reports_every_line_and_leaves_nothing(tmp_path):
    with brokers.embedded() as broker:
        said, saved = bench(tmp_path, "--broker", broker.address, "--no-quix", "--no-kafka-streams")
        assert brokers.Topics(broker.address).names() == []
    parts = saved["parts"]
    assert set(parts) == {"clients", "pipelines"}
    assert "WITHOUT BROKERS" in said and "WITHOUT QUIX STREAMS" in said and "WITHOUT KAFKA STREAMS" in said

    assert_reported(said, parts["clients"], {(work, client) for work in clients.WORKLOADS for client in clients.CLIENTS})
    assert [found["engine"] for found in parts["clients"]["latencies"]] == list(clients.CLIENTS)
    assert [found["engine"] for found in parts["clients"]["peaks"]] == list(clients.CLIENTS)
    assert all(peak > 1 for found in parts["clients"]["peaks"] for peak in found["peak_mb"])

    assert_reported(said, parts["pipelines"], PIPELINES)
    assert [found["engine"] for found in parts["pipelines"]["latencies"]] == ["librdkafka", "millstream"]
    for line in parts["pipelines"]["lines"]:
        assert len(line["first_s"]) == (0 if line["workload"] == "consume" else 1)
        assert all(seconds > 0 for seconds in line["first_s"])

    wanted = [target for target in targets.TARGETS if target.part in parts]
    *ratios, latency = saved["verdicts"]
    assert [found["what"] for found in ratios] == [target.text for target in wanted]
    for found, target in zip(ratios, wanted, strict=True):
        assert (found["verdict"] == "not measured") == (target.other in ("quixstreams", "kafka-streams"))
        assert any(row.startswith(found["what"]) and row.endswith(found["verdict"]) for row in said.splitlines())
    assert latency["what"].endswith("ms") and latency["verdict"] in ("reached", "MISSED")


@pytest.fixture(scope="module")
def kafka():
    """The real Kafka of `make test`, as the driver sees it."""
    address = os.environ.get("MILLSTREAM_TEST_KAFKA")
    if not address:
        pytest.skip("NO REAL KAFKA: MILLSTREAM_TEST_KAFKA is not set (make test sets it)")
    with brokers.broker(address) as broker:
        yield broker


@pytest.mark.kafka
def test_the_brokers_are_held_against_each_other(kafka, tmp_path):
    said, saved = bench(tmp_path, "--broker", kafka.address, "--only", "brokers")
    assert set(saved["parts"]) == {"brokers"}
    pairs = {(work, kind) for work in embedded.WORKLOADS for kind in ("kafka", "embedded")}
    assert_reported(said, saved["parts"]["brokers"], pairs)
    assert all(line["peak_mb"] > 5 for line in saved["parts"]["brokers"]["lines"])
    assert [found["engine"] for found in saved["parts"]["brokers"]["latencies"]] == ["kafka", "embedded"]
    assert len(saved["verdicts"]) == 3 and not any(found["measured"] is None for found in saved["verdicts"])
    assert not [name for name in brokers.Topics(kafka.address).names() if name.startswith("bench-")]


@pytest.mark.kafka
def test_kafka_streams_writes_what_it_must(kafka, tmp_path):
    topics = brokers.Topics(kafka.address)
    try:
        source = topics.create("input")
        engines.build_raw().measure("librdkafka", "fill", kafka.address, source, rounds.SMALL)
        inputs = topics.records(source)
        with kafka_streams.compiled() as classes:
            for workload in kafka_streams.WORKLOADS:
                sink = topics.create(workload)
                engines.measure(kafka_streams.command(
                    classes, workload, kafka.address, source, sink, tmp_path, rounds.SMALL
                ))
                expected = engines.expected(workload, inputs)
                assert len(expected) == engines.outputs(workload, rounds.SMALL)
                assert engines.differences(expected, topics.records(sink)) == []
    finally:
        topics.delete_all()


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_nothing():
    with brokers.embedded() as broker:
        driver = subprocess.Popen(
            [*DRIVER, *SMALL_RUN, "--runs", "100", "--only", "clients", "--broker", broker.address],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        assert any("run 1 of 100" in line for line in driver.stdout), driver.wait()
        # As a terminal does it: to all of them.
        os.killpg(driver.pid, signal.SIGINT)
        said = driver.stdout.read()
        driver.stdout.close()
        assert driver.wait() == 130, said
        assert "interrupted" in said and "Traceback" not in said
        assert brokers.Topics(broker.address).names() == []


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
    line = report.line("window", "millstream", 2000, 1_002_000, small, full)
    assert line.cpu_us == pytest.approx([1.0, 2.0, 3.0])
    assert line.per_cpu_second == pytest.approx(500_000)
    assert line.per_second == pytest.approx(250_000)
    assert line.first_output == 1.4
    assert not line.too_few


def test_a_run_over_before_a_small_one_has_no_rate():
    line = report.line("copy", "librdkafka", 2000, 3000, [cost(0.1, 1.0)], [cost(0.2, 0.9)])
    assert line.per_second is None and line.too_short and not line.too_few
    assert report.is_doubtful([line])


def test_small_runs_may_differ_from_engine_to_engine():
    asked = []

    def once(workload, engine, records):
        asked.append((engine, records))
        return cost(records / 1000)

    sizes = {"a": (1000, 5000), "b": (2500, 6000)}
    lines = rounds.costs("pipelines", 2, [("window", "a"), ("window", "b")], sizes.get, once)
    # Every second run goes backwards.
    one, other = [("a", 1000), ("a", 5000)], [("b", 2500), ("b", 6000)]
    assert asked == one + other + other + one
    assert [line.cpu_us for line in lines] == [[1000.0, 1000.0], [1000.0, 1000.0]]


def test_targets_are_held_against_what_was_measured():
    def line(workload, engine, cpu_s):
        return report.line(workload, engine, 2000, 1_002_000, [cost(0.1)], [cost(cpu_s + 0.1, 9.0)])

    def latency(engine, p50, *p99):
        return report.latency(engine, [{"p50_ms": p50, "p99_ms": each, "max_ms": each} for each in p99])

    parts = {
        "pipelines": {
            "lines": [
                line("copy", "librdkafka", 1.0), line("expressions", "millstream", 2.0), line("expressions", "quixstreams", 52.0),
                line("window", "millstream", 0.05), line("window", "quixstreams", 34.0),
            ],
            "latencies": [latency("millstream", 1.0, 30.0, 5.0, 6.0)],
        },
        "clients": {
            "lines": [line("consume", "millstream", 1.0), line("consume", "librdkafka", 3.0)],
            "latencies": [latency("millstream", 1.004, 3.0), latency("librdkafka", 1.0, 2.0)],
            "peaks": [{"engine": "millstream", "peak_mb": [30.0, 40.0, 90.0]}, {"engine": "librdkafka", "peak_mb": [80.0]}],
        },
    }
    said = {found["what"]: (found["measured"], found["verdict"]) for found in targets.verdicts(parts)}
    assert said["pipelines: expressions, times quixstreams"] == (26.0, "reached")
    assert said["pipelines: lambdas, times quixstreams"] == (None, "not measured")
    assert said["pipelines: window, times quixstreams"] == (680.0, "too few records to tell")
    assert said["pipelines: expressions, times librdkafka copy"] == (0.5, "MISSED")
    assert said["pipelines: latency p99, ms"] == (6.0, "reached")
    assert said["clients: consume, times librdkafka"] == (3.0, "MISSED")
    assert said["clients: latency p50, times librdkafka"] == (1.0, "reached")
    assert said["clients: latency p99, times librdkafka"] == (0.67, "MISSED")
    assert said["clients: memory, times librdkafka"] == (2.0, "reached")
    assert not any(what.startswith("brokers") for what in said)
    doubtful = [row for row in report.table(parts["pipelines"]["lines"]).splitlines() if "*" in row]
    assert [row.split()[:2] for row in doubtful][:1] == [["window", "millstream"]]


def test_what_a_pipeline_must_write_is_told_from_what_it_read():
    def record(key, timestamp, amount):
        return {"key": key, "timestamp": timestamp, "value": {"amount": amount, "quantity": 2}}

    inputs = [record("a", 0, 11.5), record("b", 10, 1.5), record("a", 999, 20.5), record("a", 1000, 12.5)]
    passed = engines.expected("expressions", inputs)
    assert passed == [("a", {"amount": amount, "quantity": 2, "total": 2 * amount}) for amount in (11.5, 20.5, 12.5)]
    windows = engines.expected("window", inputs)
    assert windows == [("a", {"start": 0, "end": 1000, "total": 32.0})]

    written = [{"key": "a", "value": {"start": 0, "end": 1000, "total": 32}}]
    assert engines.differences(windows, written) == []
    assert len(engines.differences(windows, written + written)) == 1
    assert len(engines.differences(windows, [{"key": "b", "value": written[0]["value"]}])) == 2


def test_what_another_process_takes_is_told_as_it_tells_it_itself():
    before = time.process_time()
    told = process.cpu_s(os.getpid())
    assert before <= told <= time.process_time()
    assert process.peak_mb(os.getpid()) > 1


def test_clients_that_saw_other_records_are_told(monkeypatch):
    said = iter([(2000, 7), (2000, 7), (2000, 8), (1999, 7)])
    raw = engines.Raw("bench-raw")
    monkeypatch.setattr(raw, "measure", lambda *_: (cost(1.0), dict(zip(("records", "checksum"), next(said), strict=True))))
    for _ in range(2):
        raw.checked("millstream", "consume", "broker:9092", "topic", 2000)
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"librdkafka saw other records .* broker:9092"):
            raw.checked("librdkafka", "consume", "broker:9092", "topic", 2000)


def test_the_peak_of_a_process_is_not_that_of_its_parent(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "bench"))
    ballast = b"x" * (128 << 20)
    say = "import json, process; print(json.dumps({'peak_mb': process.peak_mb()}))"
    cost, _ = engines.measure([sys.executable, "-c", say])
    assert 1 < cost.peak_mb < len(ballast) >> 20 < process.peak_mb()


def test_a_process_that_does_not_tell_its_peak_is_not_measured():
    with pytest.raises(SystemExit, match=r"(?s)ended with no word of its peak.*done"):
        engines.measure([sys.executable, "-c", "print('done')"])


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
