"""A broker and an environment with Quix Streams.

Quix Streams wants other versions of packages than the tests do, so it lives in an environment of its own, in the cache
that `make` uses.
"""

import fcntl
import os
import pathlib
import re
import subprocess
import sys

import pytest
from installation import judge

QUIX = "quixstreams==3.28.1"


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("MILLSTREAM_CACHE") or pathlib.Path(base) / "millstream")


@pytest.fixture(scope="session")
def quix_python():
    """The interpreter of an environment with Quix Streams."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    home = cache_folder() / f"bench-{QUIX.replace('==', '-')}-{version}"
    python = home / "bin" / "python"
    home.parent.mkdir(parents=True, exist_ok=True)
    # The benchmarks use the same environment, and the same mark of a finished one.
    complete = home / ".complete"
    with open(home.parent / "quix.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            done = subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", QUIX],
                capture_output=True, text=True,
            )
            if done.returncode:
                judge(QUIX, done.stderr)
            complete.touch()
    return python


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_address(request, tmp_path_factory):
    if request.param == "kafka":
        address = os.environ.get("MILLSTREAM_TEST_KAFKA")
        if not address:
            pytest.skip("NO REAL KAFKA: MILLSTREAM_TEST_KAFKA is not set (make test sets it)")
        yield address
        return
    directory = tmp_path_factory.mktemp("broker")
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "millstream", "broker", "--data-dir", str(directory / "data"),
             "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        try:
            yield re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())[0]
        finally:
            process.terminate()
            process.wait(30)
