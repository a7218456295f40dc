#!/usr/bin/env python3
"""Runs every test suite of the repository and adds up what they say.

    tools/test.py [--fast] [SUITE ...]        (make test, make test-fast, make test ARGS="rust python")

The suites run one after the other, all of them even if one fails. A real Apache Kafka is started for those that want
one (see `testbed.py` for the variables by which they find it), and for the client's tests an embedded broker as well.
What could not run is listed at the end, in capitals, and counts as skipped. The last line has the sums; the exit
status is 1 if anything failed, if a suite ran out of time or if it ran no test at all.
"""

import argparse
import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

from testbed import ROOT, EmbeddedBrokers, RealKafka, ThreeBrokers, cargo_test, client_tests

# Longer than any suite takes on two cores, short enough that one that hangs leaves room for the others.
SUITE_SECONDS = 15 * 60
# For all of them together, the building of Rust's tests included.
TOTAL_SECONDS = 42 * 60


@dataclasses.dataclass
class Suite:
    name: str
    command: list
    fast: list | None = None
    """The command of `--fast`; None: not part of it."""
    client: str = ""
    """Runs the client's tests with this client."""
    on: str = "kafka"
    """Runs them on: `kafka`; `embedded`, a broker of their own; `three`, a cluster of three brokers."""
    environment: dict = dataclasses.field(default_factory=dict)
    """Further variables."""


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
    children: int = 0
    """Processes of tests among what the test program at hand ignores."""
    in_test: str = ""
    """The Rust test whose output is being read."""


def suites():
    pytest = [sys.executable, "-m", "pytest", "-q"]
    quick = ["-m", "not slow and not kafka"]
    # Cargo hides what a test that passed has printed, and with it that it was skipped.
    yield Suite("rust", [*cargo_test(), "--", "--show-output"], [*cargo_test(), "--lib", "--bins"])
    # One suite of tests, each client on each broker. Ours on a real Kafka has run in the suite before. Most of them wait
    # for something most of the time.
    each = ["--show-output", "--test-threads", "4"]
    yield Suite("client-embedded", each, client="millstream", on="embedded")
    # The same at a smaller size; `make conformance` runs all of it with librdkafka, too.
    smaller = [*each, *(f"--skip={module}::" for module in ("faults", "old_brokers", "expiry", "changes"))]
    yield Suite("librdkafka-embedded", smaller, client="librdkafka", on="embedded")
    yield Suite("librdkafka-kafka", smaller, client="librdkafka")
    # What takes several brokers; `make conformance` runs all the others there, too, and librdkafka.
    several = ["--show-output", "--test-threads", "1", "cluster::"]
    yield Suite("client-three-brokers", several, client="millstream", on="three")
    yield Suite("python", [*pytest, "tests/python"], [*pytest, *quick, "tests/python"])
    yield Suite("python-librdkafka", [*pytest, "-m", "not kafka", "tests/python/test_clients.py"],
                environment={"MILLSTREAM_CLIENT": "librdkafka"})
    yield Suite("lint", [sys.executable, "tools/lint.py"])
    yield Suite("docstrings", [*pytest, "--doctest-modules", "python/millstream"])
    for folder in sorted((ROOT / "tests").iterdir()):
        if folder.name != "python" and any(folder.rglob("test_*.py")):
            yield Suite(folder.name, [*pytest, f"tests/{folder.name}"])


# -- reading the runners' closing lines ----------------------------------------------------------------

CARGO_LINE = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
# No test, but the body of a process that a test starts and kills: it says so where it is ignored.
CARGO_CHILD = re.compile(r"^test \S+ \.\.\. ignored, the process that ")
CARGO_BROKEN = re.compile(r"^error(\[E\d+\])?: ")
PYTEST_LINE = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s")
CARGO_OUTPUT_OF = re.compile(r"^---- (\S+) stdout ----$")
CARGO_REASON = re.compile(r"^SKIPPED: (.*)")
# Nothing is missing that could be installed: what the test is about is not there on these brokers.
CARGO_ELSEWHERE = re.compile(r"^NOT APPLICABLE: ")
PYTEST_REASON = re.compile(r"^SKIPPED \[\d+\] (.*)")
LINT_LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")


