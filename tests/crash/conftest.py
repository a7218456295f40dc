"""Brokers for the crash tests: one of its own per test, embedded and real."""

import os
import pathlib
import re
import subprocess
import sys
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(params=["embedded", "kafka"])
def crash_broker(request, tmp_path):
    """The address of a fresh broker."""
    yield from globals()[f"{request.param}_broker"](tmp_path)


def embedded_broker(tmp_path):
    log = open(tmp_path / "broker.log", "wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "millstream", "broker",
         "--data-dir", str(tmp_path / "broker"), "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found, f"the broker did not say where it listens: {line!r}"
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def kafka_broker(tmp_path):
    tool = [sys.executable, str(ROOT / "tools" / "kafka")]
    name = f"crash-{uuid.uuid4().hex[:8]}"
    started = subprocess.run(
        [*tool, "start", "--name", name], capture_output=True, text=True,
        env={**os.environ}, stdin=subprocess.DEVNULL,
    )
    if started.returncode == 3:
        pytest.skip(f"NO REAL KAFKA HERE: {started.stderr.strip()}")
    assert started.returncode == 0, started.stderr
    try:
        yield started.stdout.split()[-1]
    finally:
        subprocess.run([*tool, "destroy", "--name", name], stdin=subprocess.DEVNULL, check=False)
