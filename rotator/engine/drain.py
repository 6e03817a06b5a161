"""Drain: wait, on evidence, until a token that consumers are to leave is not used any more.

A resting state. One look is short, and everything it has to remember is in the record, so that the next
look may be another process's, after an upgrade, or a cron job's an hour later.
Invariant: no call of ours uses that token between its last verification and its death.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from rotator.clock import Instant
from rotator.engine.consumers import outstanding
from rotator.engine.context import Context, StepResult
from rotator.engine.recovery import answers
from rotator.engine.states import AWAIT, DRAIN, past_no_return
from rotator.errors import Refused, RotatorError
from rotator.model import DrainEvidence, Draining, DrainResult, Form, ProjectFacts, Rotation, StepOutcome

STUCK = "drain-stuck"
_ROLLOUT = 5.0
"""Seconds between two looks at consumers that nothing else waits for."""


def next_look(rotation: Rotation) -> float:
    """Seconds between two looks at a rotation that rests: in a drain a quarter of `quiet`, within 1 and 60."""
    if rotation.step == AWAIT.name:
        return _ROLLOUT
    return min(60.0, max(1.0, (rotation.drain.quiet_seconds if rotation.drain else 60.0) / 4))


def forced(draining: Draining | None) -> Draining | None:
    """The same drain, ended by a person."""
    return None if draining is None else replace(draining, result=DrainResult.FORCED)


def drain(context: Context) -> StepResult:
    """One look. DONE when the outgoing token may be retired; else the rotation rests here.

    In an emergency it ends after the time that was given, whoever still uses the outgoing token.
    """
    if context.rotation.retired:
        return StepResult(StepOutcome.SKIPPED, "the outgoing token is retired already")
    if context.rotation.outgoing is None and context.rotation.step == DRAIN.name:
        return StepResult(StepOutcome.SKIPPED, "there is no outgoing token")
    assert context.rotation.promoted is not None
    # A later promote begins a drain of its own.
    draining = look_at(context, context.rotation.promoted, context.rotation.outgoing)
    apart = _not_read_back(context)
    due = context.rotation.emergency is not None and _result(context, draining) is not DrainResult.WAITING
    if apart and due:
        context.attend(
            "destination-behind",
            f"The leaked token is retired although readers may still get it: {apart}",
            "Mend it, then `rotator run` writes the new token there",
        )
    elif apart:
        context.save(drain=draining)
        context.attend(
            "destination-behind",
            f"The drain waits, because readers may still get the outgoing token: {apart}",
            "Mend it, then `rotator run` goes on",
        )
        return StepResult(StepOutcome.FAILED, apart, rest=True)
    else:
        context.ledger.settle(context.rotation, ("destination-behind",))
    if dead := _promoted_is_dead(context):
        context.save(drain=draining)
        return _cut_off(context, dead)
    return judge(context, draining)


def begun_since(context: Context, since: Instant) -> Draining | None:
    """The drain that has begun with this moment, where there is one."""
    kept = context.rotation.drain
    return kept if kept is not None and kept.since == since else None


def look_at(context: Context, since: Instant, project: str | None) -> Draining:
    """The drain that has begun with this moment, or a new one, with one more look at its token's project."""
    draining = _hurried(context, begun_since(context, since) or _begun(context, since, project))
    if draining.evidence is DrainEvidence.TIME:
        return replace(draining, looked=context.instant())
    assert project is not None
    facts = context.provider.project(project)
    now = context.instant()
    first = draining.quiet_since is None
    if first or used_since(draining, facts):
        if not first:
            context.say(
                f"the {leaving(context.rotation)} was used again, "
                f"from {facts.token_last_used_ip or 'an unknown address'}"
            )
        return replace(
            draining,
            looked=now,
            quiet_since=now,
            last_used_at=facts.token_last_used_at,
            last_used_ip=facts.token_last_used_ip,
        )
    return replace(draining, looked=now)


def judge(context: Context, draining: Draining) -> StepResult:
    """What a look leads to: DONE when the token may die, else the rotation rests."""
    before = begun_since(context, draining.since)
    behind = outstanding(context)
    draining = replace(draining, result=_result(context, draining, behind))
    context.save(drain=draining)
    if draining.result is DrainResult.WAITING:
        return StepResult(StepOutcome.DONE, waiting_for(context, draining, behind), rest=True)
    holds = context.policy.drain.on_max == "hold" and context.rotation.emergency is None
    if draining.result is DrainResult.MAX and holds:
        stuck_before = before is not None and before.result is DrainResult.MAX
        return _stuck(context, draining, behind, before=before if stuck_before else None)
    context.ledger.settle(context.rotation, (STUCK,))
    context.audit("drain.end", result=draining.result, last_used_at=draining.last_used_at)
    return StepResult(StepOutcome.DONE, _ended(context, draining))


