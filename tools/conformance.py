#!/usr/bin/env python3
"""Runs the client's tests with each client on each set of brokers, and writes what came of it to docs/conformance.md.

    tools/conformance.py [--repeats N] [--only SET ...] [--tests WORD]     (make conformance ARGS="--repeats 200")
    tools/conformance.py --check                                           (part of make lint)

A set of brokers is `embedded`, `kafka` (one Apache Kafka) or `three` (three of them). Each fault is repeated N times
(default: as often as `make test` does). The table has a row for every test of crates/millstream-kafka/tests/it. With
`--only` and `--tests` (those with WORD in their names, such as a new one) the other results of the page stay as they
are. `--check` runs nothing: it says which tests have no row, and which rows have no test.

Wants the environment that `make build` prepares, as the Makefile's target has it. The exit status is 1 if a test
failed or the check did.
"""

import argparse
import collections
import os
import re
import subprocess
import sys

from testbed import ROOT, EmbeddedBrokers, RealKafka, ThreeBrokers, client_tests

TESTS = ROOT / "crates" / "millstream-kafka" / "tests" / "it"
PAGE = ROOT / "docs" / "conformance.md"
CLIENTS = ("millstream", "librdkafka")
SETS = {"embedded": "embedded", "kafka": "Apache Kafka", "three": "three brokers"}

# Tests that do something to the brokers which others would notice run by themselves, one after the other.
ALONE = ("outage::", "cluster::")
FAIL = "**FAIL**"
RESULT = re.compile(r"^test (\S+) \.\.\. .*?\b(ok|FAILED)$")
OUTPUT_OF = re.compile(r"^---- (\S+) stdout ----$")
LEFT_OUT = re.compile(r"^(?:NOT APPLICABLE|SKIPPED): (.*)")
TEST = re.compile(r"^#\[test\]\n(?:#\[.*\n)*fn (\w+)\(", re.MULTILINE)
# How often each fault was repeated on a set of brokers.
REPEATS = re.compile(r"^\* (\w.*): (?:(\d+) times|as `make test` does)$", re.MULTILINE)
ABOUT = re.compile(r"^//! (.*?[.:;])(?=\s)", re.MULTILINE | re.DOTALL)


def tests():
    """The names of the tests in each module that has any, and what the module is about."""
    for path in sorted(TESTS.glob("*.rs")):
        text = path.read_text()
        if names := TEST.findall(text):
            about = ABOUT.search(text + "\n")
            yield path.stem, " ".join(about[1].replace("//!", "").split()).rstrip(".:;"), names


