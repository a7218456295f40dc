"""Environment variables that an application reads (parity rows C-30 to C-33), read when it is made."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Environment",)


@dataclass(frozen=True)
class Environment:
    """What the environment says; `None` for what it leaves open.

    Attributes:
        broker_address: `Quix__Broker__Address`.
        sdk_token: `Quix__Sdk__Token`.
        consumer_group: `Quix__Consumer_Group`.
        state_dir: see row A-08.
        data_dir: `MILLSTREAM_DATA_DIR`, where the embedded broker keeps its data.
        kubernetes: whether the program runs under Kubernetes.
    """

    broker_address: str | None
    sdk_token: str | None
    consumer_group: str | None
    state_dir: Path | None
    data_dir: Path | None
    kubernetes: bool

    @classmethod
    def read(cls) -> Environment:
        """Reads the variables; an empty one counts as not set."""
        data_dir = _text("MILLSTREAM_DATA_DIR")
        return cls(
            broker_address=_text("Quix__Broker__Address"),
            sdk_token=_text("Quix__Sdk__Token"),
            consumer_group=_text("Quix__Consumer_Group"),
            state_dir=_state_dir(),
            data_dir=Path(data_dir) if data_dir else None,
            kubernetes=_text("KUBERNETES_SERVICE_HOST") is not None,
        )


def _text(name: str) -> str | None:
    return os.environ.get(name) or None


def _state_dir() -> Path | None:
    if path := _text("Quix__Deployment__State__Path"):
        return Path(path)
    if path := _text("Quix__State__Dir"):
        warnings.warn(
            "the environment variable Quix__State__Dir is deprecated; use Quix__Deployment__State__Path",
            DeprecationWarning,
            stacklevel=5,
        )
        return Path(path)
    return Path("/app/state") if _text("Quix__Deployment__Id") else None
