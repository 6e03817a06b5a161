"""A canary: test sends through the consumers' path, before, while and after a rotation runs.

The path is the consumers' own: the token is read where they read it, in the authoritative destination,
kept for a short while (`CACHE`) as they keep it, and used for a send to the test recipient.

What counts as a failure: an attempt that did not end with an accepted message, although it used what the
destination served at most `CACHE` seconds before. A refused token (401) counts, is not tried again with
another one, and makes the next attempt read anew. A destination that could not be read, a refusal of
another kind and a time-out count as well: a consumer's mail would not have left either.

Invariant: nothing that happens to a canary reaches the rotation beside it.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import uuid
from typing import Final, Protocol

from rotator.clock import Clock
from rotator.destinations.base import Reading
from rotator.errors import InvalidInput, RotatorError
from rotator.interrupt import leave_signals_to_main
from rotator.model import CanaryCount, Policy
from rotator.provider.base import SendAnswer, SendReceipt, TestMessage
from rotator.secret import Secret
from rotator.verifiers.send import DEFAULT_RECIPIENT

log = logging.getLogger(__name__)

CACHE: Final = 1.0
"""Seconds for which a token that was read is used: far less than any `drain.min`, and it spares the store
a read for each send."""
SLOWEST: Final = 0.1
FASTEST: Final = 50.0
"""Sends per second. No rate limit of the Sending API is documented; more than this would tell no more."""
_RATE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)/s")
_SHOWN: Final = 20
_ROUNDING: Final = 1e-6
"""Of an interval: a send that is due now is not held up."""


class Reads(Protocol):
    """The part of a destination that consumers use."""

    def read(self) -> Reading: ...


class Sends(Protocol):
    """The part of the provider that consumers use."""

    def send(self, token: Secret, message: TestMessage, idempotency_key: str) -> SendReceipt: ...


def parse_rate(text: str) -> float:
    """Sends per second, from `10/s` or `0.5/s`. Raises InvalidInput."""
    match = _RATE.fullmatch(text)
    rate = float(match[1]) if match else 0.0
    if not SLOWEST <= rate <= FASTEST:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise InvalidInput(
            f"A canary's rate is {shown!r}; accepted: {SLOWEST:g}/s to {FASTEST:g}/s, such as 10/s or 0.5/s",
            then="Nothing was done",
            remedy="Write it as sends per second",
        )
    return rate


def message_of(policy: Policy) -> TestMessage | None:
    """What the policy's canary sends, addressed as its `send` verification is; None where it has none."""
    spec = next((one for one in policy.verify if one.type == "send" and one.sender), None)
    if spec is None or spec.sender is None:
        return None
    return TestMessage(
        sender=spec.sender,
        to=spec.to or DEFAULT_RECIPIENT,
        subject="Token rotation canary",
        text="Sent while an API token is rotated, to show that mail keeps leaving. Nothing needs to be done.",
    )


class Canary:
    """Sends `rate` times a second from `start` to `land`, in a thread of its own."""

    def __init__(
        self, sends: Sends, reads: Reads, message: TestMessage, *, rate: float, clock: Clock, name: str
    ) -> None:
        self._sends = sends
        self._reads = reads
        self._message = message
        self._interval = 1 / rate
        self._clock = clock
        self._name = name
        """Of the policy, for the log."""
        self._landing = threading.Event()
        self._thread = threading.Thread(target=self._fly, name=f"canary-{name}", daemon=True)
        self._flight = uuid.uuid4().hex
        self._token: Secret | None = None
        self._read_at = 0.0
        self._attempts = 0
        self._failures = 0
        self._failing = ""
        self._longest = 0.0

    def start(self) -> None:
        """Once."""
        self._thread.start()

    def land(self) -> CanaryCount:
        """Ends it, after the attempt that is under way, and tells what it saw. May be repeated."""
        self._landing.set()
        self._thread.join()
        return CanaryCount(self._attempts, self._failures, round(self._longest, 3))

    def _fly(self) -> None:
        leave_signals_to_main()
        due = accepted_at = self._clock.boot()
        while not self._landing.is_set():
            self._attempts += 1
            failure = self._attempt()
            now = self._clock.boot()
            # A failure that has no end yet is a gap too, and so is one that was there from the beginning.
            self._longest = max(self._longest, now - accepted_at)
            if failure:
                self._failures += 1
                if failure != self._failing:
                    log.warning("canary of %s: attempt %d failed: %s", self._name, self._attempts, failure)
            else:
                accepted_at = now
            self._failing = failure
            # By the calendar, not by the pause: a slow answer costs the sends it held up and no later ones.
            held_up = max(0, math.floor((now - due) / self._interval + _ROUNDING))
            due += (1 + held_up) * self._interval
            self._clock.wait(due - now, self._landing)
        self._longest = max(self._longest, self._clock.boot() - accepted_at)

    def _attempt(self) -> str:
        """Why no message was accepted; empty when one was."""
        try:
            token = self._current()
            if token is None:
                return "the destination holds no token"
            key = f"rotator-canary-{self._flight}-{self._attempts}"
            answer = self._sends.send(token, self._message, key).answer
        except RotatorError as error:
            return error.happened
        except Exception as error:
            log.exception("unexpected error in the canary of %s", self._name)
            return type(error).__name__
        if answer is SendAnswer.DEAD:
            self._token = None
            return "the token was refused (401)"
        return "" if answer is SendAnswer.ACCEPTED else "the token may not send from here (403)"

    def _current(self) -> Secret | None:
        now = self._clock.boot()
        if self._token is None or now - self._read_at >= CACHE:
            # The time before the answer, so that nothing older than CACHE is ever used.
            self._token, self._read_at = None, now
            self._token = self._reads.read().value_if_token
        return self._token