def leaving(rotation: Rotation) -> str:
    """The token whose use a drain waits out, in words."""
    return "token that was given up" if rotation.abandoned else "outgoing token"


def _killed(rotation: Rotation) -> str:
    return "killed" if rotation.abandoned else "retired"


def _begun(context: Context, since: Instant, project: str | None) -> Draining:
    policy = context.policy.drain
    # In one project several tokens share one `token_last_used_at`: it says nothing about one of them.
    evidence = DrainEvidence.LAST_USED if context.rotation.form is Form.STANDBY else DrainEvidence.TIME
    context.audit("drain.start", of=project, evidence=evidence, min=policy.min.total_seconds())
    return Draining(
        since=since,
        evidence=evidence,
        min_seconds=policy.min.total_seconds(),
        quiet_seconds=policy.quiet.total_seconds(),
        max_seconds=policy.max.total_seconds(),
    )


def _hurried(context: Context, draining: Draining) -> Draining:
    """In an emergency no drain takes longer than was said."""
    if context.rotation.emergency is None:
        return draining
    limit = context.rotation.emergency.drain
    return replace(
        draining,
        min_seconds=min(draining.min_seconds, limit),
        max_seconds=min(draining.max_seconds, limit),
    )


def _not_read_back(context: Context) -> str:
    """Why not every destination is known to serve the new token; empty when all do."""
    wanted = context.rotation.new_fingerprint
    if context.rotation.step == DRAIN.name and context.rotation.form is Form.BRIDGE:
        wanted = context.rotation.bridge_fingerprint
    apart = []
    for destination in context.destinations.values():
        try:
            value = destination.read().value_if_token
        except RotatorError as error:
            apart.append(f"{destination.describe()}: {error.happened}")
            continue
        if value is None or context.fingerprints.of(value) != wanted:
            apart.append(f"{destination.describe()} does not serve the token that was promoted")
    return "; ".join(apart)


def _promoted_is_dead(context: Context) -> str:
    """Why readers hold a dead token although they were given a living one, in words; empty where nothing shows it.

    It is presented only where that spoils no evidence: a mint's own token once its project's time has moved, one that
    the provider's metadata does not describe at each look.
    """
    rotation = context.rotation
    by_hand = rotation.form is Form.ASSISTED or (rotation.form is Form.BRIDGE and rotation.step == DRAIN.name)
    if not by_hand:
        made = context.provider.project(rotation.minting).token_generated_at
        if rotation.generated_at_after in (None, made):
            return ""
    token = context.authoritative.read().value_if_token
    if token is None or answers(context, token):
        return ""
    return f"The token that {context.authoritative.describe()} was given is refused by the provider (401)"


def _cut_off(context: Context, dead: str) -> StepResult:
    """Readers need another token now. While the outgoing one lives a person can go back to it."""
    name = context.policy.name
    if past_no_return(context.rotation):
        context.attend("token-dead", dead, f"`{context.policy.renewal}` puts a new one there")
        return StepResult(StepOutcome.DONE, dead)
    context.attend(
        "token-dead",
        f"{dead}; the outgoing one was not retired",
        f"`rotator rollback {name}` makes the outgoing token current again",
    )
    return StepResult(StepOutcome.FAILED, dead, rest=True)


def _result(context: Context, draining: Draining, behind: Sequence[str] = ()) -> DrainResult:
    """`behind`: consumers that have not taken the new token yet, and may come to need the outgoing one."""
    if draining.result is DrainResult.FORCED:
        return draining.result
    now = context.instant()
    waited = draining.since.seconds_until(now)
    if waited < draining.min_seconds:
        return DrainResult.WAITING
    if not (_in_use(draining, now) or behind):
        return DrainResult.QUIET
    return DrainResult.MAX if waited >= draining.max_seconds else DrainResult.WAITING


def _in_use(draining: Draining, now: Instant) -> bool:
    """Whether the evidence, where there is any, does not show it unused for long enough."""
    return draining.evidence is DrainEvidence.LAST_USED and quiet_for(draining, now) < draining.quiet_seconds


def used_since(draining: Draining, facts: ProjectFacts) -> bool:
    """Whether the token was used since a look. The time has whole seconds, so the address counts too."""
    seen = (draining.last_used_at, draining.last_used_ip)
    return (facts.token_last_used_at, facts.token_last_used_ip) != seen


