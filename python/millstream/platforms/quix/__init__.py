"""Quix Cloud (parity rows C-20 to C-24): only its exception classes, so that programs that catch them import.

Connecting to Quix Cloud is not supported yet; use the `broker_address` of `millstream.Application`.
"""

from .exceptions import (
    MissingConnectionRequirements,
    MissingQuixTopics,
    MultipleWorkspaces,
    NoWorkspaceFound,
    QuixApiRequestFailure,
    QuixCreateTopicFailure,
    QuixCreateTopicTimeout,
    UndefinedQuixWorkspaceId,
)

__all__ = (
    "MissingConnectionRequirements",
    "MissingQuixTopics",
    "MultipleWorkspaces",
    "NoWorkspaceFound",
    "QuixApiRequestFailure",
    "QuixCreateTopicFailure",
    "QuixCreateTopicTimeout",
    "UndefinedQuixWorkspaceId",
)


def __getattr__(name: str) -> object:
    if name in {"QuixKafkaConfigsBuilder", "QuixTopicManager", "QuixPortalApiService", "QuixApplicationConfig"}:
        from millstream._import_refusal import refusal

        raise refusal(
            f"{__name__}.{name}",
            "Connections to Quix Cloud",
            "give the address of its Kafka brokers: `Application(broker_address=ConnectionConfig(...))`",
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
