"""How long a leaked token was good for anything: from the report to the proof of its death, as bounds.

On our clock only. It ended no earlier than the call that killed it was sent, and no later than its 401 came.
"""

from __future__ import annotations

from rotator.clock import Instant
from rotator.engine.context import Context
from rotator.errors import Unreachable
from rotator.model import Bounds, Form, Rotation
from rotator.provider.base import PingAnswer
from rotator.secret import Secret


def present(context: Context, token: Secret) -> tuple[PingAnswer | None, int]:
    """Presents a token until it is refused: the last answer, None where nobody could be asked, and the count."""
    answer: PingAnswer | None = None
    attempts = 0
    for attempts in context.attempts(context.timings.propagation):  # noqa: B007  # read after the loop
        context.say("presenting the old token")
        try:
            answer = context.provider.ping(token)
        except Unreachable as error:
            answer = None
            context.say(f"could not present it: {error.happened}")
            continue
        if answer is PingAnswer.DEAD:
            break
    return answer, attempts


def measure(context: Context, alive_until: Instant | None) -> None:
    """The leaked token was refused just now. `alive_until`: when the first call that may have killed it was
    sent; None where it was dead before anything was done."""
    emergency = context.rotation.emergency
    if emergency is None or emergency.passing or context.rotation.exposure is not None:
        return
    least = emergency.reported.seconds_until(alive_until) if alive_until is not None else 0.0
    most = emergency.reported.seconds_until(context.instant())
    context.change(exposure=Bounds(min=max(0.0, least), max=max(0.0, least, most)))


def killed_from(rotation: Rotation) -> Instant | None:
    """Before this moment no call of this rotation can have killed its old token."""
    if rotation.death is not None:
        return rotation.death.after
    if rotation.form is Form.BRIDGE and rotation.intent is not None:
        # Of several calls any may have been executed; consumers went over the bridge before the first.
        return rotation.intent.sent if rotation.mints == 1 else rotation.promoted
    return None
