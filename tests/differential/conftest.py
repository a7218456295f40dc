"""A broker and an environment with Quix Streams.

Quix Streams wants other versions of packages than the tests do, so it lives in an environment of its own, in the cache
that `make` uses; `bench/quix.py` makes it.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import quix  # noqa: E402


@pytest.fixture(scope="session")
def quix_python():
    """The interpreter of an environment with Quix Streams."""
    try:
        return quix.interpreter()
    except quix.NotInstalled as error:
        pytest.skip(f"QUIX STREAMS CANNOT BE INSTALLED: {error}")


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
