"""Calls a URL of the consumer's own, which has it read its token again."""

from __future__ import annotations

from typing import Final

from rotator.consumers.base import Call, Standing
from rotator.errors import UnclearOutcome, Unreachable
from rotator.posting import EventPoster

TYPE: Final = "rotator.token.changed.v1"
"""Of the CloudEvent: readers of the policy's destinations get another token from now on."""


class WebhookConsumer:
    """Implements `consumers.base.Consumer`. The receiver knows a call that comes twice by its id."""

    def __init__(self, poster: EventPoster) -> None:
        self._poster = poster

    def preflight(self) -> None:
        self._poster.check()

    def mark(self) -> str:
        return ""

    def tell(self, call: Call) -> None:
        try:
            self._poster.post(
                TYPE,
                id=call.id,
                subject=call.policy,
                at=call.at,
                data={
                    "policy": call.policy,
                    "owner": call.owner,
                    "rotation": call.rotation,
                    "fingerprint": call.fingerprint,
                },
            )
        except UnclearOutcome as unclear:
            problem = Unreachable(
                unclear.happened,
                then="It may have been taken, and is told again under the same id",
                remedy="Look at the receiver's log",
            )
        else:
            return
        raise problem

    def standing(self, call: Call, mark: str) -> Standing:  # noqa: ARG002  # the port's
        # A receiver answers when it has done what it does; what it does, nobody here can look at.
        return Standing(done=True, detail="it took the call")

    def describe(self) -> str:
        return f"webhook at {self._poster.host}"
