#!/usr/bin/env python3
"""Runs every test suite of the repository and adds up what they say.

    tools/test.py [--fast] [SUITE ...]        (make test, make test-fast, make test ARGS="rust python")

The suites run one after the other, all of them even if one fails. A real Apache Kafka is started for those that want
one, under an address they find in MILLSTREAM_TEST_KAFKA; Rust tests for it are `#[ignore]`d and run only then. What
could not run is listed at the end, in capitals, and counts as skipped. The last line has the sums; the exit status is
1 if anything failed, if a suite ran out of time or if it ran no test at all.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
KAFKA_TOOL = [sys.executable, str(ROOT / "tools" / "kafka")]
CANNOT_RUN_HERE = 3

# Longer than any suite takes on two cores, short enough that one that hangs leaves room for the others.
SUITE_SECONDS = 25 * 60


@dataclasses.dataclass
class Suite:
    name: str
    command: list
    fast: list | None = None
    """The command of `--fast`; None: not part of it."""


@dataclasses.dataclass
class Outcome:
    suite: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""
    """Why the suite counts as failed beyond its failed tests."""
    reasons: list = dataclasses.field(default_factory=list)


def suites(with_kafka):
    features = os.environ.get("MILLSTREAM_CARGO_FEATURES")
    # The crate of the Python module has its tests in Python: cargo would want a libpython to link.
    cargo = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "millstream-python"]
    cargo += ["--features", features] if features else []
    ignored = ["--", "--include-ignored"] if with_kafka else []
    pytest = [sys.executable, "-m", "pytest", "-q"]
    quick = ["-m", "not slow and not kafka"]
    yield Suite("rust", [*cargo, *ignored], [*cargo, "--lib", "--bins"])
    yield Suite("python", [*pytest, "tests/python"], [*pytest, *quick, "tests/python"])
    yield Suite("docstrings", [*pytest, "--doctest-modules", "python/millstream"])
    for folder in sorted((ROOT / "tests").iterdir()):
        if folder.name != "python" and any(folder.rglob("test_*.py")):
            yield Suite(folder.name, [*pytest, f"tests/{folder.name}"])


# -- reading the runners' closing lines ----------------------------------------------------------------

CARGO_LINE = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
CARGO_BROKEN = re.compile(r"^error(\[E\d+\])?: ")
PYTEST_LINE = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s")
PYTEST_REASON = re.compile(r"^SKIPPED \[\d+\] (.*)")


def read_line(outcome, line):
    line = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
    if match := CARGO_LINE.match(line):
        outcome.passed += int(match[1])
        outcome.failed += int(match[2])
        outcome.skipped += int(match[3])
    elif match := PYTEST_LINE.match(line):
        for count, what in re.findall(r"(\d+) ([a-z]+)", match[1]):
            if what in ("passed", "xfailed"):
                outcome.passed += int(count)
            elif what in ("failed", "error", "errors", "xpassed"):
                outcome.failed += int(count)
            elif what == "skipped":
                outcome.skipped += int(count)
    elif match := PYTEST_REASON.match(line):
        outcome.reasons.append(match[1])
    elif CARGO_BROKEN.match(line) and not outcome.problem:
        outcome.problem = line


def run(suite, command, environment):
    outcome = Outcome(suite.name)
    print(f"\n=== {suite.name}: {' '.join(map(str, command))}", flush=True)
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )
    overtime = threading.Timer(SUITE_SECONDS, kill_group, [process])
    overtime.start()
    try:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            read_line(outcome, line)
        status = process.wait()
    except BaseException:
        kill_group(process)
        raise
    finally:
        overtime.cancel()
    outcome.seconds = time.monotonic() - started
    if outcome.seconds >= SUITE_SECONDS:
        outcome.problem = f"ended after {SUITE_SECONDS // 60} minutes"
    elif status == 0:
        outcome.problem = "" if outcome.passed + outcome.skipped else "it ran no test"
    elif not outcome.failed:
        outcome.problem = outcome.problem or f"ended with status {status}"
    else:
        outcome.problem = ""
    return outcome


def kill_group(process):
    """The suite and what it started: a broker left behind would hold ports and memory."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# -- the real Kafka ------------------------------------------------------------------------------------


class RealKafka:
    """A cluster of one for the suites that want any; None as `address` where none can run."""

    def __init__(self):
        self.name = f"make-test-{os.getpid()}"
        self.address = None
        self.why_not = ""

    def __enter__(self):
        print("=== starting a real Apache Kafka", flush=True)
        done = subprocess.run(
            [*KAFKA_TOOL, "start", "--name", self.name], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        sys.stderr.write(done.stderr)
        if done.returncode == 0:
            self.address = done.stdout.split()[-1]
        elif done.returncode == CANNOT_RUN_HERE:
            self.why_not = done.stderr.strip().splitlines()[-1]
        else:
            sys.exit(f"test: a real Kafka did not start, though this machine has what it needs:\n{done.stderr}")
        return self

    def __exit__(self, *_):
        subprocess.run([*KAFKA_TOOL, "destroy", "--name", self.name], stdin=subprocess.DEVNULL, check=False)


def report(outcomes, why_no_kafka):
    width = max(len(outcome.suite) for outcome in outcomes)
    print(f"\n{'suite':<{width}}  passed  failed  skipped     time")
    for o in outcomes:
        print(f"{o.suite:<{width}}  {o.passed:6}  {o.failed:6}  {o.skipped:7}  {o.seconds:6.0f} s"
              + (f"  FAILED: {o.problem}" if o.problem else ""))
    reasons = [f"{o.suite}: {reason}" for o in outcomes for reason in o.reasons]
    if why_no_kafka:
        reasons.insert(0, f"REAL APACHE KAFKA: {why_no_kafka}")
    if not shutil.which("kcat") and not shutil.which("kafkacat"):
        reasons.append("KCAT: not installed (Debian: kcat)")
    if reasons:
        print("\nSKIPPED, NOT TESTED HERE:")
        for reason in reasons:
            print(f"  {reason}")
    passed = sum(o.passed for o in outcomes)
    failed = sum(o.failed + bool(o.problem) for o in outcomes)
    skipped = sum(o.skipped for o in outcomes)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="unit tests and quick Python tests; no real Kafka")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="only these (default: all)")
    options = parser.parse_args()
    known = {suite.name for suite in suites(False)}
    if strange := set(options.suites) - known:
        parser.error(f"no suite {', '.join(sorted(strange))}; there are: {', '.join(sorted(known))}")

    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.pop("MILLSTREAM_TEST_KAFKA", None)
    outcomes, why_no_kafka = [], ""

    def run_all(with_kafka):
        for suite in suites(with_kafka):
            command = suite.fast if options.fast else suite.command
            if command and (not options.suites or suite.name in options.suites):
                outcomes.append(run(suite, command, environment))

    if options.fast:
        run_all(False)
    else:
        with RealKafka() as kafka:
            why_no_kafka = kafka.why_not
            if kafka.address:
                environment["MILLSTREAM_TEST_KAFKA"] = kafka.address
            run_all(bool(kafka.address))
    sys.exit(1 if report(outcomes, why_no_kafka) else 0)


if __name__ == "__main__":
    main()
