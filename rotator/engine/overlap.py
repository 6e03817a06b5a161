"""Old and new token side by side: the new one is minted, or taken, and staged.

Invariants:
- a token is promoted only after every destination staged it and it was verified from there;
- until the outgoing token is retired, nothing here can leave readers without a living token;
- what is given up leaves nothing staged, and the token that was minted for it dies;
- in doubt the world is asked: what a destination serves decides, not what the record says of it.
"""

from __future__ import annotations

import logging

from rotator.destinations.base import Destination, Reading
from rotator.engine.context import Context, StepResult
from rotator.engine.mint import announce, look_around, take_slot
from rotator.engine.preflight import await_room, owns
from rotator.engine.recovery import await_deadline
from rotator.engine.resting import unexpected
from rotator.engine.sides import served_of
from rotator.engine.states import BRIDGE
from rotator.errors import (
    CredentialRejected,
    LeaseLost,
    NeedsAttention,
    RateLimited,
    Refused,
    RotatorError,
    UnclearOutcome,
    Unreachable,
)
from rotator.model import DestinationState, Form, Intent, StepOutcome
from rotator.provider.base import Minted, PingAnswer
from rotator.secret import Secret

log = logging.getLogger(__name__)


# --- mint and stage -------------------------------------------------------------------------------


def mint_and_stage(context: Context) -> StepResult:
    """Mints where no consumer's token dies, and stages the answer in every destination.

    A mint whose answer is lost costs nothing but another one, once it cannot be executed any more.
    """
    detail = ""
    if not context.rotation.minted:
        kept = _kept(context) if context.rotation.intent is not None else None
        if kept is not None:
            detail = "the token minted before the interruption was found and kept"
            _record_staged(context, kept, None)
        else:
            await_room(context)  # so that what is looked at now is still so at the call
            if context.rotation.form is Form.BRIDGE and (apart := _off_the_bridge(context)):
                return StepResult(StepOutcome.FAILED, apart, go_to=BRIDGE.name)
            _mint_until_staged(context)
    _stage_everywhere(context)
    return StepResult(StepOutcome.DONE, detail)


def _off_the_bridge(context: Context) -> str:
    """Which destination serves neither the bridge nor a dead token: its readers must cross before the mint."""
    for destination in context.destinations.values():
        value = destination.read().value_if_token
        if value is None or context.fingerprints.of(value) == context.rotation.bridge_fingerprint:
            continue
        if context.provider.ping(value) is not PingAnswer.DEAD:
            return f"{destination.describe()} does not serve the bridge token any more; readers go back to it first"
    return ""


def _spare_readers(context: Context, project: str) -> None:
    if context.rotation.form is Form.STANDBY and (served := served_of(context, project)):
        raise NeedsAttention(
            "out-of-band",
            served,
            then="Nothing was minted there, because that would kill it under its readers",
            remedy=f"`{context.policy.renewal}` begins anew from what is served now",
        )


def _mint_until_staged(context: Context) -> None:
    project = _incoming(context)
    failure: RotatorError | None = None
    calls = 0
    while calls < context.timings.mints:
        take_slot(context)
        readings, known = look_around(context)
        _spare_readers(context, project)
        former = context.rotation.intent
        sent = context.instant()
        intent = Intent(
            project=project,
            sent=sent,
            deadline=sent.plus(context.timings.call + context.timings.settle),
            generated_at_before=context.provider.project(project).token_generated_at,
            known_fingerprints=tuple(sorted(known)),
            base_versions={ref: reading.version for ref, reading in readings.items()},
        )
        former = context.rotation.intent
        announce(context, intent, then="stage")
        try:
            minted = context.provider.rotate_token(project)
        except (Unreachable, CredentialRejected, Refused) as error:
            context.audit("mint.token.outcome", executed=False, error=str(error))
            # Certainly not executed: nothing has to be killed or waited for on its account.
            context.save(intent=former)
            failure = error
            if not isinstance(error, RateLimited):
                raise
            calls += 1
            context.say(f"{error.happened}; trying again in {error.retry_after:.0f} s")
            context.pause(error.retry_after)
            continue
        except UnclearOutcome as error:
            calls += 1
            context.audit("mint.token.outcome", executed=None, error=str(error))
            context.say(f"unclear answer to the mint: {error.happened}; its token is given up")
            failure = error
            await_deadline(context, intent)
            continue
        _keep(context, minted)
        return
    assert failure is not None
    raise Unreachable(
        f"The provider did not answer {calls} mints: {failure.happened}",
        then="Consumers are not affected: their token is another one",
        remedy="Try again later",
    )


def _incoming(context: Context) -> str:
    project = context.rotation.incoming
    assert project is not None
    return project


def _kept(context: Context) -> Secret | None:
    """A staged, answering token that was nowhere before the mint: it is ours."""
    intent = context.rotation.intent
    assert intent is not None
    await_deadline(context, intent)
    for destination in context.destinations.values():
        staged = destination.read_staged()
        token = staged.value if staged is not None else None
        if token is None or context.fingerprints.of(token) in intent.known_fingerprints:
            continue
        if context.provider.ping(token) is not PingAnswer.DEAD:
            return token
    return None


