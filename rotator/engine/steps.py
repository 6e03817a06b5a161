"""The steps after the point of no return that every strategy shares; those of `in-place` alone among them.

A step first asks the world whether it is already done, so that running it again is free.
"""

from __future__ import annotations

from dataclasses import replace

from rotator.clock import parse_rfc3339
from rotator.engine.context import Context, StepResult
from rotator.engine.exposure import killed_from, measure, present
from rotator.engine.states import MINT_PUBLISH
from rotator.errors import NeedsAttention, RotatorError, Unreachable
from rotator.journal.base import KnownToken
from rotator.model import Slot, StepOutcome, Verified
from rotator.provider.base import PingAnswer
from rotator.secret import Secret
from rotator.verifiers.base import Verdict, Verifier


def verify(context: Context) -> StepResult:
    """Reads the token where consumers read it and uses it as they do.

    A failure is an alarm and never a rollback: what readers held before is dead.
    """
    token = served(context, context.rotation.new_fingerprint)
    results = verify_with_all(context, token)
    context.save(verified=results)
    failed = [result for result in results if not result.ok]
    if _minted_after_us(context) or (failed and _killed_by_our_own(context, token)):
        return _superseded(context)
    if not failed:
        context.ledger.settle(context.rotation, ("verification-failed",))
        return StepResult(StepOutcome.DONE)
    what = "; ".join(f"{result.type}: {result.detail}" for result in failed)
    context.attend(
        "verification-failed",
        f"The new token is stored, but does not pass verification: {what}",
        f"Readers hold the newest token there is. `rotator verify {context.policy.name}` tries again; "
        f"`{context.policy.renewal}` makes another one",
    )
    return StepResult(StepOutcome.FAILED, what)


def verify_with_all(context: Context, token: Secret) -> tuple[Verified, ...]:
    """Each verifier's answer, after as many attempts as propagation may need."""
    return tuple(_verify_with(context, verifier, token) for verifier in context.verifiers)


def served(context: Context, fingerprint: str | None) -> Secret:
    """The token that readers get; must be the one this rotation published."""
    where = context.authoritative.describe()
    failure = f"{where} does not serve the new token"
    for _ in context.attempts(context.timings.propagation):
        try:
            value = context.authoritative.read().value_if_token
        except RotatorError as error:
            if not error.retryable:
                raise
            failure = error.happened
            continue
        if value is not None and context.fingerprints.of(value) == fingerprint:
            return value
        failure = f"{where} holds something else than the token that was just written"
        context.ledger.check_lease()  # whoever took over may have written it, and then nothing is to be waited for
    raise NeedsAttention(
        "out-of-band",
        failure,
        then="The next `rotator run` looks again",
        remedy=f"Find out who wrote there; `{context.policy.renewal}` puts a new token in its place, "
        f"`rotator reconcile {context.policy.name}` says what is true",
    )


def _verify_with(context: Context, verifier: Verifier, token: Secret) -> Verified:
    context.say(f"verifying ({verifier.type})")
    fingerprint = context.fingerprints.of(token)
    key = context.key("verify", token)
    context.audit("token.verify.intent", verifier=verifier.type, fingerprint=fingerprint)
    number, detail, ok = 0, "", False
    for number in context.attempts(context.timings.propagation):  # noqa: B007  # read after the loop
        attempt = verifier.verify(token, key=key)
        detail, ok = attempt.detail, attempt.verdict is Verdict.PASSED
        if ok and attempt.project is not None and attempt.project != context.rotation.minting:
            ok, detail = False, f"the token belongs to project {attempt.project}"
            break
        if attempt.verdict in (Verdict.PASSED, Verdict.FAILED):
            break
    context.audit(
        "token.verify.outcome", verifier=verifier.type, fingerprint=fingerprint, ok=ok, attempts=number
    )
    return Verified(verifier.type, ok, number, detail)


def _minted_after_us(context: Context) -> bool:
    """Whether the provider's time of generation has moved past that of our mint.

    Both values are the provider's; a reading that lags shows an earlier one and proves nothing.
    """
    ours = context.rotation.generated_at_after
    try:
        facts = context.told[context.rotation.minting] = context.provider.project(context.rotation.minting)
    except Unreachable as error:
        context.say(f"could not read the project again: {error.happened}")
        return False
    theirs = facts.token_generated_at
    if ours is None or theirs is None or ours == theirs:
        return False
    try:
        return parse_rfc3339(theirs) > parse_rfc3339(ours)
    except ValueError:
        return True


def _killed_by_our_own(context: Context, token: Secret) -> bool:
    """Whether an earlier unclear call of this rotation explains that the new token is refused.

    The provider's times have whole seconds, so two mints within one second look like one.
    """
    if not context.rotation.loose:
        return False
    try:
        return context.provider.ping(token) is PingAnswer.DEAD
    except Unreachable:
        return False


