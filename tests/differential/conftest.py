"""A broker and an environment with Quix Streams.

Quix Streams wants other versions of packages than the tests do, so it lives in an environment of its own, in the cache
that `make` uses; `bench/quix.py` makes it.
"""

import pathlib
import sys

import pytest
from brokers import EmbeddedBroker, shared_kafka
from installation import judge

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import quix  # noqa: E402


@pytest.fixture(scope="session")
def quix_python():
    """The interpreter of an environment with Quix Streams."""
    try:
        return quix.interpreter()
    except quix.NotInstalled as error:
        judge(quix.QUIX, error.said)


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_address(request, tmp_path_factory):
    if request.param == "kafka":
        yield shared_kafka()
        return
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.address
