"""Mint and the first publish: one section, with nothing between the provider's answer and the store.

Invariants:
- both intents are journaled and audited before the call, and the lease is checked right before it;
- never two mints in flight: after an unclear answer `recovery.look` waits until it cannot execute;
- once a token was minted, no failure of journal or audit delays its publish;
- a minted token that cannot be written is tried until the budget ends, then a later process mints anew.
"""

from __future__ import annotations

from dataclasses import replace

from rotator.destinations.base import Reading
from rotator.engine.context import Context, StepResult
from rotator.engine.preflight import check_ownership
from rotator.engine.publish import follow, publish, tidy
from rotator.engine.recovery import Fate, look
from rotator.engine.resting import claim_of, token_known_dead, waiting_until
from rotator.engine.states import PREFLIGHT, kills_first
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
from rotator.model import Bounds, Death, DestinationState, Intent, Rotation, StepOutcome
from rotator.provider.base import Minted
from rotator.secret import Secret

_QUICK_ENOUGH = 3
"""Times that an intent is written anew because the writing itself used up its deadline."""


def mint_and_publish(context: Context) -> StepResult:
    """Ends with the new token in the authoritative destination and tried at all others."""
    detail = ""
    if not context.rotation.minted:
        interrupted = context.rotation.intent is not None
        context.ledger.forgiving = interrupted
        if interrupted and _recovered(context):
            detail = "the token minted before the interruption was found and kept"
        elif interrupted and context.rotation.intent is None:
            # Nothing was changed, and what was proved before the interruption may no longer hold.
            return StepResult(
                StepOutcome.FAILED, "the interrupted call was not executed", go_to=PREFLIGHT.name
            )
        else:
            detail = _mint_until_published(context)
    context.ledger.forgiving = True
    follow(context)
    _measure_outage(context)
    context.save()
    return StepResult(StepOutcome.DONE, detail)


def _mint_until_published(context: Context) -> str:
    """Returns how the token came about, for the step's record."""
    calls = 0
    give_up_at = context.clock.boot() + context.timings.publish_budget
    failure: RotatorError | None = None
    while calls < context.timings.mints:
        try:
            base, intent = _prepare(context)
            announce(context, intent)
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
            minted = context.provider.rotate_token(context.rotation.minting)
        except (Unreachable, CredentialRejected, Refused) as error:
            _not_executed(context, intent, error)
            failure = error
            limited = isinstance(error, RateLimited)
            wait = error.retry_after if isinstance(error, RateLimited) else context.timings.longest_pause
            alive = context.rotation.intent is None
            if not error.retryable or (alive and not limited) or context.clock.boot() + wait > give_up_at:
                break
            # While readers hold a dead token, time alone ends the trying: nothing was used up.
            calls += 1 if alive else 0
            context.say(f"{error.happened}; trying again in {wait:.0f} s")
            context.pause(wait)
            continue
        except UnclearOutcome as error:
            calls += 1
            context.audit("mint.token.outcome", executed=None, error=str(error))
            context.say(f"unclear answer to the mint: {error.happened}")
            failure = error
            if _recovered(context):
                return "the token was found although its answer was lost"
            continue
        _keep(context, minted, base)
        sent = context.rotation.mints
        return "" if sent == 1 else f"rotate-token was called {sent} times; the audit says why"
    raise _give_up(context, failure)


def _prepare(context: Context) -> tuple[Reading, Intent]:
    """Everything that must be true and written down right before the call."""
    take_slot(context)
    if context.rotation.intent is not None:
        # The old token is dead already. A further mint is of use only when a write is accepted again.
        _await_writable(context)
    readings, known = look_around(context)
    base = readings[context.authoritative.spec.ref]
    if context.rotation.old_fingerprint is None and _killed_by_us(context.rotation) and base.value_if_token:
        # It was killed while no store could be asked: only now is it known what readers were left with.
        context.old = base.value_if_token
        context.change(old_fingerprint=context.fingerprints.of(context.old))
    if context.rotation.intent is not None:
        known |= set(context.rotation.intent.known_fingerprints)
    facts = context.provider.project(context.rotation.minting)
    sent = context.instant()
    intent = Intent(
        project=context.rotation.minting,
        sent=sent,
        deadline=sent.plus(context.timings.call + context.timings.settle),
        generated_at_before=facts.token_generated_at,
        known_fingerprints=tuple(sorted(known)),
        base_versions={ref: reading.version for ref, reading in readings.items()},
    )
    return base, intent


def look_around(context: Context) -> tuple[dict[str, Reading], set[str]]:
    """What the destinations hold, and the fingerprints of everything that is current or staged in them.

    Before the first mint all must answer and be ours. Once readers may hold a dead token, or the token in
    them has to die first, only the authoritative one must: a destination that follows is tried afterwards, and
    keeps nobody waiting.
    """
    readings: dict[str, Reading] = {}
    known: set[str] = set()
    all_needed = context.rotation.intent is None and not kills_first(context.rotation)
    for ref, destination in context.destinations.items():
        try:
            reading, staged = destination.read(), destination.read_staged()
        except RotatorError as error:
            if all_needed or destination is context.authoritative:
                raise
            context.say(f"{destination.describe()} is left for later: {error.happened}")
            continue
        readings[ref] = reading
        values = (reading.value, staged.value if staged else None)
        known |= {context.fingerprints.of(value) for value in values if value is not None}
    first = context.authoritative.spec.ref
    check_ownership(context, readings if all_needed else {first: readings[first]})
    return readings, known


