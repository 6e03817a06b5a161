"""Kill-only: readers' token dies although no store can be reached, and a later command publishes another.

Invariant: once the call may have been executed, the intent stands and the old token counts as dead, so that
whoever takes the rotation up mints again and never believes that nothing happened.
"""

from __future__ import annotations

from rotator.clock import Instant
from rotator.engine.context import Context, StepResult
from rotator.engine.exposure import measure, present
from rotator.engine.mint import announce, take_slot
from rotator.engine.preflight import list_destinations, warn_of_audit
from rotator.engine.recovery import await_deadline
from rotator.engine.sides import active_side
from rotator.engine.states import MINT_PUBLISH
from rotator.errors import (
    CredentialRejected,
    NeedsAttention,
    RateLimited,
    Refused,
    UnclearOutcome,
    Unreachable,
)
from rotator.journal.base import KnownToken
from rotator.model import Death, Form, Intent, StepOutcome
from rotator.provider.base import PingAnswer


def kill_only(context: Context) -> StepResult:
    """Ends when the token is dead, and leaves the rotation open: its next step mints and publishes.

    Whoever takes up an interrupted kill was not asked to leave it at that, and goes on at once.
    """
    if context.rotation.intent is None:
        _prepare(context)
    _kill(context)
    _prove(context)
    if context.resumed:
        return StepResult(StepOutcome.DONE, "killed", go_to=MINT_PUBLISH.name)
    context.attend(
        "token-dead",
        "The leaked token was killed and no new one is stored yet: no store could be reached",
        "Readers hold a dead token and send no mail; the next `rotator run` that reaches the store mints and "
        "publishes",
    )
    return StepResult(
        StepOutcome.DONE, "killed; nothing is published yet", go_to=MINT_PUBLISH.name, rest=True
    )


def _prepare(context: Context) -> None:
    warn_of_audit(context)
    leaked = context.old
    if leaked is not None and context.provider.ping(leaked) is PingAnswer.DEAD:
        raise Refused(
            "The leaked token is dead already (401)",
            then="Nothing was killed",
            remedy=f"`{context.policy.renewal}` puts a new one into the store once it is reached",
        )
    project = _project(context)
    list_destinations(context)
    context.change(
        incoming=project,
        outgoing=project,
        old_fingerprint=context.fingerprints.of(leaked) if leaked is not None else None,
    )


def _project(context: Context) -> str:
    """The project whose token readers hold; of a pair the leaked token tells, or the journal's last promote."""
    if context.policy.form is not Form.STANDBY:
        return context.rotation.project
    if context.old is not None:
        return active_side(context, context.old)
    if context.rotation.incoming is None:
        raise NeedsAttention(
            "out-of-band",
            "Nothing shows which of the two projects the leaked token belongs to: no store can be read, and the "
            "journal knows of no promote",
            then="Nothing was killed",
            remedy="Hand the leaked token in on standard input (`--leaked-stdin`)",
        )
    context.notes.append("Which project's token readers hold is the journal's word only.")
    return context.rotation.incoming


def _kill(context: Context) -> None:
    failure = "no clear answer"
    for _ in range(context.timings.mints):
        if _executed(context):
            return
        take_slot(context)
        project = context.rotation.minting
        facts = context.provider.project(project)
        sent = context.instant()
        former = context.rotation.intent
        known = context.rotation.old_fingerprint
        intent = Intent(
            project=project,
            sent=sent,
            deadline=sent.plus(context.timings.call + context.timings.settle),
            generated_at_before=former.generated_at_before if former else facts.token_generated_at,
            known_fingerprints=(known,) if known else (),
        )
        announce(context, intent, then="")
        assert context.rotation.intent is not None
        first = former.sent if former else context.rotation.intent.sent
        try:
            context.provider.rotate_token(project)
        except (Unreachable, CredentialRejected, Refused) as error:
            context.audit("mint.token.outcome", executed=False, error=str(error))
            context.save(intent=former)
            if not isinstance(error, RateLimited):
                raise
            context.say(f"{error.happened}; trying again in {error.retry_after:.0f} s")
            context.pause(error.retry_after)
            continue
        except UnclearOutcome as error:
            failure = error.happened
            context.audit("mint.token.outcome", executed=None, error=str(error))
            context.say(f"unclear answer to the kill: {failure}")
            continue
        _killed(context, first, context.instant())
        return
    if _executed(context):
        return
    raise NeedsAttention(
        "unclear",
        f"It is not known whether the leaked token was killed: {failure}",
        then="It may live; the next `rotator run` looks again and goes on",
        remedy="See that the provider can be reached, then `rotator run`",
    )


def _executed(context: Context) -> bool:
    """Whether a call of this rotation was executed; one without an answer is waited for and looked into."""
    intent = context.rotation.intent
    if intent is None:
        return False
    if context.rotation.death is not None and context.rotation.death.before is not None:
        return True
    await_deadline(context, intent)
    for number in range(2):
        if number:
            context.pause(context.timings.read_gap)
        seen = context.instant()
        if context.provider.project(intent.project).token_generated_at != intent.generated_at_before:
            _killed(context, intent.sent, seen)
            return True
    return False


def _killed(context: Context, after: Instant, before: Instant) -> None:
    context.ledger.forgiving = True
    context.change(death=Death(after=after, before=before))
    context.audit("mint.token.outcome", executed=True, kept=False)
    context.save()
    context.say("killed")


def _prove(context: Context) -> None:
    """Only a leaked token that was handed in can be presented: no store gives one back."""
    leaked, fingerprint = context.old, context.rotation.old_fingerprint
    if leaked is None or fingerprint is None:
        context.notes.append("Its death is proved once the store can be read.")
        return
    answer, attempts = present(context, leaked)
    context.audit(
        "token.prove-dead",
        fingerprint=fingerprint,
        answer=answer.value if answer else None,
        attempts=attempts,
    )
    if answer is PingAnswer.DEAD:
        now = context.clock.now()
        death = context.rotation.death
        measure(context, death.after if death else None)
        context.save(old_token_dead=True)
        context.ledger.remember(
            KnownToken(
                fingerprint,
                context.rotation.minting,
                context.policy.name,
                None,
                "adopted",
                now,
                dead_since=now,
            )
        )
    elif answer is PingAnswer.ALIVE:
        context.save(old_token_dead=False)
        context.attend(
            "old-token-alive",
            "The leaked token still works: rotate-token does not rotate it, so it was made in the dashboard or "
            "belongs to another project",
            "Revoke it in the Lettermint dashboard",
        )
