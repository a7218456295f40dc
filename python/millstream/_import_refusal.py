"""What a module says whose contents have not been built yet.

Quix Streams programs import sinks, sources and joins by path. A plain "No module named ..." would leave open whether
the path is wrong or the thing is missing, so those modules exist and refuse with the reason.
"""


def refusal(module: str, what: str, instead: str) -> ImportError:
    """The error for an import of `module`.

    >>> print(refusal("millstream.sinks", "Sinks", "write a topic with `sdf.to_topic(...)`"))
    millstream.sinks: Sinks are not supported yet; write a topic with `sdf.to_topic(...)`
    """
    return ImportError(f"{module}: {what} are not supported yet; {instead}", name=module)
