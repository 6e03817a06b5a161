"""Verifies a token by sending a message with it to a test address, and shows whose token it is."""

from __future__ import annotations

from typing import Final

from rotator.clock import Clock
from rotator.errors import InvalidInput, RotatorError
from rotator.model import VerifySpec
from rotator.provider.base import Provider, SendAnswer, SendConflict, SendReceipt, SendRejected, TestMessage
from rotator.secret import Secret
from rotator.verifiers.base import Attempt, Verdict

DEFAULT_RECIPIENT: Final = "ok@testing.lettermint.co"
"""Delivered and forgotten, in live projects too; neither billed nor counted (vendor docs)."""
IDENTITY_TRIES: Final = 3
IDENTITY_PAUSE: Final = 1.0
"""Seconds between looks for the message: it may be readable a moment after it was accepted."""


class SendVerifier:
    """Sends one message as a consumer would. A 202 means accepted, which is what a token decides;
    delivery is not waited for."""

    type = "send"

    def __init__(self, provider: Provider, spec: VerifySpec, clock: Clock) -> None:
        if not spec.sender:
            raise InvalidInput("A `send` verification has no `from` address", remedy="Add `from:` to it.")
        self._provider = provider
        self._clock = clock
        # From the policy alone: a repetition under the same key must be the very same message.
        self._message = TestMessage(
            sender=spec.sender,
            to=spec.to or DEFAULT_RECIPIENT,
            subject="Token rotation check",
            text="This message checks that a rotated API token can send. Nothing needs to be done.",
        )

    def verify(self, token: Secret, *, key: str) -> Attempt:
        """As the port says; `key` is the idempotency key."""
        try:
            receipt = self._provider.send(token, self._message, key)
        except SendConflict as error:
            return Attempt(Verdict.UNKNOWN, error.happened)
        except SendRejected as error:
            return Attempt(Verdict.FAILED, error.happened)
        except RotatorError as error:
            return Attempt(Verdict.UNKNOWN, error.happened)
        if receipt.answer is SendAnswer.DEAD:
            return Attempt(Verdict.NOT_YET, "the test send was refused (401)")
        if receipt.answer is SendAnswer.FORBIDDEN:
            return Attempt(
                Verdict.FAILED,
                "the test send is forbidden to this token (403): look for an IP restriction of it, and "
                "whether it may use this project",
            )
        accepted = "the test send was accepted (202)"
        try:
            return Attempt(Verdict.PASSED, accepted, self._project_of(receipt))
        except RotatorError as error:
            # An extra proof, so no failure of it counts.
            return Attempt(Verdict.PASSED, accepted, unasked=error.happened if error.retryable else "")

    def _project_of(self, receipt: SendReceipt) -> str | None:
        """The project that sent it, if that can be had. Raises as `Provider.project_of_message`."""
        if receipt.message_id is None:
            return None
        for attempt in range(IDENTITY_TRIES):
            if attempt:
                self._clock.wait(IDENTITY_PAUSE)
            project = self._provider.project_of_message(receipt.message_id)
            if project is not None:
                return project
        return None
