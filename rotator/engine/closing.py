"""Close: what a rotation has achieved and what it has not, in its record; for people, what is left to do."""

from __future__ import annotations

from rotator.engine.consumers import BEHIND
from rotator.engine.context import Context, StepResult
from rotator.engine.exposure import measure
from rotator.engine.promote import kill_it_first, outgoing_token
from rotator.engine.recovery import answers
from rotator.engine.states import AWAIT, CLOSE, MINT_PUBLISH, PROMOTE, PROVE_DEAD, VERIFY, overlaps
from rotator.engine.summary import summary
from rotator.errors import RotatorError
from rotator.model import Bounds, DestinationState, Form, Rotation, Slot, State, StepOutcome
from rotator.provider.base import PingAnswer


def close(context: Context) -> StepResult:
    """States what was achieved and what was not. What is left to do names the step to take up again."""
    _remember_project(context)
    if _bridge_has_leaked(context.rotation):
        _tell_of_bridge(context)
    if context.rotation.abandoned:
        return _close_abandoned(context)
    left = _left_to_do(context)
    if overlaps(context.rotation) and context.rotation.outage is None and context.rotation.outgoing:
        # No reader was without a living token: every destination served the new one before the old one died.
        context.change(outage=Bounds(0.0, 0.0) if context.rotation.old_token_dead is not None else None)
    state = State.NEEDS_ATTENTION if context.ledger.raised else State.COMPLETED
    context.change(
        state=state,
        step=left,
        finished_at=context.clock.now(),
        exit_code=4 if context.ledger.raised else 0,
        message=" ".join([*context.notes, *([] if context.ledger.raised else [summary(context.rotation)])]),
    )
    if state is State.COMPLETED:
        context.ledger.settle(context.rotation)
    context.audit("rotation.close", state=state, outage=_plain_outage(context))
    context.save()
    return StepResult(StepOutcome.DONE)


def _close_abandoned(context: Context) -> StepResult:
    """Nothing is left behind, and readers have what they had; or a person is told what could not be undone."""
    rotation = context.rotation
    _tell_of_dead_readers(context)
    _tell_of_living_leak(context)
    raised = bool(context.ledger.raised)
    state = State.NEEDS_ATTENTION if raised else State.FAILED
    kept = [] if raised else ["Consumers keep the token they had."]
    context.change(
        state=state,
        step=CLOSE.name if raised and _bridge_has_leaked(rotation) else "",
        finished_at=context.clock.now(),
        # Of a leaked token this is what was asked for.
        exit_code=4 if raised else 0 if rotation.emergency is not None else 1,
        message=" ".join([rotation.abandoned, *kept, *(_sentence(note) for note in context.notes)]),
    )
    if not raised:
        context.ledger.settle(context.rotation)
    context.audit("rotation.close", state=state, abandoned=context.rotation.abandoned)
    context.save()
    return StepResult(StepOutcome.DONE)


def _tell_of_dead_readers(context: Context) -> None:
    """What was to repair a dead token has failed: then it is no comfort that readers keep what they had."""
    try:
        token = context.authoritative.read().value_if_token
        if token is None or answers(context, token):
            return
    except RotatorError:
        return  # whoever looks next finds it
    context.attend(
        "token-dead",
        "Readers hold a dead token, and the rotation that would have given them another one has failed",
        f"`{context.policy.renewal}` tries again",
    )


def _tell_of_living_leak(context: Context) -> None:
    """What was to replace a leaked token was given up: then it is no comfort that readers keep what they had."""
    rotation, emergency = context.rotation, context.rotation.emergency
    if emergency is None or emergency.passing:
        return
    if emergency.own:
        if rotation.form is Form.ASSISTED:
            context.attend(
                "old-token-alive",
                "The token that was handed in has leaked, and only a person can revoke it",
                "Revoke it in the Lettermint dashboard",
            )
        return
    if emergency.slot not in (Slot.ACTIVE, Slot.OUTGOING) or rotation.old_fingerprint is None:
        return
    known = context.ledger.known(rotation.old_fingerprint)
    if rotation.old_token_dead or (known is not None and known.dead_since is not None):
        return
    fate = "may live"
    try:
        token = outgoing_token(context)
        if token is not None:
            if not answers(context, token):
                return
            fate = "lives"
    except RotatorError:
        pass  # nobody knows that it is dead
    context.attend(
        "old-token-alive",
        f"The leaked token {fate}, because what was to replace it was given up",
        kill_it_first(context.policy),
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _bridge_has_leaked(rotation: Rotation) -> bool:
    return rotation.emergency is not None and rotation.emergency.slot is Slot.BRIDGE


def _tell_of_bridge(context: Context) -> None:
    """Only a person can revoke it: asked for until the bridge's secret holds another one, or it is dead."""
    assert context.bridge is not None
    rotation = context.rotation
    then = (
        f"In the Lettermint dashboard revoke it (project {rotation.project}), make another one and put it into "
        f"{context.bridge.describe()}; the next `rotator run` looks again"
    )
    try:
        token = context.bridge.read().value_if_token
        shown = context.fingerprints.of(token) if token is not None else None
        if rotation.bridge_fingerprint is None:
            context.change(bridge_fingerprint=shown)
        if shown != context.rotation.bridge_fingerprint or token is None:
            context.notes.append(
                "The bridge's secret holds another token than the leaked one, which cannot be presented any more: "
                "make sure that it is revoked in the Lettermint dashboard."
            )
            context.ledger.settle(rotation, ("old-token-alive",))
            return
        alive = context.provider.ping(token) is not PingAnswer.DEAD
    except RotatorError as error:
        context.attend("old-token-alive", f"The leaked bridge token may live: {error.happened}", then)
        return
    if alive:
        context.attend(
            "old-token-alive",
            f"The bridge token ({shown}) has leaked and lives, and only a person can revoke it",
            then,
        )
        return
    measure(context, None)
    context.notes.append("The leaked bridge token is dead; a new one must be made before the next rotation.")
    context.ledger.settle(context.rotation, ("old-token-alive",))


def _remember_project(context: Context) -> None:
    """Lets `status` and `plan` know the new token's age without asking the provider again."""
    try:
        for project in context.policy.projects:
            facts = context.told.pop(project, None) or context.provider.project(project)
            context.ledger.remember_project(facts)
    except RotatorError as error:
        context.say(f"the project's metadata could not be read: {error.happened}")


def _left_to_do(context: Context) -> str:
    raised = context.ledger.raised
    if any(record.state is DestinationState.BEHIND for record in context.rotation.destinations):
        if overlaps(context.rotation):
            return PROMOTE.name  # what follows it finds itself done
        return MINT_PUBLISH.name  # a published token is not minted again: only the followers are tried
    if _bridge_has_leaked(context.rotation):
        return (AWAIT.name if BEHIND in raised else CLOSE.name) if raised else ""
    if "verification-failed" in raised:
        return VERIFY.name
    if "unclear" in raised or ("old-token-alive" in raised and context.old is not None):
        return PROVE_DEAD.name
    if "old-token-alive" in raised:
        return ""  # nothing is left that could present it
    if "token-dead" in raised:
        return ""  # somebody else killed what was published: only another rotation helps
    return CLOSE.name if raised else ""


def _plain_outage(context: Context) -> dict[str, float] | None:
    outage = context.rotation.outage
    return {"min": outage.min, "max": outage.max} if outage else None
