"""Kill a token by calling rotate-token on its project and throwing the answer away, unseen.

A lost answer is no loss here. What must not happen is that the call is executed late, after a later
rotation has minted in that project: so an unclear one is waited for to its deadline, as any mint is.
"""

from __future__ import annotations

from rotator.engine.context import Context, StepResult
from rotator.engine.drain import used_since
from rotator.engine.exposure import killed_from, measure, present
from rotator.engine.mint import take_slot
from rotator.engine.preflight import await_room
from rotator.engine.promote import outgoing_token
from rotator.engine.recovery import await_deadline
from rotator.engine.resting import claim_of
from rotator.engine.sides import served_of
from rotator.engine.states import DRAIN
from rotator.errors import (
    CredentialRejected,
    NeedsAttention,
    RateLimited,
    Refused,
    UnclearOutcome,
    Unreachable,
)
from rotator.model import Death, DrainEvidence, DrainResult, Form, Intent, StepOutcome
from rotator.provider.base import PingAnswer
from rotator.secret import Secret


def retire(context: Context) -> StepResult:
    """Kills the outgoing project's token, once the one that replaces it is known to work."""
    outgoing = context.rotation.outgoing
    if outgoing is None:
        return StepResult(StepOutcome.SKIPPED, "there is no outgoing token")
    if not context.rotation.retired and context.rotation.retiring is None:
        await_room(context)  # so that what is looked at now is still so at the call
        _replacement_lives(context)
        if used := _used_again(context):
            return StepResult(StepOutcome.UNCLEAR, used, go_to=DRAIN.name)
        # Kept in memory for the proof of its death: soon no destination may give it back.
        outgoing_token(context)
    kill(context, outgoing)
    return StepResult(StepOutcome.DONE)


def discard(context: Context) -> StepResult:
    """Removes what was staged, and kills the token in it so that nothing live is left behind."""
    rotation = context.rotation
    leaked = _staged_or_served(context) if rotation.emergency is not None else None
    for destination in context.destinations.values():
        destination.discard()
    if rotation.form is Form.ASSISTED:
        lives = "The token that was handed in still lives"
        if rotation.emergency is not None:
            context.attend(
                "old-token-alive", f"{lives}, and it has leaked", "Revoke it in the Lettermint dashboard"
            )
        else:
            context.notes.append(f"{lives}: hand it in again, or revoke it in the Lettermint dashboard.")
        return StepResult(StepOutcome.DONE, "the token that was handed in is a person's to revoke")
    if rotation.form is not Form.STANDBY or rotation.intent is None:
        return StepResult(StepOutcome.DONE)
    assert rotation.incoming is not None
    if (
        rotation.emergency is None
        and rotation.retiring is None
        and (served := served_of(context, rotation.incoming))
    ):
        context.attend(
            "out-of-band",
            f"{served}; so the token that was minted there for this rotation was not killed",
            f"Find out who put it there. `{context.policy.renewal}` begins anew from what is served",
        )
        return StepResult(StepOutcome.FAILED, served)
    kill(context, rotation.incoming)
    if leaked is not None:
        _prove(context, leaked)
    return StepResult(StepOutcome.DONE, "the token minted for it was killed by a further mint")


def _staged_or_served(context: Context) -> Secret | None:
    """The token that was minted for the rotation, wherever a destination still has it."""
    wanted = context.rotation.new_fingerprint
    if wanted is None or context.new is not None:
        return context.new
    for destination in context.destinations.values():
        staged = destination.read_staged()
        for value in (staged.value if staged else None, destination.read().value_if_token):
            if value is not None and context.fingerprints.of(value) == wanted:
                return value
        recalled = destination.recall(lambda one: context.fingerprints.of(one) == wanted)
        if recalled is not None:
            return recalled
    return None


def _prove(context: Context, leaked: Secret) -> None:
    """The token that was given up has leaked: its death is proved, and the exposure measured."""
    answer, attempts = present(context, leaked)
    context.audit(
        "token.prove-dead",
        fingerprint=context.rotation.new_fingerprint,
        answer=answer.value if answer else None,
        attempts=attempts,
    )
    if answer is PingAnswer.DEAD:
        measure(context, killed_from(context.rotation))
        context.save()
    elif answer is PingAnswer.ALIVE:
        context.attend(
            "old-token-alive",
            "The leaked token still works although its project was rotated",
            "Revoke it in the Lettermint dashboard",
        )


