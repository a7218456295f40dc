"""The embedded broker of an application that names no other."""

from __future__ import annotations

import sys
from pathlib import Path

from millstream._millstream import ensure_broker
from millstream.kafka.configuration import ConnectionConfig

from ._environment import Environment

__all__ = ("DEFAULT_DATA_DIR", "embedded_broker", "refuse_on_kubernetes")

DEFAULT_DATA_DIR = Path(".millstream")
_announced: set[tuple[Path, str]] = set()


def refuse_on_kubernetes(environment: Environment) -> None:
    """Raises `ValueError` under Kubernetes: a forgotten setting must not run a private broker silently."""
    if environment.kubernetes:
        raise ValueError(
            'Neither "broker_address" nor "quix_sdk_token" is given, and under Kubernetes Millstream does not start a'
            " broker of its own unasked; pass broker_address='host:9092' or set Quix__Broker__Address, or pass"
            " broker_address='embedded' if a private broker is what you want"
        )


def embedded_broker(data_dir: Path) -> ConnectionConfig:
    """Finds or starts the broker of a data directory, and says once per process where it is.

    The broker is a process of its own, shared by all applications that use the directory; it ends by itself when
    nobody has been connected for a while.
    """
    data_dir = data_dir.absolute()
    address = ensure_broker(str(data_dir), [sys.executable, "-m", "millstream", "broker"])
    if (data_dir, address) not in _announced:
        _announced.add((data_dir, address))
        print(f"Millstream: embedded broker at {address}, data in {data_dir}", file=sys.stderr)
    return ConnectionConfig(bootstrap_servers=address)
