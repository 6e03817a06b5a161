"""Preflight: proves that the rest can succeed, before the one call that cannot be taken back."""

from __future__ import annotations

from rotator.destinations.base import Destination, Ownership, Reading, foreign, may_write
from rotator.engine.consumers import prove_reachable
from rotator.engine.context import Context, StepResult
from rotator.engine.exposure import measure
from rotator.engine.resting import claim_of, waiting_until
from rotator.engine.sides import choose_sides
from rotator.engine.states import kills_first
from rotator.errors import AuditUnavailable, NeedsAttention, Refused, RotatorError, Unreachable
from rotator.journal.base import KnownToken
from rotator.model import (
    DestinationRecord,
    DestinationState,
    Form,
    Policy,
    ProjectFacts,
    StepOutcome,
    Trigger,
)
from rotator.provider.base import PingAnswer
from rotator.secret import Secret
from rotator.verifiers.base import Attempt, Verdict, Verifier

# A verifier that could not be asked is asked again this often before preflight gives up.
_TRIES = 3


def preflight(context: Context) -> StepResult:
    """Everything a rotation will need, in the order in which refusing is cheapest."""
    warn_of_audit(context)
    await_room(context)
    context.say("reading the project")
    facts = context.provider.project(context.rotation.project)
    _check_smtp(context, facts)
    readings = _read(context)
    context.old = readings[context.authoritative.spec.ref].value_if_token
    alive = context.old is not None and _lives(context, context.old, facts)
    first = context.authoritative.spec.ref
    check_ownership(context, {first: readings[first]} if kills_first(context.rotation) else readings)
    choose_sides(context, alive=alive)
    list_destinations(context)
    context.change(
        old_fingerprint=context.fingerprints.of(context.old) if context.old else None,
        # Known from here on, and the reason why no outage is claimed for a repair.
        old_token_dead=True if context.old is not None and not alive else None,
    )
    prove_writable(context)
    prove_reachable(context)
    if context.old is not None and alive:
        _try_verifiers(context, context.old)
    if context.old is not None and (alive or context.rotation.form is not Form.STANDBY):
        # Of a pair's dead token nothing has shown whose it is.
        context.ledger.remember(
            KnownToken(
                fingerprint=context.fingerprints.of(context.old),
                project=context.rotation.outgoing or context.rotation.project,
                policy=context.policy.name,
                rotation=None,
                origin="adopted",
                first_seen=context.clock.now(),
            )
        )
        if not alive and context.rotation.emergency is not None:
            measure(context, None)
    if context.old is None:
        return StepResult(StepOutcome.DONE, "first issue: no token is stored yet")
    return StepResult(StepOutcome.DONE, "" if alive else "the stored token is dead; repairing in place")


def _check_smtp(context: Context, facts: ProjectFacts) -> None:
    """A project without SMTP lets no token log in at the relay, the new one neither."""
    if facts.smtp_enabled or all(verifier.type != "smtp" for verifier in context.verifiers):
        return
    happened = f"The policy verifies by smtp, but SMTP is switched off for project {facts.id}"
    if context.rotation.urgent:
        context.notes.append(f"{happened}.")
        return
    raise Refused(
        f"{happened} (`smtp_enabled: false`)",
        then="Nothing was changed",
        remedy=(
            f"Switch it on in the Lettermint dashboard or with `PUT /projects/{facts.id}` and "
            '`{"smtp_enabled": true}`, or take `smtp` out of `verify` in the policy'
        ),
    )


def await_room(context: Context) -> None:
    """Waits until the rate limit is about to have room for a mint, so that nothing is proved too early, and the mint
    itself comes no later than it may."""
    waiting = False
    ahead = context.timings.prove_ahead
    while (seconds := context.limiter.peek("rotate", claim_of(context.rotation))) > ahead:
        if not waiting:
            waiting = True
            context.say(waiting_until(context.clock, seconds))
        context.pause(min(seconds - ahead, context.timings.lease / 3, context.timings.ask_again))
        context.ledger.check_lease()


def warn_of_audit(context: Context) -> None:
    """No audit, no rotation; but a leaked token dies all the same. Raises AuditUnavailable."""
    try:
        context.ledger.check_writable()
    except AuditUnavailable as error:
        if not context.rotation.urgent:
            raise
        context.say(
            f"{error.happened}; the emergency goes on, and what is not written stands on standard error"
        )


def list_destinations(context: Context) -> None:
    """Begins the record of what becomes of each destination."""
    context.change(
        destinations=tuple(
            DestinationRecord(d.spec.type, ref, DestinationState.UNCHANGED)
            for ref, d in context.destinations.items()
        )
    )


def _read(context: Context) -> dict[str, Reading]:
    """What every destination holds now. All must answer, unless a leaked token has to die first."""
    readings: dict[str, Reading] = {}
    for ref, destination in context.destinations.items():
        try:
            readings[ref] = destination.read()
        except RotatorError as error:
            if not kills_first(context.rotation):
                raise
            if destination is context.authoritative:
                raise _no_store(context, error) from error
            context.say(f"{destination.describe()} is left for later: {error.happened}")
    return readings


