"""What a rotation that was given up has made: consumers leave it, then it is removed and dies.

Invariant: no call of ours uses the token between the first look of its drain and its death.
"""

from __future__ import annotations

from typing import Final

from rotator.destinations.base import Destination
from rotator.engine.context import Context, StepResult
from rotator.engine.drain import begun_since, judge, look_at, used_again
from rotator.engine.exposure import killed_from, measure, present
from rotator.engine.preflight import await_room
from rotator.engine.recovery import answers
from rotator.engine.retire import kill
from rotator.engine.sides import served_of
from rotator.engine.states import DRAIN_INCOMING
from rotator.errors import RotatorError
from rotator.model import Form, Order, StepOutcome
from rotator.provider.base import PingAnswer
from rotator.secret import Secret

_KILLED: Final = "the token minted for it was killed by a further mint"


def drain_incoming(context: Context) -> StepResult:
    """One look. DONE when the token that was given up may be killed; else the rotation rests here.

    Readers get the outgoing one again, and those that have kept the other one are to notice nothing either. It is not
    waited for where nobody can have it, where it is dead, and where readers get a dead or a leaked token: then all
    that helps is another rotation, which has to kill it. If it has leaked itself, no longer than was said.
    """
    rotation = context.rotation
    if rotation.returned is None:
        return StepResult(StepOutcome.SKIPPED, "no reader has seen the new token")
    urgent = rotation.emergency
    if urgent is not None and (urgent.order is Order.KILL_FIRST or not urgent.own):
        return StepResult(StepOutcome.SKIPPED, "a leaked token waits for nobody")
    if rotation.retiring is not None:
        return StepResult(StepOutcome.SKIPPED, "the new token is being killed already")
    assert rotation.incoming is not None
    current = context.authoritative.read().value_if_token
    given_up = current is not None and context.fingerprints.of(current) == rotation.new_fingerprint
    if current is not None and not given_up and not answers(context, current):
        return StepResult(StepOutcome.SKIPPED, "readers get a dead token: that comes first")
    if begun_since(context, rotation.returned) is None:
        token = _made(context)
        if token is not None and not answers(context, token):
            return StepResult(StepOutcome.SKIPPED, "the new token is dead already")
    return judge(context, look_at(context, rotation.returned, rotation.incoming))


def discard(context: Context) -> StepResult:
    """Removes what was staged, and kills the token in it so that nothing live is left behind."""
    rotation = context.rotation
    own = rotation.emergency is not None and rotation.emergency.own
    if own and rotation.form is Form.STANDBY and rotation.intent is not None:
        return _kill_leaked(context)
    for destination in context.destinations.values():
        destination.discard()
    if rotation.form is Form.ASSISTED:
        lives = "The token that was handed in still lives"
        if own:
            context.attend(
                "old-token-alive", f"{lives}, and it has leaked", "Revoke it in the Lettermint dashboard"
            )
        else:
            context.notes.append(f"{lives}: hand it in again, or revoke it in the Lettermint dashboard.")
        return StepResult(StepOutcome.DONE, "the token that was handed in is a person's to revoke")
    if rotation.form is not Form.STANDBY or rotation.intent is None:
        return StepResult(StepOutcome.DONE)
    assert rotation.incoming is not None
    if rotation.emergency is None and rotation.retiring is None:
        await_room(context)  # so that what is looked at now is still so at the call
        if served := served_of(context, rotation.incoming):
            context.attend(
                "out-of-band",
                f"{served}; so the token that was minted there for this rotation was not killed",
                f"Find out who put it there. `{context.policy.renewal}` begins anew from what is served",
            )
            return StepResult(StepOutcome.FAILED, served)
        drained = rotation.returned is not None and begun_since(context, rotation.returned) is not None
        if drained and (used := used_again(context, rotation.incoming)):
            return StepResult(StepOutcome.UNCLEAR, used, go_to=DRAIN_INCOMING.name)
    kill(context, rotation.incoming)
    return StepResult(StepOutcome.DONE, _KILLED)


def _kill_leaked(context: Context) -> StepResult:
    """A leaked token is presented once it was killed: until then what is staged is kept, for another process too."""
    assert context.rotation.incoming is not None
    leaked = _made(context)
    kill(context, context.rotation.incoming)
    if context.rotation.exposure is None:
        _prove(context, leaked)
    for destination in context.destinations.values():
        destination.discard()
    return StepResult(StepOutcome.DONE, _KILLED)


def _made(context: Context) -> Secret | None:
    """The token that was minted for the rotation, wherever a destination that can be read still has it."""
    wanted = context.rotation.new_fingerprint
    if wanted is None or context.new is not None:
        return context.new
    for destination in context.destinations.values():
        try:
            found = _kept_in(context, destination, wanted)
        except RotatorError as error:
            context.say(f"{destination.describe()} could not be searched: {error.happened}")
            continue
        if found is not None:
            return found
    return None


def _kept_in(context: Context, destination: Destination, wanted: str) -> Secret | None:
    staged = destination.read_staged()
    for value in (staged.value if staged else None, destination.read().value_if_token):
        if value is not None and context.fingerprints.of(value) == wanted:
            return value
    return destination.recall(lambda one: context.fingerprints.of(one) == wanted)


def _prove(context: Context, leaked: Secret | None) -> None:
    """The token that was given up has leaked: its death is proved, and the exposure measured."""
    answer, attempts = present(context, leaked) if leaked is not None else (None, 0)
    context.audit(
        "token.prove-dead",
        fingerprint=context.rotation.new_fingerprint,
        answer=answer.value if answer else None,
        attempts=attempts,
    )
    if answer is PingAnswer.DEAD:
        measure(context, killed_from(context.rotation))
        context.save()
    elif answer is PingAnswer.ALIVE:
        context.attend(
            "old-token-alive",
            "The leaked token still works although its project was rotated",
            "Revoke it in the Lettermint dashboard",
        )
    else:
        why = "no destination keeps it" if leaked is None else "the provider's answer tells neither"
        context.attend(
            "unclear",
            f"The leaked token's project was rotated, but its death is not proved: {why}",
            "Make sure in the Lettermint dashboard that it is revoked",
        )
