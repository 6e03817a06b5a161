"""The steps after the point of no return that every strategy shares; those of `in-place` alone among them.

A step first asks the world whether it is already done, so that running it again is free.
"""

from __future__ import annotations

from dataclasses import replace

from rotator.clock import parse_rfc3339
from rotator.engine.consumers import BEHIND
from rotator.engine.context import Context, StepResult
from rotator.engine.exposure import killed_from, measure, present
from rotator.engine.recovery import answers
from rotator.engine.states import AWAIT, CLOSE, MINT_PUBLISH, PROMOTE, PROVE_DEAD, VERIFY, overlaps
from rotator.engine.summary import summary
from rotator.errors import NeedsAttention, RotatorError, Unreachable
from rotator.journal.base import KnownToken
from rotator.model import Bounds, DestinationState, Rotation, Slot, State, StepOutcome, Verified
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
