"""Where the tests of the Python package run.

A test that takes `platform` runs on the test driver (no broker), on the embedded broker, and on a real Apache Kafka
if MILLSTREAM_TEST_KAFKA names one. `broker` is for tests that need a broker: embedded and real.
"""

import os

import pytest
from brokers import EmbeddedBroker, shared_kafka

from platforms import BrokerPlatform, DriverPlatform

REAL = pytest.param("kafka", marks=pytest.mark.kafka)


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory):
    """The address of an embedded broker for the whole session."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.address


def address_of(kind, request):
    return request.getfixturevalue("embedded_broker") if kind == "embedded" else shared_kafka()


@pytest.fixture(params=["driver", "embedded", REAL])
def platform(request, tmp_path):
    """Runs a pipeline: see `platforms`."""
    if request.param == "driver":
        return DriverPlatform()
    return BrokerPlatform(tmp_path, address_of(request.param, request))


@pytest.fixture(params=["embedded", REAL])
def broker(request, tmp_path):
    """A platform with a broker."""
    return BrokerPlatform(tmp_path, address_of(request.param, request))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    """Variables of the developer's shell must not reach the applications under test."""
    for name in list(os.environ):
        if name.startswith(("Quix__", "QUIXSTREAMS_", "KUBERNETES_")) or name == "MILLSTREAM_DATA_DIR":
            monkeypatch.delenv(name)


@pytest.fixture
def app():
    """An application without a broker."""
    from millstream.testing import MemoryApplication

    return MemoryApplication(consumer_group="g")


@pytest.fixture
def sdf(app):
    """A dataframe over a topic of one partition, for `sdf.test()`."""
    return app.dataframe(app.topic("in"))
