"""A broker and an environment with Quix Streams.

Quix Streams wants other versions of packages than the tests do, so it lives in an environment of its own, in the cache
that `make` uses.
"""

import fcntl
import os
import pathlib
import subprocess
import sys

import pytest
from brokers import EmbeddedBroker, shared_kafka

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
                pytest.skip(f"QUIX STREAMS CANNOT BE INSTALLED: {done.stderr.strip().splitlines()[-1]}")
            complete.touch()
    return python


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_address(request, tmp_path_factory):
    if request.param == "kafka":
        yield shared_kafka()
        return
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.address
