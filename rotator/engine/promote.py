"""Promote: the staged token, the bridge, or the outgoing one again becomes what readers get.

One that does not take it leaves its readers on the former token, which lives: the rotation rests and is taken
up again. In doubt the world is asked: what a destination serves decides, not what the record says of it.
"""

from __future__ import annotations

import logging

from rotator.destinations.base import Destination
from rotator.engine.context import Context, StepResult
from rotator.engine.overlap import must_own, token_in_hand
from rotator.engine.publish import tidy
from rotator.engine.resting import unexpected
from rotator.engine.states import CLOSE
from rotator.errors import LeaseLost, NeedsAttention, Refused, RotatorError, VersionConflict
from rotator.model import DestinationState, Policy, StepOutcome
from rotator.provider.base import PingAnswer
from rotator.secret import Secret

log = logging.getLogger(__name__)


def promote(context: Context) -> StepResult:
    """Makes the staged token the current one, the authoritative destination first, then all others.

    One that does not take it leaves its readers on the outgoing token, which lives: the rotation rests
    and is taken up again.
    """
    return serve_everywhere(context, token_in_hand(context))


def serve_everywhere(context: Context, token: Secret) -> StepResult:
    """Ends with every destination serving the token, or with what is behind told."""
    behind: list[str] = []
    for ref, destination in context.destinations.items():
        failure = _serve_at(context, destination, token)
        state = DestinationState.CURRENT if failure is None else DestinationState.BEHIND
        context.rotation = context.rotation.with_destination(ref, state)
        context.save()
        if failure is not None:
            behind.append(f"{destination.describe()}: {failure.happened}")
            if destination is context.authoritative:
                break  # the others follow it, never the other way round
    if behind:
        context.attend(
            "destination-behind",
            f"The new token could not be promoted everywhere; readers there use the former one, which lives. "
            f"{'; '.join(behind)}",
            f"Mend it, then `rotator run` goes on; `rotator rollback {context.policy.name}` goes back",
        )
        if context.rotation.emergency is not None and _leads(context):
            # A leaked token does not live on for the sake of one destination that is away.
            context.save(promoted=context.instant())
            return StepResult(StepOutcome.FAILED, "; ".join(behind))
        return StepResult(StepOutcome.FAILED, "; ".join(behind), rest=True)
    context.save(promoted=context.instant())
    context.ledger.settle(context.rotation, ("destination-behind",))
    return StepResult(StepOutcome.DONE)


def _leads(context: Context) -> bool:
    ref = context.authoritative.spec.ref
    return any(
        record.ref == ref and record.state is DestinationState.CURRENT
        for record in context.rotation.destinations
    )


def _serve_at(context: Context, destination: Destination, token: Secret) -> RotatorError | None:
    """None when readers of this destination get the token; else why they do not."""
    ref = destination.spec.ref
    failure: RotatorError | None = None
    for _ in context.attempts(context.timings.follower_budget):
        try:
            reading = destination.read()
            if reading.value == token:
                destination.discard()  # a staged copy of what is current by now
                return None
            must_own(context, destination, reading)
            staged = destination.read_staged()
            # After the reading: whoever takes the lease from here on changes what the write compares with.
            context.ledger.check_lease()
            context.audit("promote.destination.intent", destination=ref, base_version=reading.version)
            if staged is not None and staged.value == token:
                destination.promote(staged, base=reading)
            else:
                destination.publish(token, rotation=context.rotation.id, base=reading)
        except VersionConflict as error:
            # Somebody wrote another field meanwhile: the staged copy is without it, so it is made anew.
            failure = error
            tidy(context, destination)
        except LeaseLost:
            raise
        except RotatorError as error:
            failure = error
            if not error.retryable:
                break
            context.say(f"{destination.describe()} does not promote: {error.happened}; trying again")
        except Exception as error:
            log.exception("unexpected error while promoting in %s", ref)
            failure = unexpected(error)
            break
        else:
            context.audit(
                "promote.destination.outcome",
                destination=ref,
                ok=True,
                fingerprint=context.fingerprints.of(token),
            )
            return None
    context.audit("promote.destination.outcome", destination=ref, ok=False, error=str(failure))
    return failure