def _keep(context: Context, minted: Minted) -> None:
    """The provider has answered. Nothing but the authoritative store's write may come first."""
    context.new = minted.token
    _stage_at(context, context.authoritative, minted.token)
    _record_staged(context, minted.token, minted.generated_at)


def _record_staged(context: Context, token: Secret, generated_at: str | None) -> None:
    context.new = token
    fingerprint = context.fingerprints.of(token)
    ref = context.authoritative.spec.ref
    context.change(minted=True, new_fingerprint=fingerprint, generated_at_after=generated_at)
    context.rotation = context.rotation.with_destination(ref, DestinationState.STAGED)
    context.audit("mint.token.outcome", executed=True, fingerprint=fingerprint)
    context.audit("stage.destination.outcome", destination=ref, fingerprint=fingerprint, ok=True)
    context.remember_token(token, _incoming(context), "minted")
    context.save()


def stage_handed_in(context: Context) -> None:
    """Stages a token that a person made, the authoritative destination first."""
    token = token_in_hand(context)
    if not context.rotation.minted:
        fingerprint = context.fingerprints.of(token)
        ref = context.authoritative.spec.ref
        context.audit("stage.destination.intent", destination=ref, fingerprint=fingerprint)
        # Before the write, so that it can be looked for after an interruption.
        context.save(new_fingerprint=fingerprint)
        _stage_at(context, context.authoritative, token)
        context.audit("stage.destination.outcome", destination=ref, fingerprint=fingerprint, ok=True)
        context.rotation = context.rotation.with_destination(ref, DestinationState.STAGED)
        context.remember_token(token, _incoming(context), "staged")
        context.save(minted=True)
    _stage_everywhere(context)


def _stage_everywhere(context: Context) -> None:
    """All destinations but the authoritative one, which holds it already. Raises what the first failure raised."""
    token = token_in_hand(context)
    for ref, destination in context.destinations.items():
        if _state(context, ref) in (DestinationState.STAGED, DestinationState.CURRENT):
            continue
        context.audit("stage.destination.intent", destination=ref)
        _stage_at(context, destination, token)
        context.audit(
            "stage.destination.outcome",
            destination=ref,
            fingerprint=context.rotation.new_fingerprint,
            ok=True,
        )
        context.rotation = context.rotation.with_destination(ref, DestinationState.STAGED)
        context.save()


def _stage_at(context: Context, destination: Destination, token: Secret) -> None:
    """Stages on top of what readers get now, again after somebody else's write, until it holds."""
    failure: RotatorError | None = None
    for _ in context.attempts(context.timings.follower_budget):
        try:
            reading = destination.read()
            # Also right after a mint: no reader waits for this token, and once somebody else has taken over,
            # nobody would know of what is staged here.
            context.ledger.check_lease()
            must_own(context, destination, reading)
            destination.stage(token, rotation=context.rotation.id, base=reading)
        except LeaseLost:
            raise
        except RotatorError as error:
            if not error.retryable:
                raise
            failure = error
            context.say(f"{destination.describe()} does not take the staged token: {error.happened}")
        except Exception as error:
            log.exception("unexpected error while staging in %s", destination.spec.ref)
            failure = unexpected(error)
        else:
            return
    assert failure is not None
    raise failure


def must_own(context: Context, destination: Destination, reading: Reading) -> None:
    """Raises Refused where a place has come to hold what is not ours to replace."""
    ownership = owns(context, destination, reading)
    if not ownership.ours:
        raise Refused(
            f"{destination.describe()} is not ours to write any more: {ownership.reason}",
            then="It was left as it is",
            remedy="Take out what was written there, or say `overwrite: true` at this destination",
        )


def _state(context: Context, ref: str) -> DestinationState:
    return next(record.state for record in context.rotation.destinations if record.ref == ref)


def token_in_hand(context: Context) -> Secret:
    """The new token: from memory, or from any destination that stages or serves it.

    Raises Refused where none does, so that what was begun is given up.
    """
    if context.new is not None:
        return context.new
    wanted = context.rotation.new_fingerprint
    for destination in context.destinations.values():
        staged = destination.read_staged()
        for value in (staged.value if staged else None, destination.read().value_if_token):
            if value is not None and context.fingerprints.of(value) == wanted:
                context.new = value
                return value
    if context.rotation.form is Form.ASSISTED:
        raise Refused(
            "The token that was handed in was in memory only when its process ended"
            if wanted is None
            else "No destination keeps the token that was handed in any more",
            then="It cannot be used; what was begun is given up",
            remedy=f"`rotator stage {context.policy.name}` takes it again",
        )
    raise Refused(
        "No destination keeps the staged token any more",
        then="It cannot be used; what was begun is given up",
        remedy=f"`{context.policy.renewal}` begins anew",
    )
