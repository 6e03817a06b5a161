"""Mint and the first publish: one section, with nothing between the provider's answer and the store.

Invariants:
- both intents are journaled and audited before the call, and the lease is checked right before it;
- never two mints in flight: after an unclear answer `recovery.look` waits until it cannot execute;
- once a token was minted, no failure of journal or audit delays its publish;
- a minted token that cannot be written is tried until the budget ends, then a later process mints anew.
"""

from __future__ import annotations

from dataclasses import replace

from rotator.clock import Instant
from rotator.destinations.base import Destination, Reading
from rotator.engine.context import Context, StepResult
from rotator.engine.preflight import check_ownership, read_destinations
from rotator.engine.publish import follow, publish
from rotator.engine.recovery import Fate, look
from rotator.errors import (
    CredentialRejected,
    JournalUnavailable,
    LeaseLost,
    NeedsAttention,
    RateLimited,
    Refused,
    RotatorError,
    UnclearOutcome,
    Unreachable,
)
from rotator.journal.base import KnownToken
from rotator.model import Bounds, Death, DestinationState, Intent, StepOutcome
from rotator.provider.base import Minted
from rotator.secret import Secret


def mint_and_publish(context: Context) -> StepResult:
    """Ends with the new token in the authoritative destination and tried at all others."""
    detail = ""
    if not context.rotation.minted:
        context.ledger.forgiving = context.rotation.intent is not None
        detail = _find_or_mint(context)
    context.ledger.forgiving = True
    follow(context)
    _measure_outage(context)
    context.save()
    return StepResult(StepOutcome.DONE, detail)


def _find_or_mint(context: Context) -> str:
    """Returns how the token came about, for the step's record."""
    if context.rotation.intent is not None and _recovered(context):
        return "the token minted before the interruption was found and kept"
    calls_before = context.rotation.mints
    give_up_at = context.clock.boot() + context.timings.publish_budget
    failure: RotatorError | None = None
    while context.rotation.mints - calls_before < context.timings.mints:
        try:
            base, intent = _prepare(context)
        except RotatorError as error:
            # Nothing was sent. With a dead token in the store it is tried again, else given up.
            if context.rotation.intent is None or not error.retryable:
                raise
            failure = error
            if context.clock.boot() > give_up_at:
                break
            context.say(f"cannot mint yet: {error.happened}")
            context.pause(context.timings.longest_pause)
            continue
        try:
            minted = _mint(context, intent)
        except RateLimited as error:
            _not_executed(context, intent, error)
            context.say(f"the provider asks to wait {error.retry_after:.0f} s")
            context.pause(error.retry_after)
            failure = error
            continue
        except (Unreachable, CredentialRejected, Refused) as error:
            _not_executed(context, intent, error)
            failure = error
            if context.rotation.intent is None or not error.retryable:
                break
            context.pause(context.timings.longest_pause)
            continue
        except UnclearOutcome as error:
            context.audit("mint.token.outcome", executed=None, error=str(error))
            context.say(f"unclear answer to the mint: {error.happened}")
            failure = error
            if _recovered(context):
                return "the token was found although its answer was lost"
            continue
        _keep(context, minted, intent, base)
        calls = context.rotation.mints
        return "" if calls == 1 else f"rotate-token was called {calls} times; the audit says why"
    raise _give_up(context, failure)


def _prepare(context: Context) -> tuple[Reading, Intent]:
    """Everything that must be true and written down right before the call."""
    _take_slot(context)
    if context.rotation.intent is not None:
        # The old token is dead already. A further mint is of use only when a write is accepted again.
        _await_writable(context)
    readings = read_destinations(context)
    check_ownership(context, readings)
    base = readings[context.authoritative.spec.ref]
    known = {
        context.fingerprints.of(value)
        for destination, reading in zip(context.destinations.values(), readings.values(), strict=True)
        for value in (reading.value, _staged(destination))
        if value is not None
    }
    if context.rotation.intent is not None:
        known |= set(context.rotation.intent.known_fingerprints)
    facts = context.provider.project(context.rotation.project)
    sent = context.instant()
    intent = Intent(
        project=context.rotation.project,
        sent=sent,
        deadline=sent.plus(context.timings.call + context.timings.settle),
        generated_at_before=facts.token_generated_at,
        known_fingerprints=tuple(sorted(known)),
        base_versions={ref: reading.version for ref, reading in readings.items()},
    )
    return base, intent


def _mint(context: Context, intent: Intent) -> Minted:
    former = context.rotation
    context.stop.check()
    context.audit(
        "mint.token.intent",
        generated_at_before=intent.generated_at_before,
        known_fingerprints=list(intent.known_fingerprints),
    )
    context.audit(
        "publish.destination.intent",
        destination=context.authoritative.spec.ref,
        base_version=intent.base_versions.get(context.authoritative.spec.ref),
    )
    context.save(intent=intent, mints=former.mints + 1)
    delay = intent.sent.seconds_until(context.instant())
    if delay > context.timings.settle / 2:
        # Writing it down took so long that the deadline would be too early for the call that follows.
        sent = context.instant()
        context.save(
            intent=replace(
                intent, sent=sent, deadline=sent.plus(context.timings.call + context.timings.settle)
            )
        )
    try:
        context.ledger.check_lease()
    except JournalUnavailable:
        context.change(intent=former.intent)  # the call is not sent
        raise
    context.say("minting")
    return context.provider.rotate_token(context.rotation.project)


