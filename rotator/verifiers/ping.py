"""Verifies a token by `GET /ping`, after showing once that ping can tell tokens apart."""

from __future__ import annotations

import threading

from rotator.errors import RotatorError
from rotator.provider.base import PingAnswer, Provider, invented_token
from rotator.secret import Secret
from rotator.verifiers.base import Attempt, Verdict


class PingVerifier:
    """Asks the provider whether the token lives.

    The vendor's sources disagree on whether ping looks at its token at all (the contract of September
    2026 lists no authentication for it), so an invented token must be refused (401) before a 200 counts.
    That is asked once per verifier; only a good outcome is remembered.
    """

    type = "ping"

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._lock = threading.Lock()
        self._control_held = False

    def verify(self, token: Secret, *, key: str) -> Attempt:  # noqa: ARG002 - the port's signature
        """As the port says; `key` is of no use to a read."""
        try:
            answer = self._provider.ping(token)
            if answer is PingAnswer.DEAD:
                return Attempt(Verdict.NOT_YET, "ping refused the token (401)")
            if answer is PingAnswer.FORBIDDEN:
                return Attempt(
                    Verdict.FAILED,
                    "ping is forbidden to this token from here (403): look for an IP restriction of it",
                )
            return self._control() or Attempt(Verdict.PASSED, "ping accepted the token (200)")
        except RotatorError as error:
            return Attempt(Verdict.UNKNOWN, error.happened)

    def _control(self) -> Attempt | None:
        """None when ping refuses an invented token; else what a 200 is worth then."""
        with self._lock:
            if self._control_held:
                return None
            answer = self._provider.ping(invented_token())
            if answer is PingAnswer.DEAD:
                self._control_held = True
                return None
            if answer is PingAnswer.ALIVE:
                return Attempt(Verdict.FAILED, "ping accepts an invented token, so it proves nothing")
            return Attempt(
                Verdict.UNKNOWN,
                "ping answered 403 to an invented token where 401 was due, so it proves nothing yet",
            )
