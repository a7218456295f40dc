"""What `tools/kafka` makes up by itself."""

import sys
import types

from brokers import ROOT

sys.path.insert(0, str(ROOT / "tools"))

from apache_kafka import cluster  # noqa: E402


def test_no_cluster_id_looks_like_an_option(monkeypatch):
    """One start in 64 failed: Kafka's storage tool takes an id that begins with a dash for an option."""
    ids = iter([b"\xfb" + bytes(15), b"\xf8" + bytes(15), bytes(16)])
    monkeypatch.setattr(cluster.uuid, "uuid4", lambda: types.SimpleNamespace(bytes=next(ids)))
    assert cluster.new_cluster_id() == "A" * 22
