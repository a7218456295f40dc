"""Brokers for the crash tests: one of its own per test, embedded and real."""

import pytest
from brokers import own_broker


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def crash_broker(request, tmp_path):
    """The address of a fresh broker."""
    with own_broker(request.param, tmp_path) as broker:
        yield broker.address