def _no_store(context: Context, error: RotatorError) -> RotatorError:
    """The error with what an emergency may do about it."""
    if not error.retryable:
        return error
    return Unreachable(
        f"{context.authoritative.describe()} cannot be used: {error.happened}",
        then="Nothing was killed, because the new token would have nowhere to go",
        remedy=f"Mend it, then `{context.policy.renewal}`"
        if context.policy.rehearses
        else f"`rotator rotate {context.policy.name} --emergency --kill-only` kills the token without a store; "
        "mail then stops until a new one is published",
    )


def check_ownership(context: Context, readings: dict[str, Reading]) -> None:
    """Raises the first refusal: a place that holds what is not ours to replace."""
    for ref, reading in readings.items():
        destination = context.destinations[ref]
        ownership = owns(context, destination, reading)
        if not ownership.ours:
            raise foreign(destination.describe(), ownership)


def owns(context: Context, destination: Destination, reading: Reading) -> Ownership:
    """Whether a destination is ours to write."""
    value = reading.value
    known = context.ledger.known_project(context.fingerprints.of(value)) if value else None
    # An authoritative place without a token differs from every token.
    leading = context.old or context.new or Secret("")
    return may_write(
        reading,
        overwrite=destination.spec.overwrite,
        known_project=known,
        project_ids=context.policy.projects,
        alive=lambda: value is not None and context.provider.ping(value) is not PingAnswer.DEAD,
        authoritative=None if destination is context.authoritative else leading,
    )


def prove_writable(context: Context) -> None:
    """A real write through the real path of each destination, which no reader can see."""
    for ref, destination in context.destinations.items():
        follower = destination is not context.authoritative
        context.say(f"proving that {destination.describe()} takes a write")
        context.audit("destination.probe.intent", destination=ref)
        try:
            destination.preflight()
        except RotatorError as error:
            context.audit("destination.probe.outcome", destination=ref, ok=False, error=error.code)
            if kills_first(context.rotation) and follower:
                context.say(f"{destination.describe()} is left for later: {error.happened}")
                continue
            raise _no_store(context, error) if kills_first(context.rotation) else error from None
        context.audit("destination.probe.outcome", destination=ref, ok=True)


def _lives(context: Context, token: Secret, facts: ProjectFacts) -> bool:
    """Whether the stored token answers; decides what may be done when it does not."""
    answer = context.provider.ping(token)
    if answer is not PingAnswer.DEAD:
        return True
    trigger = context.rotation.trigger
    where = context.authoritative.describe()
    if trigger.by_a_person or trigger is Trigger.REHEARSAL or context.policy.on_out_of_band == "rotate":
        context.audit("token.found-dead", fingerprint=context.fingerprints.of(token), repaired=True)
        known = context.ledger.known(context.fingerprints.of(token))
        since = (
            f"known dead since {known.dead_since:%Y-%m-%d %H:%M} UTC"
            if known is not None and known.dead_since is not None
            else "since when is not known"
        )
        context.notes.append(f"The stored token was dead already, {since}; it was replaced.")
        return False
    raise NeedsAttention(
        "token-dead",
        f"The token in {where} is refused by the provider (401), and no rotation of ours explains it",
        then=(
            f"Nothing was changed; the provider says the project's token was made at {facts.token_generated_at}"
        ),
        remedy=(
            f"If nobody else manages this token, type `{context.policy.renewal}`; "
            "to let scheduled runs repair it, say `on_out_of_band: rotate`"
        ),
    )


def _try_verifiers(context: Context, token: Secret) -> None:
    """The verifiers must work with the token that is live now, or they could prove nothing later."""
    for verifier in context.verifiers:
        context.say(f"trying the {verifier.type} verifier with the present token")
        key = context.key("preflight", token)
        context.audit(
            "token.verify.intent", verifier=verifier.type, fingerprint=context.fingerprints.of(token)
        )
        attempt = _settled(context, verifier, token, key)
        context.audit("token.verify.outcome", verifier=verifier.type, verdict=attempt.verdict)
        check_identity(context.policy, attempt)
        if attempt.verdict is Verdict.PASSED:
            continue
        if context.rotation.urgent:
            context.notes.append(f"The {verifier.type} verifier did not work beforehand: {attempt.detail}.")
            continue
        error = Unreachable if attempt.verdict is Verdict.UNKNOWN else Refused
        raise error(
            f"The {verifier.type} verifier does not work with the token that is live now: {attempt.detail}",
            then="Nothing was changed, because afterwards it could not tell a good token from a bad one",
            remedy=f"Mend it or change `verify` in the policy; `rotator verify {context.policy.name}` tries it",
        )


def _settled(context: Context, verifier: Verifier, token: Secret, key: str) -> Attempt:
    for number in range(1, _TRIES + 1):
        attempt = verifier.verify(token, key=key)
        if attempt.verdict in (Verdict.PASSED, Verdict.FAILED) or number == _TRIES:
            break
        context.pause(context.timings.first_pause)
    return attempt


def check_identity(policy: Policy, attempt: Attempt) -> None:
    """Raises Refused when a test send shows that the stored token belongs to another project."""
    if attempt.project is not None and attempt.project not in policy.projects:
        raise Refused(
            f"The stored token belongs to project {attempt.project}, but the policy names {policy.project}",
            then="Nothing was changed: rotating that project would not replace this token",
            remedy="Correct `project` or the destination in the policy",
        )
