"""The logger `millstream` (parity rows E-20 to E-23).

Every message of the package comes through it or through a child such as `millstream.kafka` and `millstream.state`,
the native part's included.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal

from millstream._millstream import set_log_level

__all__ = ("LOGGER_NAME", "LogLevel", "configure_logging")

LogLevel = Literal["CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG", "NOTSET"]

LOGGER_NAME = "millstream"
_STATE_LOGGER_NAME = f"{LOGGER_NAME}.state"
# The second is what Quix Streams reads.
_STATE_LEVEL_VARIABLES = ("MILLSTREAM_STATE_LOG_LEVEL", "QUIXSTREAMS_STATE_LOG_LEVEL")
_STATE_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

logger = logging.getLogger(LOGGER_NAME)
_handler = logging.StreamHandler(sys.stderr)
_state_handler: logging.Handler | None = None


def configure_logging(loglevel: int | LogLevel | None, name: str = LOGGER_NAME, pid: bool = False) -> bool:
    """Gives the logger `millstream` one handler to stderr, unless it has handlers already (E-20).

    Args:
        loglevel: level, as number or name; `None` leaves logging untouched.
        name: what stands in each line for the program.
        pid: put the process id into each line.

    Returns:
        Whether something was set.
    """
    changed = _configure(loglevel, name, pid)
    _configure_state()
    # Native events below this level are not even made. A run asks again.
    set_log_level(min(logger.getEffectiveLevel(), logging.getLogger(_STATE_LOGGER_NAME).getEffectiveLevel()))
    return changed


def _configure(loglevel: int | LogLevel | None, name: str, pid: bool) -> bool:
    if loglevel is None:
        return False
    if logger.handlers and logger.handlers != [_handler]:
        return False
    who = f"[{name}] [{os.getpid()}]" if pid else f"[{name}]"
    _handler.setFormatter(logging.Formatter(f"[%(asctime)s] [%(levelname)s] {who} : %(message)s"))
    if not logger.handlers:
        # A second application in the process changes the format, not the level.
        _handler.setStream(sys.stderr)
        _handler.setLevel(loglevel)
        logger.setLevel(loglevel)
        logger.propagate = False
        logger.addHandler(_handler)
    return True


def _configure_state() -> None:
    """A level and a handler of its own for `millstream.state`, if the environment asks for them (E-21)."""
    global _state_handler
    variable = next((variable for variable in _STATE_LEVEL_VARIABLES if os.environ.get(variable)), None)
    if variable is None:
        return
    level = os.environ[variable].strip().upper()
    if level not in _STATE_LEVELS:
        logger.warning("%s=%r is no log level; use one of %s", variable, os.environ[variable], ", ".join(_STATE_LEVELS))
        return
    state_logger = logging.getLogger(_STATE_LOGGER_NAME)
    state_logger.setLevel(level)
    if _state_handler is None:
        _state_handler = logging.StreamHandler(sys.stderr)
        _state_handler.setFormatter(_handler.formatter)
        state_logger.addHandler(_state_handler)
    _state_handler.setLevel(level)