def _keep(context: Context, minted: Minted, intent: Intent, base: Reading) -> None:
    """The provider has answered. Nothing but the store's write may come first."""
    received = context.instant()
    context.new = minted.token
    context.ledger.forgiving = True
    sent_write, served = publish(context, minted.token, base)
    death = context.rotation.death
    if death is None or death.before is None:
        death = Death(after=(context.rotation.intent or intent).sent, before=received)
    _record_published(
        context, minted.token, death, served_after=sent_write, served=served, generated_at=minted.generated_at
    )
    context.audit("mint.token.outcome", executed=True, fingerprint=context.rotation.new_fingerprint)
    context.audit(
        "publish.destination.outcome",
        destination=context.authoritative.spec.ref,
        fingerprint=context.rotation.new_fingerprint,
        ok=True,
    )


def _not_executed(context: Context, intent: Intent, error: RotatorError) -> None:
    """The call certainly changed nothing: the record goes back to what it was before this intent."""
    context.audit("mint.token.outcome", executed=False, error=str(error))
    # `known_fingerprints` tells an earlier lost mint from none: it had its own intent.
    earlier = context.rotation.death is not None and context.rotation.death.before is not None
    context.save(intent=intent if earlier else None)
    context.ledger.forgiving = earlier


def _recovered(context: Context) -> bool:
    """Looks for the token of an unclear mint. True when it is published; False: mint (again)."""
    intent = context.rotation.intent
    assert intent is not None
    finding = look(context)
    context.audit("mint.token.outcome", executed=finding.fate is not Fate.NOT_EXECUTED, found=finding.fate)
    if finding.fate is Fate.NOT_EXECUTED:
        context.say("the call was not executed")
        context.save(intent=None)
        context.ledger.forgiving = False
        return False
    death = context.rotation.death
    if death is None or death.before is None:
        death = Death(after=death.after if death else intent.sent, before=context.instant())
    if finding.fate is Fate.LOST:
        context.say("the call was executed and its token is lost: minting again")
        context.ledger.forgiving = True
        context.save(death=death)
        return False
    assert finding.token is not None
    context.new = finding.token
    context.ledger.forgiving = True
    served_after, served = intent.sent, context.instant()
    if not finding.current:
        served_after, served = publish(context, finding.token, context.authoritative.read())
    _tidy(context)
    _record_published(
        context,
        finding.token,
        death,
        served_after=served_after,
        served=served,
        generated_at=context.provider.project(intent.project).token_generated_at,
    )
    return True


def _tidy(context: Context) -> None:
    """An interrupted publish may have left its staged copy behind, although the token is current."""
    for destination in context.destinations.values():
        try:
            destination.discard()
        except RotatorError as error:
            context.say(f"{destination.describe()} keeps a staged copy for now: {error.happened}")


def _record_published(
    context: Context,
    token: Secret,
    death: Death,
    *,
    served_after: Instant,
    served: Instant,
    generated_at: str | None,
) -> None:
    fingerprint = context.fingerprints.of(token)
    context.change(
        minted=True,
        new_fingerprint=fingerprint,
        generated_at_after=generated_at,
        death=death,
        served_after=served_after,
        served=served,
    )
    context.rotation = context.rotation.with_destination(
        context.authoritative.spec.ref, DestinationState.CURRENT
    )
    context.ledger.remember(
        KnownToken(
            fingerprint=fingerprint,
            project=context.rotation.project,
            policy=context.policy.name,
            rotation=context.rotation.id,
            origin="minted",
            first_seen=context.clock.now(),
        )
    )
    context.save()
    context.say("published")


def _give_up(context: Context, failure: RotatorError | None) -> RotatorError:
    """The budget of mints is spent, or the provider said no for good."""
    assert failure is not None
    if context.rotation.intent is None:
        if isinstance(failure, UnclearOutcome):
            return Unreachable(
                f"The provider did not mint in {context.timings.mints} calls: {failure.happened}",
                then="Each was shown not to have been executed; the old token lives and nothing was changed",
                remedy="Try again later",
            )
        return failure
    return NeedsAttention(
        "token-dead",
        f"The old token is dead and no new one could be had: {failure.happened}",
        then="Readers hold a dead token; the next `rotator run` mints again",
        remedy=failure.remedy or f"Then `rotator rotate {context.policy.name}`",
    )


def _take_slot(context: Context) -> None:
    while (seconds := context.limiter.take("rotate")) > 0:
        context.say(f"waiting {seconds:.0f} s for the provider's rate limit")
        context.pause(min(seconds, context.timings.lease / 3))
        context.ledger.check_lease()


def _await_writable(context: Context) -> None:
    failure: RotatorError | None = None
    for _ in context.attempts(context.timings.publish_budget):
        context.ledger.check_lease()
        try:
            context.authoritative.preflight()
        except LeaseLost:
            raise
        except RotatorError as error:
            failure = error
            context.say(f"waiting for {context.authoritative.describe()}: {error.happened}")
        else:
            return
    raise NeedsAttention(
        "token-dead",
        f"The old token is dead and {context.authoritative.describe()} takes no write: {failure}",
        then="Readers hold a dead token; the next `rotator run` mints as soon as a write is accepted",
        remedy="Mend the destination, then `rotator run`",
    )


def _staged(destination: Destination) -> Secret | None:
    staged = destination.read_staged()
    return staged.value if staged else None


def _measure_outage(context: Context) -> None:
    """Between the old token's death and the last destination's serving the new one, both as bounds."""
    rotation = context.rotation
    behind = any(record.state is DestinationState.BEHIND for record in rotation.destinations)
    if (
        rotation.old_fingerprint is None
        or rotation.old_token_dead  # dead before we began: since when is not known
        or behind  # not over yet
        or rotation.death is None
        or rotation.death.before is None
        or rotation.served is None
        or rotation.served_after is None
    ):
        return
    context.change(
        outage=Bounds(
            min=max(0.0, rotation.death.before.seconds_until(rotation.served_after)),
            max=max(0.0, rotation.death.after.seconds_until(rotation.served)),
        )
    )
