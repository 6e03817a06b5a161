"""Verification while old and new token live side by side: a failure is free, or is taken back."""

from __future__ import annotations

from dataclasses import replace

from rotator.engine.context import Context, StepResult
from rotator.engine.promote import serve_everywhere
from rotator.engine.states import REPLACE_STAGE, past_no_return
from rotator.engine.steps import served, verify_with_all
from rotator.errors import NeedsAttention, Refused
from rotator.model import Form, StepOutcome
from rotator.provider.base import PingAnswer
from rotator.secret import Secret


class GivenUp(Refused):
    """The new token does not do, and what was begun is undone."""

    code = "given-up"


def verify_staged(context: Context) -> StepResult:
    """Uses the token as it stands staged in the authoritative destination. Raises GivenUp."""
    staged = context.authoritative.read_staged()
    token = staged.value if staged is not None else None
    if token is None or context.fingerprints.of(token) != context.rotation.new_fingerprint:
        value = context.authoritative.read().value_if_token
        if value is not None and context.fingerprints.of(value) == context.rotation.new_fingerprint:
            return _judged(context, value, "promoted")
        raise GivenUp(
            f"{context.authoritative.describe()} does not hold the staged token any more",
            then="What was begun is undone",
            remedy=f"`{context.policy.renewal}` begins anew",
        )
    return _judged(context, token, "staged")


def verify_current(context: Context) -> StepResult:
    """Uses the promoted token where consumers read it. Raises GivenUp: the outgoing one is promoted again."""
    token = served(context, context.rotation.new_fingerprint)
    result = _judged(context, token, "promoted")
    if result.outcome is StepOutcome.DONE:
        context.ledger.settle(context.rotation, ("verification-failed",))
    return result


def _judged(context: Context, token: Secret, what: str) -> StepResult:
    failed = _failures(context, token)
    if not failed:
        return StepResult(StepOutcome.DONE)
    if context.rotation.form is Form.BRIDGE:
        return _again_from_the_bridge(context, failed)
    raise GivenUp(
        f"The {what} token does not pass verification: {failed}",
        then="What was begun is undone",
        remedy="Mend what the verifier complains about, then rotate again",
    )


def verify_bridge(context: Context) -> StepResult:
    """Uses the bridge token where consumers read it. Raises GivenUp: nothing was minted yet."""
    token = served(context, context.rotation.bridge_fingerprint)
    failed = _failures(context, token)
    if not failed:
        return StepResult(StepOutcome.DONE)
    if past_no_return(context.rotation):
        raise NeedsAttention(
            "verification-failed",
            f"The bridge token does not pass verification: {failed}",
            then="Readers hold it, because the project's former token is dead",
            remedy=f"`rotator verify {context.policy.name}` tries it; the next `rotator run` goes on from here",
        )
    raise GivenUp(
        f"The bridge token does not pass verification: {failed}",
        then="What was begun is undone; nothing was minted",
        remedy="Make a new bridge token in the Lettermint dashboard and put it into its secret",
    )


def _failures(context: Context, token: Secret) -> str:
    results = verify_with_all(context, token)
    context.save(verified=results)
    return "; ".join(f"{result.type}: {result.detail}" for result in results if not result.ok)


def _again_from_the_bridge(context: Context, failed: str) -> StepResult:
    """The project's former token is dead, the bridge lives: consumers go (back) to it, and the next look mints
    again, which kills nothing that anybody uses."""
    rotation = context.rotation
    assert context.bridge is not None
    assert rotation.intent is not None
    assert rotation.new_fingerprint is not None
    bridge = context.bridge.read().value_if_token
    if bridge is None or context.provider.ping(bridge) is PingAnswer.DEAD:
        context.attend(
            "verification-failed",
            f"The new token does not pass verification ({failed}), and the bridge token is dead or gone",
            f"Readers get the newest token there is. `rotator verify {context.policy.name}` tries it; the next "
            "`rotator run` verifies it again",
        )
        return StepResult(StepOutcome.FAILED, f"{failed}; the bridge is dead or gone, so it goes on")
    back = serve_everywhere(context, bridge)
    if back.rest:
        return back
    context.attend(
        "verification-failed",
        f"The new token does not pass verification: {failed}. Consumers are on the bridge token",
        "Mend what the verifier complains about; the next `rotator run` mints again",
    )
    # The token that failed may live: it must not be taken for the one that is minted next.
    known = (*rotation.intent.known_fingerprints, rotation.new_fingerprint)
    context.save(
        minted=False, step=REPLACE_STAGE.name, intent=replace(rotation.intent, known_fingerprints=known)
    )
    return StepResult(StepOutcome.FAILED, failed, go_to=REPLACE_STAGE.name, rest=True)
