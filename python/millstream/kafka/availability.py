"""How long a client has been without any broker (parity row E-12, for clients that users make themselves)."""

import time
from collections.abc import Mapping

from millstream._millstream import KafkaAdmin

from .exceptions import KafkaBrokerUnavailableError, KafkaException

# A probe blocks for a moment, so it is made only so often while all is well.
_PROBE_EVERY_S = 30.0
_PROBE_TIMEOUT_S = 5.0


class Availability:
    """Asks the cluster for its metadata now and then and remembers since when it has not answered."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)
        self._unavailable_since: float | None = None
        self._last_answer: float | None = None

    def check(self, timeout: float) -> None:
        """Raises `KafkaBrokerUnavailableError` once no broker has answered for `timeout` seconds."""
        now = time.monotonic()
        if self._last_answer is not None and now - self._last_answer < _PROBE_EVERY_S:
            return
        admin = KafkaAdmin(self._settings)
        try:
            admin.list_topics(timeout=min(_PROBE_TIMEOUT_S, timeout) if timeout > 0 else _PROBE_TIMEOUT_S)
        except (KafkaBrokerUnavailableError, KafkaException):
            self._failed(timeout)
        else:
            self._last_answer, self._unavailable_since = time.monotonic(), None
        finally:
            admin.close()

    def _failed(self, timeout: float) -> None:
        now = time.monotonic()
        if self._unavailable_since is None:
            self._unavailable_since = now
        elapsed = now - self._unavailable_since
        if elapsed >= timeout:
            raise KafkaBrokerUnavailableError(
                f"no Kafka broker has been reachable for {elapsed:.0f} s (broker_availability_timeout={timeout:.0f});"
                " restart the program once the cluster is back, or raise broker_availability_timeout (0 turns it off)"
            )
