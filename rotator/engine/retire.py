"""Kill a token by calling rotate-token on its project and throwing the answer away, unseen.

A lost answer is no loss here. What must not happen is that the call is executed late, after a later
rotation has minted in that project: so an unclear one is waited for to its deadline, as any mint is.
"""

from __future__ import annotations

from rotator.engine.context import Context, StepResult
from rotator.engine.drain import used_again
from rotator.engine.mint import take_slot
from rotator.engine.preflight import await_room
from rotator.engine.promote import outgoing_token
from rotator.engine.recovery import await_deadline
from rotator.engine.resting import claim_of
from rotator.engine.states import DRAIN
from rotator.errors import (
    CredentialRejected,
    NeedsAttention,
    RateLimited,
    Refused,
    UnclearOutcome,
    Unreachable,
)
from rotator.model import Death, Intent, StepOutcome
from rotator.provider.base import PingAnswer


def retire(context: Context) -> StepResult:
    """Kills the outgoing project's token, once the one that replaces it is known to work."""
    outgoing = context.rotation.outgoing
    if outgoing is None:
        return StepResult(StepOutcome.SKIPPED, "there is no outgoing token")
    if not context.rotation.retired and context.rotation.retiring is None:
        await_room(context)  # so that what is looked at now is still so at the call
        _replacement_lives(context)
        if used := used_again(context, outgoing):
            return StepResult(StepOutcome.UNCLEAR, used, go_to=DRAIN.name)
        # Kept in memory for the proof of its death: soon no destination may give it back.
        outgoing_token(context)
    kill(context, outgoing)
    return StepResult(StepOutcome.DONE)


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