def read_line(outcome, line):
    line = re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()
    if match := CARGO_LINE.match(line):
        outcome.passed += int(match[1])
        outcome.failed += int(match[2])
        outcome.skipped += int(match[3]) - outcome.children
        outcome.children = 0
    elif CARGO_CHILD.match(line):
        outcome.children += 1
    elif match := PYTEST_LINE.match(line):
        for count, what in re.findall(r"(\d+) ([a-z]+)", match[1]):
            if what in ("passed", "xfailed"):
                outcome.passed += int(count)
            elif what in ("failed", "error", "errors", "xpassed"):
                outcome.failed += int(count)
            elif what == "skipped":
                outcome.skipped += int(count)
    elif match := LINT_LINE.match(line):
        outcome.passed += int(match[1])
        outcome.failed += int(match[2])
        outcome.skipped += int(match[3])
    elif match := PYTEST_REASON.match(line):
        outcome.reasons.append(match[1])
    elif CARGO_OUTPUT_OF.match(line):
        outcome.in_test = CARGO_OUTPUT_OF.match(line)[1]
    elif (match := CARGO_REASON.match(line)) and outcome.in_test:
        # Rust's tests can only pass or fail; one that says this did not test anything.
        outcome.passed -= 1
        outcome.skipped += 1
        outcome.reasons.append(f"{outcome.in_test}: {match[1]}")
        outcome.in_test = ""
    elif CARGO_ELSEWHERE.match(line) and outcome.in_test:
        outcome.passed -= 1
        outcome.in_test = ""
    elif CARGO_BROKEN.match(line) and not outcome.problem:
        outcome.problem = line


def run(suite, command, environment, deadline):
    outcome = Outcome(suite.name)
    started = time.monotonic()
    if started >= deadline:
        outcome.problem = f"not run: the {TOTAL_SECONDS // 60} minutes for all suites are over"
        return outcome
    print(f"\n=== {suite.name}: {' '.join(map(str, command))}", flush=True)
    seconds = max(1, min(SUITE_SECONDS, deadline - started))
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )
    overtime = threading.Timer(seconds, kill_group, [process])
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
    if outcome.seconds >= seconds:
        outcome.problem = f"ended after {seconds / 60:.0f} minutes"
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


# -- all of them --------------------------------------------------------------------------------------


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
    parser.add_argument("--no-skips", action="store_true", help="a skipped test counts as failed (CI)")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="only these (default: all)")
    options = parser.parse_args()
    # A shell that starts this in the background lets it ignore Ctrl-C, which every program under test would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    known = {suite.name for suite in suites()}
    if strange := set(options.suites) - known:
        parser.error(f"no suite {', '.join(sorted(strange))}; there are: {', '.join(sorted(known))}")

    # What makes a test smaller by hand, or another client's, must not do so to all of them unseen.
    weakening = ("MILLSTREAM_TEST_", "MILLSTREAM_CRASH_", "MILLSTREAM_BROKER_", "MILLSTREAM_CLIENT",
                 "PYTEST_ADDOPTS", "PROPTEST_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(weakening)}
    clean["PYTHONUNBUFFERED"] = "1"
    outcomes, why_no_kafka = [], ""
    deadline = time.monotonic() + TOTAL_SECONDS

    def run_all(variables, three):
        for suite in suites():
            command = suite.fast if options.fast else suite.command
            if not command or (options.suites and suite.name not in options.suites):
                continue
            if three and suite.on != "three":
                three.end()
            if suite.client:
                outcomes.append(run_client_tests(suite, clean, variables, three, deadline))
            else:
                outcomes.append(run(suite, command, clean | variables | suite.environment, deadline))

    if options.fast:
        run_all({}, None)
    else:
        with RealKafka(f"make-test-{os.getpid()}") as kafka, ThreeBrokers(f"make-test-{os.getpid()}-three") as three:
            why_no_kafka = kafka.why_not
            run_all(kafka.variables, three)
    failed = report(outcomes, why_no_kafka)
    skipped = sum(outcome.skipped for outcome in outcomes)
    if options.no_skips and (skipped or why_no_kafka):
        print("test: --no-skips: what was skipped counts as failed", flush=True)
        failed += 1
    sys.exit(1 if failed else 0)


def run_client_tests(suite, environment, kafka, three, deadline):
    program = client_tests()
    if not program:
        return Outcome(suite.name, problem="its tests could not be built")
    with contextlib.ExitStack() as stack:
        match suite.on:
            case "embedded":
                variables = stack.enter_context(EmbeddedBrokers()).variables
            case "three":
                variables = three.start()
            case _:
                variables = kafka
        variables = environment | variables | {"MILLSTREAM_TEST_CLIENT": suite.client}
        return run(suite, [program, *suite.command], variables, deadline)


if __name__ == "__main__":
    main()