def kill(context: Context, project: str) -> None:
    """Ends when rotate-token was executed on the project. Raises as `Provider.rotate_token` does."""
    failure = "no clear answer"
    for _ in range(context.timings.mints):
        if _killed(context, project):
            return
        try:
            _call(context, project)
        except UnclearOutcome as error:
            failure = error.happened
            context.audit("retire.token.outcome", executed=None, error=str(error))
            context.say(f"unclear answer while retiring: {failure}")
    if not _killed(context, project):
        raise NeedsAttention(
            "unclear",
            f"The token of project {project} could not be killed: {failure}",
            then="Readers hold another one, which lives; the next `rotator run` tries again",
            remedy="See that the provider can be reached, then `rotator run`",
        )


def _killed(context: Context, project: str) -> bool:
    """Whether a call of this rotation was executed; one without an answer is waited for and looked into."""
    sent = context.rotation.retiring
    if sent is None or sent.project != project:
        return False
    return context.rotation.retired or _was_executed(context, sent)


def _call(context: Context, project: str) -> None:
    take_slot(context)
    sent = context.instant()
    intent = Intent(
        project=project,
        sent=sent,
        deadline=sent.plus(context.timings.call + context.timings.settle),
        generated_at_before=context.provider.project(project).token_generated_at,
        known_fingerprints=(),
    )
    former = context.rotation.retiring
    context.stop.check()
    context.audit("retire.token.intent", of=project, generated_at_before=intent.generated_at_before)
    context.save(retiring=intent, retired=False)
    context.limiter.sending("rotate", claim_of(context.rotation))
    context.ledger.fence()
    context.say("retiring")
    try:
        context.provider.rotate_token(project)
    except (Unreachable, CredentialRejected, Refused) as error:
        context.audit("retire.token.outcome", executed=False, error=str(error))
        context.save(retiring=former)
        if isinstance(error, RateLimited):
            context.pause(error.retry_after)
            return
        raise
    received = context.instant()
    context.ledger.forgiving = True
    context.change(retired=True, death=Death(after=intent.sent, before=received))
    context.audit("retire.token.outcome", executed=True, of=project)
    context.save()


def _was_executed(context: Context, intent: Intent) -> bool:
    """Whether an unclear call was executed, once it cannot be executed any more."""
    await_deadline(context, intent)
    seen = context.instant()
    if context.provider.project(intent.project).token_generated_at == intent.generated_at_before:
        context.pause(context.timings.read_gap)
        if context.provider.project(intent.project).token_generated_at == intent.generated_at_before:
            return False
    context.change(retired=True, death=Death(after=intent.sent, before=seen))
    context.audit("retire.token.outcome", executed=True, of=intent.project, found=True)
    context.save()
    return True


def _used_again(context: Context) -> str:
    """The drain may have ended long ago, in another process: whether the token was used since, in words."""
    draining = context.rotation.drain
    if draining is None or draining.result is not DrainResult.QUIET:
        return ""
    if draining.evidence is not DrainEvidence.LAST_USED:
        return ""
    assert context.rotation.outgoing is not None
    facts = context.provider.project(context.rotation.outgoing)
    if not used_since(draining, facts):
        return ""
    where = facts.token_last_used_ip or "an unknown address"
    return f"the outgoing token was used after its drain, from {where}: it drains on"


def _replacement_lives(context: Context) -> None:
    """The last look before the call that cannot be taken back."""
    for destination in context.destinations.values():
        try:
            value = destination.read().value_if_token
        except Unreachable:
            if context.rotation.emergency is None or destination is context.authoritative:
                raise
            continue
        if value is None or context.fingerprints.of(value) != context.rotation.new_fingerprint:
            if context.rotation.emergency is not None and destination is not context.authoritative:
                continue  # it has leaked: the drain has told who is behind
            raise NeedsAttention(
                "destination-behind",
                f"{destination.describe()} does not serve the new token any more",
                then="The outgoing token was not retired; its readers may still need it",
                remedy=f"`rotator reconcile {context.policy.name}` says what is true",
            )
        if context.provider.ping(value) is PingAnswer.DEAD:
            raise NeedsAttention(
                "token-dead",
                f"The new token in {destination.describe()} is refused by the provider (401)",
                then="The outgoing token was not retired",
                remedy=f"`rotator rollback {context.policy.name}` makes the outgoing token current again",
            )
