"""Writing a minted token: to the authoritative destination until it holds, then to all others.

Readers hold a dead token while this runs, so nothing here gives up early and nothing but a lost
lease, a spent budget or somebody else's living token ends it.
"""

from __future__ import annotations

import logging
import math

from rotator.clock import Instant
from rotator.destinations.base import Destination, Reading
from rotator.engine.context import Context
from rotator.engine.preflight import owns
from rotator.engine.resting import unexpected
from rotator.errors import LeaseLost, NeedsAttention, Refused, RotatorError, VersionConflict
from rotator.model import DestinationState
from rotator.provider.base import PingAnswer
from rotator.secret import Secret

log = logging.getLogger(__name__)


def publish(context: Context, token: Secret, base: Reading) -> tuple[Instant, Instant]:
    """Writes to the authoritative destination until it holds. Returns the moments around the write:
    before the first attempt, because one that failed may have been executed, and after the last.

    Raises NeedsAttention when the budget ends (with `publish_on` only the attention is raised then, and the
    trying goes on), LeaseLost when somebody else has taken over.
    """
    destination = context.authoritative
    failure: RotatorError | None = None
    sent = context.instant()
    timings, alarmed = context.timings, False
    budget = math.inf if timings.publish_on else timings.publish_budget
    for number in context.attempts(budget, stoppable=False):
        spent = sent.seconds_until(context.instant()) >= timings.publish_budget
        if timings.publish_on and spent and failure is not None and not alarmed:
            alarmed = True
            context.ledger.attend(
                context.rotation,
                "token-dead",
                f"A token was minted and {destination.describe()} does not take it: {failure.happened}",
                "Readers hold a dead token until it does, and it is still being tried; mend the destination",
            )
        try:
            if number > 1:
                context.ledger.check_lease()
            destination.publish(token, rotation=context.rotation.id, base=base)
            return sent, context.instant()
        except VersionConflict as error:
            failure = error
            try:
                base = _merge_again(context, token, base)
            except RotatorError as reading:
                if isinstance(reading, NeedsAttention | LeaseLost):
                    raise
                failure = reading
        except LeaseLost:
            raise
        except RotatorError as error:
            failure = error
        except Exception as error:
            # A defect in a store's client is no reason to give up a token that is shown only once.
            log.exception("unexpected error while writing to %s", destination.spec.ref)
            failure = unexpected(error)
        context.say(
            f"the minted token is in memory only; {destination.describe()} does not take it: {failure.happened}; "
            "trying again"
        )
    context.audit("mint.token.outcome", executed=True, fingerprint=context.fingerprints.of(token))
    context.audit(
        "publish.destination.outcome", destination=destination.spec.ref, ok=False, error=str(failure)
    )
    raise NeedsAttention(
        "token-dead",
        f"A token was minted and {destination.describe()} did not take it: {failure}",
        then="Readers hold a dead token; the next `rotator run` mints again as soon as a write is accepted",
        remedy=f"Mend the destination, then `{context.policy.renewal}` or `rotator run`",
    )


def _merge_again(context: Context, token: Secret, base: Reading) -> Reading:
    """Somebody wrote to the secret since our reading: another field, or the token itself?"""
    now = context.authoritative.read()
    context.ledger.check_lease()
    if not (ownership := owns(context, context.authoritative, now)).ours:
        raise NeedsAttention(
            "out-of-band",
            f"Somebody else wrote to {context.authoritative.describe()} meanwhile: {ownership.reason}",
            then="It was not written over, and readers have no living token; the minted one is given up",
            remedy="Take out what was written there, or say `overwrite: true`, then `rotator run` mints again",
        )
    value = now.value_if_token
    if value is None or value in (token, base.value):
        return now
    if context.provider.ping(value) is PingAnswer.DEAD or context.provider.ping(token) is not PingAnswer.DEAD:
        # Theirs is dead, or ours is the living one: readers need ours.
        return now
    raise NeedsAttention(
        "out-of-band",
        f"Somebody else minted and wrote a living token to {context.authoritative.describe()} after us",
        then="Ours is dead and was not written over theirs; readers are served",
        remedy="Find out who else manages this token; `rotator run` then looks at it and takes it over",
    )


def follow(context: Context) -> None:
    """All other destinations, after the authoritative one; a failure here stops nothing."""
    token = context.new or context.authoritative.read().value_if_token
    if token is None or context.fingerprints.of(token) != context.rotation.new_fingerprint:
        return
    context.new = token
    for ref, destination in context.destinations.items():
        if destination is not context.authoritative:
            state = publish_follower(context, destination, token)
            context.rotation = context.rotation.with_destination(ref, state)
    if not any(record.state is DestinationState.BEHIND for record in context.rotation.destinations):
        context.ledger.settle(context.rotation, ("destination-behind",))


def publish_follower(context: Context, destination: Destination, token: Secret) -> DestinationState:
    """Writes to one other destination within its budget: CURRENT, or BEHIND with attention raised.

    Raises LeaseLost, Interrupted, and what the ledger raises while it is not forgiving.
    """
    ref = destination.spec.ref
    failure: RotatorError | None = None
    stays = "did not get the new token"
    for _ in context.attempts(context.timings.follower_budget):
        try:
            reading = destination.read()
            # After the reading: whoever takes the lease from here on changes what the write compares with.
            context.ledger.check_lease()
            if reading.value == token:
                _served_by_now(context, ref)
                tidy(context, destination)
                return DestinationState.CURRENT
            if not (ownership := owns(context, destination, reading)).ours:
                failure, stays = Refused(ownership.reason), "is not ours to write"
                break
            context.audit("publish.destination.intent", destination=ref, base_version=reading.version)
            sent = context.instant()
            destination.publish(token, rotation=context.rotation.id, base=reading)
        except LeaseLost:
            raise
        except RotatorError as error:
            failure = error
            if not error.retryable:
                break
            context.say(f"{destination.describe()} is behind: {error.happened}; trying again")
        except Exception as error:
            log.exception("unexpected error while writing to %s", ref)
            failure = unexpected(error)
            break
        else:
            context.change(served_after=sent, served=context.instant())
            context.audit(
                "publish.destination.outcome",
                destination=ref,
                ok=True,
                fingerprint=context.rotation.new_fingerprint,
            )
            return DestinationState.CURRENT
    context.audit("publish.destination.outcome", destination=ref, ok=False, error=str(failure))
    context.attend(
        "destination-behind",
        f"{destination.describe()} {stays}: {failure}",
        f"Mend it, then `rotator run` or `rotator reconcile {context.policy.name}` writes the token there",
    )
    return DestinationState.BEHIND


def tidy(context: Context, destination: Destination) -> None:
    """Removes what an interrupted write left beside a token that is current: a staged copy, a temporary file."""
    try:
        destination.discard()
    except RotatorError as error:
        context.say(f"{destination.describe()} keeps a staged copy for now: {error.happened}")


def _served_by_now(context: Context, ref: str) -> None:
    """An earlier write took effect although nobody got its answer: the moment lies before this one."""
    known = {record.ref: record.state for record in context.rotation.destinations}
    if known.get(ref) is not DestinationState.CURRENT:
        context.change(served=context.instant())
