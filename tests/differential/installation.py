"""What a failed `pip install` means for tests that need the package."""

import re

import pytest

# What pip, and urllib3 inside of it, say where there is no network, or nothing at the registry's address.
UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|ProtocolError"
    r"|Failed to establish a new connection|Temporary failure in name resolution|Network is unreachable"
    r"|Connection refused|timed out"
)


def judge(requirement, stderr):
    """Ends the test after a failed installation: without a registry it is skipped, anything else is a failure."""
    if UNREACHABLE.search(stderr):
        pytest.skip(f"NO PACKAGE REGISTRY: {requirement} CANNOT BE INSTALLED HERE, NOTHING WAS COMPARED WITH IT")
    pytest.fail(f"{requirement} cannot be installed, and not for want of a network:\n{stderr.strip()}", pytrace=False)