def announce(context: Context, intent: Intent, *, then: str = "publish") -> None:
    """Writes both intents down, to mint and to `then` publish or stage (empty: neither), and checks the fence
    right before the call; if this raises, none is sent."""
    former = context.rotation
    context.stop.check()
    context.audit(
        "mint.token.intent",
        generated_at_before=intent.generated_at_before,
        known_fingerprints=list(intent.known_fingerprints),
    )
    if then:
        context.audit(
            f"{then}.destination.intent",
            destination=context.authoritative.spec.ref,
            base_version=intent.base_versions.get(context.authoritative.spec.ref),
        )
    try:
        for _ in range(_QUICK_ENOUGH):
            context.save(intent=intent, mints=former.mints + 1)
            context.limiter.sending("rotate", claim_of(context.rotation))
            context.ledger.fence()
            now = context.instant()
            if intent.sent.seconds_until(now) <= context.timings.settle / 2:
                context.say("minting")
                return
            # Writing it down took so long that the deadline would be too early for the call that follows.
            deadline = now.plus(context.timings.call + context.timings.settle)
            intent = replace(intent, sent=now, deadline=deadline)
    except JournalUnavailable:
        context.change(intent=former.intent, mints=former.mints)
        raise
    context.change(intent=former.intent, mints=former.mints)
    raise JournalUnavailable(
        f"The journal took more than {context.timings.settle / 2:g} s to write, {_QUICK_ENOUGH} times in a row",
        then="No token was minted, because the deadline that others wait for could not be kept",
        remedy="Look at the disk or the server that holds the journal",
    )


def _keep(context: Context, minted: Minted, base: Reading) -> None:
    """The provider has answered. Nothing but the store's write may come first."""
    received = context.instant()
    context.new = minted.token
    context.ledger.forgiving = True
    death, intent = context.rotation.death, context.rotation.intent
    assert intent is not None
    if death is None or death.before is None:
        context.change(death=Death(after=intent.sent, before=received))
    served_after, served = publish(context, minted.token, base)
    context.change(served_after=served_after, served=served)
    fingerprint = context.fingerprints.of(minted.token)
    context.audit("mint.token.outcome", executed=True, fingerprint=fingerprint)
    _record_published(context, minted.token, minted.generated_at)


def _not_executed(context: Context, intent: Intent, error: RotatorError) -> None:
    """The call certainly changed nothing: the record goes back to what it was before this intent."""
    context.audit("mint.token.outcome", executed=False, error=str(error))
    # An earlier mint of this rotation was lost: its intent stays open, and this one holds all of it.
    earlier = token_known_dead(context.rotation)
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
        context.save(intent=None, loose=context.rotation.loose + 1)
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
    context.change(death=death, served_after=intent.sent, served=context.instant())
    if finding.base is not None:
        ref = context.authoritative.spec.ref
        check_ownership(context, {ref: finding.base})
        context.audit("publish.destination.intent", destination=ref, base_version=finding.base.version)
        served_after, served = publish(context, finding.token, finding.base)
        context.change(served_after=served_after, served=served)
    # An interrupted publish may have left its staged copy behind, although the token is current.
    for destination in context.destinations.values():
        tidy(context, destination)
    _record_published(context, finding.token, _generated_at(context))
    return True


def _generated_at(context: Context) -> str | None:
    """The time of a mint whose answer is lost. Without it a later mint by others shows by its effect only."""
    try:
        return context.provider.project(context.rotation.minting).token_generated_at
    except RotatorError as error:
        context.say(f"the time of the mint could not be read: {error.happened}")
        return None


def _record_published(context: Context, token: Secret, generated_at: str | None) -> None:
    fingerprint = context.fingerprints.of(token)
    ref = context.authoritative.spec.ref
    context.change(minted=True, new_fingerprint=fingerprint, generated_at_after=generated_at)
    context.rotation = context.rotation.with_destination(ref, DestinationState.CURRENT)
    # Before the journal, which refuses a lease that was lost meanwhile: what was done was done.
    context.audit("publish.destination.outcome", destination=ref, fingerprint=fingerprint, ok=True)
    context.ledger.remember(
        KnownToken(
            fingerprint=fingerprint,
            project=context.rotation.minting,
            policy=context.policy.name,
            rotation=context.rotation.id,
            origin="minted",
            first_seen=context.clock.now(),
        )
    )
    context.save()
    context.ledger.settle(context.rotation, ("token-dead", "unclear"))
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
        remedy=failure.remedy or f"`{context.policy.renewal}` tries it now",
    )


def take_slot(context: Context) -> None:
    """Waits for room in the shared limit on rotate-token, keeping an eye on the lease."""
    while (seconds := context.limiter.take("rotate", claim_of(context.rotation))) > 0:
        context.say(waiting_until(context.clock, seconds))
        context.pause(min(seconds, context.timings.lease / 3, context.timings.ask_again))
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


def _measure_outage(context: Context) -> None:
    """Between the old token's death and the last destination's serving the new one, both as bounds."""
    rotation = context.rotation
    behind = any(record.state is DestinationState.BEHIND for record in rotation.destinations)
    if (
        rotation.old_fingerprint is None
        or (
            rotation.old_token_dead and not _killed_by_us(rotation)
        )  # before we began: since when is not known
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


def _killed_by_us(rotation: Rotation) -> bool:
    """The old token was killed before anything could be published: when, is known."""
    return rotation.emergency is not None and rotation.emergency.kill_only
