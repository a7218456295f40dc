"""What is measured: how each engine is started, what it must write, and what a process cost."""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PIPELINE = ROOT / "bench" / "pipeline.py"

# As bench/raw/src/records.rs makes the records: keys, filter, distance in time.
KEYS, BELOW_FILTER_OF_100, WINDOW_MS = 100, 1, 1000

WORKLOADS = ("consume", "copy", "expressions", "lambdas", "window")
RAW = ("consume", "copy")


@dataclasses.dataclass
class Cost:
    """What one process took from start to end."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    first_s: float | None = None
    """From starting the process until its first record stood in the output topic."""


def outputs(workload, records):
    """How many records the workload writes; the number of input records is a multiple of 1000."""
    assert records % 1000 == 0, "records come in whole thousands"
    if workload == "consume":
        return 0
    if workload == "copy":
        return records
    if workload == "window":
        # Key after key, the windows that end at or before its last record.
        return sum((records - KEYS + key) // WINDOW_MS for key in range(KEYS))
    return records // 100 * (100 - BELOW_FILTER_OF_100)


def expected(workload, inputs):
    """The key and the value of each record that a pipeline writes, in any order, of the records it read."""
    if workload == "window":
        sums, last = collections.Counter(), {}
        for record in inputs:
            window = record["timestamp"] // WINDOW_MS * WINDOW_MS
            sums[record["key"], window] += record["value"]["amount"]
            last[record["key"]] = record["timestamp"]
        return [
            (key, {"start": start, "end": start + WINDOW_MS, "total": total})
            for (key, start), total in sums.items() if start + WINDOW_MS <= last[key]
        ]
    passed = [record for record in inputs if record["value"]["amount"] > 10]
    return [
        (record["key"], record["value"] | {"total": record["value"]["amount"] * record["value"]["quantity"]})
        for record in passed
    ]


def differences(expected, records):
    """What is missing and what is too much among records, up to three of either; empty if they are as expected."""
    def counted(pairs):
        # Whatever the order of the fields.
        return collections.Counter((key, tuple(sorted(value.items()))) for key, value in pairs)

    wanted, found = counted(expected), counted((record["key"], record["value"]) for record in records)
    missing, strange = list((wanted - found).elements()), list((found - wanted).elements())
    return [f"missing: {one}" for one in missing[:3]] + [f"not expected: {one}" for one in strange[:3]]


class Raw:
    """The program bench-raw: one client and nothing else."""

    def __init__(self, program):
        self.program, self.checksums = program, {}

    def command(self, client, workload, address, topic, *arguments):
        return [self.program, "--client", client, workload, address, topic, *map(str, arguments)]

    def measure(self, client, workload, address, topic, *arguments):
        """Cost of a run, and what it said."""
        cost, said = measure(self.command(client, workload, address, topic, *arguments))
        return cost, json.loads(said.splitlines()[-1])

    def checked(self, client, workload, address, topic, records, *arguments):
        """The same over records of 100 bytes, all of which it must have seen, as all other runs over as many have."""
        cost, said = self.measure(client, workload, address, topic, records, *arguments)
        expected = (records, self.checksums.setdefault(records, said["checksum"]))
        if (said["records"], said["checksum"]) != expected:
            sys.exit(
                f"bench: {client} saw other records than were written: {workload} of {topic} at {address} said {said}, not {expected}"
            )
        return cost, said

    def latency(self, client, address, source, sink, options, program=None):
        """From just before a record is written to `source` until it comes out of `sink`, while `program` runs."""
        count = options.rate * options.latency_seconds
        return latency(self.command(client, "latency", address, source, count, sink, options.rate), program)


def build_raw():
    """The program bench-raw, in the release profile."""
    # With the package of the Python module, though only the one program is built: with it, librdkafka and what it needs
    # have the same features as where the module was built for `make bench`, and are there already.
    command = ["cargo", "build", "--release", "--locked", "-p", "bench-raw", "-p", "millstream-python", "--bin", "bench-raw"]
    command += ["--message-format", "json-render-diagnostics"]
    if features := os.environ.get("MILLSTREAM_CARGO_FEATURES"):
        command += ["--features", features]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("bench: bench/raw does not build; cargo's message stands above")
    return Raw(next(found for line in done.stdout.splitlines() if (found := json.loads(line).get("executable"))))


def pipeline(python, package, workload, broker, source, sink, directory, count=0):
    command = [
        str(python), str(PIPELINE), package, workload,
        "--broker", broker, "--input", source, "--output", sink, "--directory", str(directory),
    ]
    return command + (["--count", str(count)] if count else [])


def start(command, log):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def end_of(log):
    log.seek(0)
    return log.read().decode(errors="replace")[-3000:]


def fail(command, status, *logs):
    said = "\n".join(end_of(log) for log in logs)
    sys.exit(f"bench: {' '.join(map(str, command))}\nended with {status}:\n{said}")


def measure(command):
    """Runs a process to its end: its cost, and the end of what it said.

    The time is the kernel's own account, of all its threads. The peak of memory it must say itself, as
    `{"peak_mb": 12.3}`: the kernel's is at least what this process had when it started that one.
    """
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = start(command, log)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            fail(command, process.returncode, log)
        said = end_of(log)
        peaks = re.findall(r'"peak_mb": ([\d.]+)', said)
        if not peaks:
            fail(command, "no word of its peak of memory", log)
        return Cost(usage.ru_utime + usage.ru_stime, wall, float(peaks[-1])), said


@contextlib.contextmanager
def first_record(command):
    """Yields a function that returns when the topic got its first record, in seconds since 1970.

    The process that `command` starts waits for that record, and has its connection before the block begins.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def line():
        said = process.stdout.readline()
        if not said:
            sys.exit(f"bench: {' '.join(command)} saw no record; its message stands above")
        return said.strip()

    try:
        line()  # "waiting"
        yield lambda: float(line())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def latency(probe, program=None):
    """What the command `probe` says, while `program` runs beside it. Whichever fails shows the end of what both said."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as log:
        beside = start(program, log) if program else None
        prober = start(probe, said)
        try:
            while prober.poll() is None:
                if beside and beside.poll() is not None:
                    fail(program, beside.returncode, log)
                time.sleep(0.1)
            if prober.returncode:
                fail(probe, prober.returncode, said, log)
        finally:
            for process in (prober, beside):
                if process:
                    stop(process)
        return json.loads(end_of(said).splitlines()[-1])


def stop(process):
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
