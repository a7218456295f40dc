"""What is measured: how each engine is started, what it must write, and what a process cost."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PIPELINE = ROOT / "bench" / "pipeline.py"
QUIX = "quixstreams==3.28.1"

# As bench/raw/src/records.rs makes the records: keys, filter, distance in time.
KEYS, BELOW_FILTER_OF_100, WINDOW_MS = 100, 1, 1000

WORKLOADS = {
    "consume": "read every record, look at none",
    "copy": "read and write every record",
    "expressions": "filter + column expression + to_topic",
    "lambdas": "the same with Python functions",
    "window": "tumbling sum, final, with changelog",
}
RAW = ("consume", "copy")


@dataclasses.dataclass
class Cost:
    """What one process took from start to end."""

    cpu_s: float
    wall_s: float
    peak_mb: float


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


def build_raw(target_dir, features):
    """The program bench-raw, in the release profile."""
    command = ["cargo", "build", "--release", "--locked", "-p", "bench-raw"]
    if features:
        # The feature is of another crate; here it is of the library itself.
        command += ["--features", "rdkafka-sys/ssl"]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode:
        sys.exit("bench: bench/raw does not build; cargo's message stands above")
    return pathlib.Path(target_dir) / "release" / "bench-raw"


def quix_python(cache):
    """The interpreter of an environment with Quix Streams, or None if PyPI cannot be reached."""
    home = pathlib.Path(cache) / f"bench-{QUIX.replace('==', '-')}-{sys.version_info[0]}.{sys.version_info[1]}"
    python = home / "bin" / "python"
    if not (home / ".complete").exists():
        print(f"bench: installing {QUIX} into {home}", flush=True)
        steps = (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", QUIX],
        )
        if any(subprocess.run(step, stdin=subprocess.DEVNULL).returncode for step in steps):
            return None
        (home / ".complete").touch()
    return python


def pipeline(python, package, workload, broker, source, sink, directory, count=0):
    command = [
        str(python), str(PIPELINE), package, workload,
        "--broker", broker, "--input", source, "--output", sink, "--directory", str(directory),
    ]
    return command + (["--count", str(count)] if count else [])


def measure(command):
    """Runs a process to its end. The cost is the kernel's own account, of all its threads."""
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))}\nended with {process.returncode}:\n{text[-3000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024), text