def run(arguments, variables, cells):
    """Runs some tests, shows what they say, and adds to `cells` the outcome of each by name."""
    program = client_tests()
    if not program:
        sys.exit("conformance: the tests could not be built")
    process = subprocess.Popen(
        [program, "--show-output", *arguments], cwd=ROOT, env=os.environ | variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    test = None
    for line in process.stdout:
        sys.stdout.write(line)
        if found := RESULT.match(line):
            cells[found[1]] = "pass" if found[2] == "ok" else FAIL
        elif found := OUTPUT_OF.match(line):
            test = found[1]
        elif (found := LEFT_OUT.match(line)) and test:
            cells[test] = found[1].strip()
    if process.wait() and FAIL not in cells.values():
        sys.exit(f"conformance: the tests ended with {process.returncode} before they were through; see above")


def run_all(brokers, client, repeats, word):
    """The outcome of every test with this client, or of those with that word, on the brokers these variables tell of."""
    chosen = {"MILLSTREAM_TEST_CLIENT": client} | ({"MILLSTREAM_TEST_REPEATS": str(repeats)} if repeats else {})
    cells = {}
    if word:
        run(["--test-threads", "1", word], brokers | chosen, cells)
        return cells
    run([flag for module in ALONE for flag in ("--skip", module)], brokers | chosen, cells)
    run(["--test-threads", "1", *ALONE], brokers | chosen, cells)
    return cells


def columns():
    return [(brokers, client) for client in CLIENTS for brokers in SETS]


def results_of_page():
    """What the page says now, by set of brokers and client."""
    results = {column: {} for column in columns()}
    text = PAGE.read_text() if PAGE.exists() else ""
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    module = ""
    for line in text.splitlines():
        if found := re.match(r"## (\w+): ", line):
            module = found[1]
        elif line.startswith("| ") and not line.startswith("| Behaviour"):
            name, *row = line.strip("| ").split(" | ")
            for column, cell in zip(columns(), row, strict=True):
                number = re.match(r"n/a \((\d+)\)", cell)
                results[column][f"{module}::{name.replace(' ', '_')}"] = reasons[number[1]] if number else cell
    return results


def repeats_of_page():
    """How often faults were repeated on each set of brokers, as the page says now; 0: as `make test` does."""
    told = dict(REPEATS.findall(PAGE.read_text() if PAGE.exists() else ""))
    return {brokers: int(told.get(shown) or 0) for brokers, shown in SETS.items()}


def table(results, repeats):
    """The page: results by set of brokers and client, and how often faults were repeated on each set."""
    heads = [f"{client}, {SETS[brokers]}" for brokers, client in columns()]
    reasons = {}
    yield "# Conformance of the Kafka clients and the embedded broker\n\n"
    yield (
        "One suite of tests, `crates/millstream-kafka/tests/it`, run by our client and by librdkafka, on the embedded "
        "broker, on\none Apache Kafka and on three brokers of it. `make conformance` runs them and writes this page. A "
        "number stands for the\nreason, below, why a test does not apply.\n\n"
        "How often each fault was repeated, at least (`make test` cuts 8 or 24 connections, and kills one broker):\n\n"
    )
    for brokers, shown in SETS.items():
        yield f"* {shown}: {f'{repeats[brokers]} times' if repeats[brokers] else 'as `make test` does'}\n"
    for module, about, names in tests():
        yield f"\n## {module}: {about}\n\n"
        yield f"| Behaviour | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}\n"
        for name in names:
            row = []
            for column in columns():
                cell = results[column].get(f"{module}::{name}", "**not run**")
                if cell != "pass" and not cell.startswith("**"):
                    cell = f"n/a ({reasons.setdefault(cell, len(reasons) + 1)})"
                row.append(cell)
            yield f"| {name.replace('_', ' ')} | {' | '.join(row)} |\n"
    yield "\n## Why a test does not apply\n\n"
    for reason, number in reasons.items():
        yield f"{number}. {reason}\n"


def check():
    """Names, and that nothing failed: what the table says of a test may be older than the test."""
    there = collections.defaultdict(set)
    module = ""
    for line in PAGE.read_text().splitlines():
        if found := re.match(r"## (\w+): ", line):
            module = found[1]
        elif (found := re.match(r"\| ([^|]+) \|", line)) and found[1] != "Behaviour":
            there[module].add(found[1].replace(" ", "_"))
    wrong = [line.strip() for line in PAGE.read_text().splitlines() if "**" in line]
    for module, _, names in tests():
        rows = there.pop(module, set())
        wrong += [f"no row for the test {module}::{name}" for name in sorted(set(names) - rows)]
        wrong += [f"no test for the row {module}::{name}" for name in sorted(rows - set(names))]
    wrong += [f"no tests for the rows of {module}" for module in there]
    for line in wrong:
        print(f"{PAGE.relative_to(ROOT)}: {line}; `make conformance` writes it anew")
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the rows of the page with the tests")
    parser.add_argument("--repeats", type=int, default=0, metavar="N", help="how often each fault is repeated")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help="these brokers only")
    parser.add_argument("--tests", metavar="WORD", help="these tests only")
    options = parser.parse_args()
    if options.check:
        sys.exit(0 if check() else 1)
    results, repeats = results_of_page(), repeats_of_page()
    failed = []

    def both(name, variables):
        if not variables:
            sys.exit("conformance: this machine cannot run an Apache Kafka; see above")
        # Of a page of two runs, the fewer are true.
        repeats[name] = min(repeats[name], options.repeats) if options.tests else options.repeats
        for client in CLIENTS:
            print(f"\n=== {client} on {SETS[name]}", flush=True)
            cells = run_all(variables, client, options.repeats, options.tests)
            results[name, client] = (results[name, client] if options.tests else {}) | cells
            failed.extend(f"{test} with {client} on {SETS[name]}" for test in cells if cells[test] == FAIL)

    if "embedded" in options.only:
        with EmbeddedBrokers() as embedded:
            both("embedded", embedded.variables)
    if "kafka" in options.only:
        with RealKafka(f"conformance-{os.getpid()}") as kafka:
            both("kafka", kafka.variables)
    if "three" in options.only:
        with ThreeBrokers(f"conformance-{os.getpid()}") as three:
            both("three", three.start())
    for line in failed:
        print(f"FAILED: {line}")
    PAGE.write_text("".join(table(results, repeats)))
    print(f"written: {PAGE.relative_to(ROOT)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