def rollback(context: Context) -> StepResult:
    """Every destination that serves the new token gets the outgoing one back.

    Where that does not answer there is no way back: readers keep what they have, and a person is told.
    """
    given_up = {context.rotation.new_fingerprint, context.rotation.bridge_fingerprint}
    serving = [
        destination
        for destination in context.destinations.values()
        if (value := destination.read().value_if_token) is not None
        and context.fingerprints.of(value) in given_up
    ]
    rotation = context.rotation
    if not serving:
        if rotation.promoted is None and rotation.returned is None:
            return StepResult(StepOutcome.SKIPPED, "no reader has seen the new token")
        return _returned(context)
    old = outgoing_token(context)
    if old is None or context.provider.ping(old) is PingAnswer.DEAD:
        return _no_way_back(context, serving[0], "no destination keeps it" if old is None else "it is dead")
    # Before the first write: whoever takes this up after a crash may find no reader on the new token any more.
    context.save(returned=context.instant())
    for destination in serving:
        failure = _serve_at(context, destination, old)
        if failure is not None:
            raise NeedsAttention(
                "destination-behind",
                f"{destination.describe()} does not take the outgoing token back: {failure.happened}",
                then="Its readers hold the new token, which was to be given up",
                remedy="Mend it, then `rotator run` goes on",
            )
        context.rotation = context.rotation.with_destination(destination.spec.ref, DestinationState.UNCHANGED)
        context.save()
    return _returned(context)


def _returned(context: Context) -> StepResult:
    # Readers may have kept the new token: from here on counts for how long they may still use it.
    context.save(promoted=None, returned=context.instant(), drain=None)
    return StepResult(StepOutcome.DONE, "the outgoing token is current again")


def _no_way_back(context: Context, serving: Destination, why: str) -> StepResult:
    """Ends the rotation without killing what readers hold, so that the next one may begin."""
    for destination in context.destinations.values():
        tidy(context, destination)
    value = serving.read().value_if_token
    lives = value is not None and context.provider.ping(value) is not PingAnswer.DEAD
    emergency = context.rotation.emergency
    if lives and emergency is not None and emergency.own:
        context.attend(
            "old-token-alive",
            f"Readers hold the leaked token, because the outgoing one cannot be promoted again: {why}",
            kill_it_first(context.policy),
        )
        return StepResult(StepOutcome.FAILED, f"no way back: {why}", go_to=CLOSE.name)
    context.attend(
        "verification-failed" if lives else "token-dead",
        f"The outgoing token cannot be promoted again: {why}. Readers hold the new one, "
        + ("which lives" if lives else "which is dead too"),
        f"`rotator verify {context.policy.name}` tells whether it works; `{context.policy.renewal}` "
        "makes another one",
    )
    return StepResult(StepOutcome.FAILED, f"no way back: {why}", go_to=CLOSE.name)


def kill_it_first(policy: Policy) -> str:
    """What a person does about a leaked token that nothing replaces."""
    if policy.rehearses:
        return f"`{policy.renewal}` tries again"
    return (
        f"`rotator rotate {policy.name} --emergency --order kill-first --reason TEXT` kills it; mail fails until "
        "readers have the next one"
    )


def outgoing_token(context: Context) -> Secret | None:
    """The token that was current before: from memory, or from what the destinations keep of it."""
    if context.old is not None:
        return context.old
    wanted = context.rotation.old_fingerprint
    for destination in context.destinations.values():
        value = destination.read().value_if_token
        if value is None or context.fingerprints.of(value) != wanted:
            value = destination.recall(lambda one: context.fingerprints.of(one) == wanted)
        if value is not None:
            context.old = value
            return value
    return None


def promote_bridge(context: Context) -> StepResult:
    """Makes the bridge token the current one in every destination."""
    assert context.bridge is not None
    token = context.bridge.read().value_if_token
    if token is None or context.provider.ping(token) is PingAnswer.DEAD:
        raise Refused(
            "The bridge token is not there any more, or does not answer",
            then="Readers keep the token they have",
            remedy="Put a living token into the bridge's secret (make it in the Lettermint dashboard)",
        )
    context.save(bridge_fingerprint=context.fingerprints.of(token))
    return serve_everywhere(context, token)