def _superseded(context: Context) -> StepResult:
    """Somebody minted after our mint: a late call of our own, or somebody else."""
    rotation = context.rotation
    if rotation.loose and rotation.intent and rotation.death and rotation.new_fingerprint:
        # One of our own unclear calls was executed after all, later than its deadline.
        context.say("an earlier call was executed late and killed the new token: minting again")
        context.audit("token.superseded", fingerprint=rotation.new_fingerprint, own=True)
        context.save(
            minted=False,
            loose=rotation.loose - 1,
            # It may answer for a while, and must not be taken for the one that is minted next.
            intent=replace(
                rotation.intent,
                known_fingerprints=(*rotation.intent.known_fingerprints, rotation.new_fingerprint),
            ),
            # It served readers meanwhile: only a dead token seen from now on is outage for certain.
            death=replace(rotation.death, before=None),
        )
        return StepResult(StepOutcome.UNCLEAR, "an earlier mint was executed late", go_to=MINT_PUBLISH.name)
    context.audit("token.superseded", fingerprint=context.rotation.new_fingerprint, own=False)
    raise NeedsAttention(
        "out-of-band",
        "Somebody else minted a token for this project right after us; ours may be dead",
        then="Nothing further was changed; readers hold what this rotation stored",
        remedy=f"Find out who; `{context.policy.renewal}` makes a token that is ours again",
    )


def prove_dead(context: Context) -> StepResult:
    """Presents the old token until it is refused."""
    rotation = context.rotation
    if rotation.old_fingerprint is None:
        return StepResult(StepOutcome.SKIPPED, "there was no old token")
    try:
        old = context.old or _recall(context)
    except Unreachable as error:
        return _not_proved(context, f"Its last copy could not be read: {error.happened}")
    if old is None and rotation.old_token_dead is False:
        context.attend(
            "old-token-alive",
            "The old token still worked when it was last presented, and no destination keeps it any more",
            "Make sure that it is revoked in the Lettermint dashboard; it cannot be presented again, and the "
            "next completed rotation takes this notice away",
        )
        return StepResult(StepOutcome.FAILED, "the old token cannot be presented any more")
    context.old = old
    if old is None:
        return StepResult(
            StepOutcome.SKIPPED, "no destination keeps the old token, so it cannot be presented"
        )
    answer, attempts = present(context, old)
    context.audit(
        "token.prove-dead",
        fingerprint=rotation.old_fingerprint,
        answer=answer.value if answer else None,
        attempts=attempts,
    )
    if answer is PingAnswer.DEAD:
        if rotation.emergency is not None and rotation.emergency.slot in (Slot.ACTIVE, Slot.OUTGOING):
            measure(context, killed_from(rotation))
        context.save(old_token_dead=True)
        context.ledger.remember(_died(context))
        context.ledger.settle(context.rotation, ("old-token-alive", "unclear"))
        return StepResult(StepOutcome.DONE, f"401 at attempt {attempts}")
    if answer is None:
        return _not_proved(context, "The provider could not be asked")
    if answer is PingAnswer.FORBIDDEN:
        return _not_proved(
            context, "The provider answered 403, which tells neither: an IP restriction, perhaps"
        )
    context.save(old_token_dead=False)
    context.attend(
        "old-token-alive",
        "The old token still works: rotate-token does not rotate it, so it was made in the dashboard or "
        "belongs to another project",
        "Revoke it in the Lettermint dashboard; the next `rotator run` presents it again",
    )
    return StepResult(StepOutcome.FAILED, "the old token is still accepted")


def _not_proved(context: Context, why: str) -> StepResult:
    context.attend(
        "unclear",
        f"The old token is not proved dead. {why}",
        "The next `rotator run` presents it again",
    )
    return StepResult(StepOutcome.UNCLEAR, why)


def _died(context: Context) -> KnownToken:
    now = context.clock.now()
    fingerprint = context.rotation.old_fingerprint
    assert fingerprint is not None
    return KnownToken(
        fingerprint=fingerprint,
        project=context.rotation.outgoing or context.rotation.project,
        policy=context.policy.name,
        rotation=None,
        origin="adopted",
        first_seen=now,
        dead_since=now,
    )


def _recall(context: Context) -> Secret | None:
    """The old token from the versions that destinations still keep, after a restart.

    Raises Unreachable if it was not found and a destination that may keep it could not be asked.
    """
    away: Unreachable | None = None
    for destination in context.destinations.values():
        try:
            found = destination.recall(
                lambda value: context.fingerprints.of(value) == context.rotation.old_fingerprint
            )
        except RotatorError as error:
            context.say(f"{destination.describe()} could not be searched: {error.happened}")
            away = error if isinstance(error, Unreachable) else away
            continue
        if found is not None:
            return found
    if away is not None:
        raise away
    return None
