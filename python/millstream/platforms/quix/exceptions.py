"""Exceptions of Quix Cloud (parity row E-18). Nothing raises them yet: see `millstream.platforms.quix`."""

from millstream.exceptions import MillstreamException

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


class MissingConnectionRequirements(MillstreamException):
    """A token or an address is missing."""


class UndefinedQuixWorkspaceId(MillstreamException):
    """No workspace id could be found."""


class QuixApiRequestFailure(MillstreamException):
    """The portal's API answered with an error."""


class NoWorkspaceFound(MillstreamException):
    """The token sees no workspace."""


class MultipleWorkspaces(MillstreamException):
    """The token sees several workspaces and none was named."""


class MissingQuixTopics(MillstreamException):
    """Topics that should exist do not."""


class QuixCreateTopicTimeout(MillstreamException):
    """A topic did not become ready in time."""


class QuixCreateTopicFailure(MillstreamException):
    """A topic could not be created."""