def used_again(context: Context, project: str) -> str:
    """The drain may have ended long ago, in another process: whether its token was used since, in words."""
    draining = context.rotation.drain
    if draining is None or draining.result is not DrainResult.QUIET:
        return ""
    if draining.evidence is not DrainEvidence.LAST_USED:
        return ""
    facts = context.provider.project(project)
    if not used_since(draining, facts):
        return ""
    where = facts.token_last_used_ip or "an unknown address"
    return f"the {leaving(context.rotation)} was used after its drain, from {where}: it drains on"


def quiet_for(draining: Draining, now: Instant) -> float:
    """Seconds for which the token is known not to have been used, on our clock."""
    return draining.quiet_since.seconds_until(now) if draining.quiet_since is not None else 0.0


def refuse_if_used(rotation: Rotation, now: Instant) -> None:
    """Raises Refused unless the token is known not to have been used for as long as the policy asks."""
    draining = rotation.drain
    what = leaving(rotation)
    if draining is not None and draining.evidence is DrainEvidence.TIME:
        raise Refused(
            f"Nothing tells whether the {what} of {rotation.policy} is still used",
            then=f"It was not {_killed(rotation)}; the drain ends by time",
            remedy=f"`rotator retire {rotation.policy} --force` ends it although the token may be in use",
        )
    if draining is None or quiet_for(draining, now) >= draining.quiet_seconds:
        return
    where = f" from {draining.last_used_ip}" if draining.last_used_ip else ""
    raise Refused(
        f"The {what} of {rotation.policy} was used at {draining.last_used_at or 'a time not told'}{where}, "
        f"and is not known to be unused since {_span(draining.quiet_seconds)}",
        then=f"It was not {_killed(rotation)}",
        remedy=f"`rotator retire {rotation.policy} --force` kills it although it may be in use",
    )


def waiting_for(context: Context, draining: Draining, behind: Sequence[str] = ()) -> str:
    """What a waiting drain still needs, in words."""
    now = context.instant()
    left = draining.min_seconds - draining.since.seconds_until(now)
    parts = []
    if left > 0:
        parts.append(f"at least {_span(left)} more")
    if draining.evidence is DrainEvidence.LAST_USED:
        quiet = draining.quiet_seconds - quiet_for(draining, now)
        if quiet > 0:
            parts.append(f"the {leaving(context.rotation)} unused for {_span(quiet)} more")
    parts += behind
    if context.rotation.emergency is not None:
        parts = [
            f"at most {_span(draining.max_seconds - draining.since.seconds_until(now))} more, as it has leaked"
        ]
    return "draining: " + " and ".join(parts or ["one more look"])


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(1, round(seconds))))


def _stuck(
    context: Context, draining: Draining, behind: Sequence[str], *, before: Draining | None
) -> StepResult:
    """`before`: the drain at the earlier look that has found it stuck, and audited that."""
    where = draining.last_used_ip or "an address the provider does not tell"
    used = _in_use(draining, context.instant())
    name, given_up = context.policy.name, bool(context.rotation.abandoned)
    message = (
        f"The {leaving(context.rotation)} is still in use after {_span(draining.max_seconds)}, last at "
        f"{draining.last_used_at} from {where}"
        if used
        else f"After {_span(draining.max_seconds)} consumers have not taken the {'outgoing' if given_up else 'new'} "
        f"token{' again' if given_up else ''}: {'; '.join(behind)}"
    )
    context.attend(
        STUCK,
        message,
        f"{'Find the consumer there and restart it' if used else 'Mend what keeps them'}; the next `rotator run` "
        f"looks again. `rotator retire {name} --force` ends it now"
        + ("" if given_up else f", `rotator rollback {name}` goes back"),
    )
    if before is None or before.last_used_at != draining.last_used_at:
        context.audit("drain.stuck", last_used_at=draining.last_used_at, last_used_ip=draining.last_used_ip)
    return StepResult(StepOutcome.FAILED, message, rest=True)


def _ended(context: Context, draining: Draining) -> str:
    if draining.result is DrainResult.FORCED:
        return "ended by a person"
    if draining.result is DrainResult.MAX and context.rotation.emergency is not None:
        return f"{_killed(context.rotation)} after {_span(draining.max_seconds)}, in use or not, because it has leaked"
    if draining.result is DrainResult.MAX:
        return f"still used from {draining.last_used_ip}; {_killed(context.rotation)} at `max`, as the policy says"
    if draining.evidence is DrainEvidence.TIME:
        return "by time: the provider does not tell the use of this token apart from that of the project's others"
    return f"the {leaving(context.rotation)} was not used any more"
