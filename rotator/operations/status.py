"""`status`: where every policy stands, from the journal alone unless it is asked to refresh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial

from rotator.clock import Clock
from rotator.engine.ports import Ports
from rotator.engine.sides import latest, remembered_side
from rotator.engine.states import past_no_return, way_of
from rotator.errors import RateLimited, RotatorError
from rotator.journal.base import Journal
from rotator.model import Attention, Bounds, Decision, Policy, Rotation, State
from rotator.operations import outside, rehearsals
from rotator.operations.agreement import note_differences, unread_errors
from rotator.operations.anchor import anchor_of
from rotator.operations.notices import with_untold
from rotator.operations.several import side_by_side, with_room
from rotator.planner import Facts, decide
from rotator.policies.schedule import NextCron
from rotator.rehearsal import rehearsal_name
from rotator.views import PolicyStatus, RehearsalStatus


def refresh(
    ports: Ports, policies: Iterable[Policy], wait: Callable[[float, int], None] | None = None
) -> list[tuple[str, RotatorError]]:
    """Asks the provider about every project and keeps what it says; looks at what the destinations hold, and raises
    attention for what somebody else changed, or where they disagree. Returns what could not be found out, by policy.
    `wait` takes the seconds until the rate limit for reading has room again, and for how many policies; without it
    they are among those.
    """
    unknown: dict[str, list[RotatorError]] = {}

    def ask(some: Sequence[Policy]) -> list[tuple[Policy, float]]:
        limited = []
        found = side_by_side({policy.name: partial(_refresh, ports, policy) for policy in some})
        for (name, told), policy in zip(found, some, strict=True):
            unknown[name] = [told] if isinstance(told, RotatorError) else told
            if isinstance(told, RateLimited):
                limited.append((policy, told.retry_after))
        return limited

    with_room(ask, tuple(policies), wait)
    return [(name, error) for name, errors in unknown.items() for error in errors]


def _refresh(ports: Ports, policy: Policy) -> list[RotatorError]:
    told = outside.projects(ports, policy)
    side = outside.side_of(ports, policy)
    seen = outside.inspect(ports, policy, told, side)
    outside.note(ports, policy, told, side, seen)
    for facts in told.values():
        if not outside.has_moved(ports.journal, facts):
            ports.journal.remember_project(facts, ports.clock.now())
    if seen.agreement is None:
        return list(seen.errors)
    note_differences(ports, policy, seen.agreement)
    return [*seen.errors, *unread_errors(seen.agreement)]


def statuses(
    journal: Journal,
    clock: Clock,
    policies: Iterable[Policy],
    next_cron: NextCron,
) -> list[PolicyStatus]:
    """One entry per policy, in the order given; then one for each rotation whose policy is gone."""
    policies = tuple(policies)
    attention: dict[str, list[Attention]] = {}
    for entry in journal.attentions():
        attention.setdefault(entry.policy, []).append(entry)
    open_rotations = {rotation.policy: rotation for rotation in journal.unfinished()}
    held = journal.holds()
    names = {policy.name for policy in policies}
    orphans = [
        _orphan(open_rotations[name], tuple(entries))
        for name, entries in attention.items()
        if name not in names and name in open_rotations and any(one.code == "orphan" for one in entries)
    ]
    found = [
        _status(
            journal,
            clock.now(),
            policy,
            next_cron,
            tuple(attention.get(policy.name, ())),
            open_rotations.get(policy.name),
            held=policy.name in held,
            rehearsal=rehearsals.status_of(
                journal,
                policy,
                next_cron,
                clock.now(),
                attention=tuple(attention.get(rehearsal_name(policy.name), ())),
                held=rehearsal_name(policy.name) in held,
            ),
        )
        for policy in policies
    ]
    return with_untold(journal, [*found, *orphans])


def _orphan(rotation: Rotation, attention: tuple[Attention, ...]) -> PolicyStatus:
    return PolicyStatus(
        name=rotation.policy,
        project=rotation.project,
        active_project=None,
        strategy=rotation.strategy.value,
        state="needs-attention",
        token_generated_at=None,
        age_seconds=None,
        next_due_at=None,
        overdue=False,
        reason="its policy is gone",
        last_outcome=rotation.state.value,
        last_outage=rotation.outage,
        rotation=rotation,
        attention=attention,
        way=_way(rotation),
    )


def _status(
    journal: Journal,
    now: datetime,
    policy: Policy,
    next_cron: NextCron,
    attention: tuple[Attention, ...],
    unfinished: Rotation | None,
    *,
    held: bool,
    rehearsal: RehearsalStatus | None,
) -> PolicyStatus:
    active = remembered_side(journal, policy)
    remembered = journal.project_facts(active)
    decision: Decision | None = None
    generated: datetime | None = None
    reason = "the provider was not asked yet; `--refresh` asks it"
    if remembered is not None:
        try:
            generated = anchor_of(journal, policy, remembered[0])
            known = Facts(generated, next_cron, held=held, unfinished=unfinished is not None)
            decision = decide(policy, known, now)
            reason = decision.reason
        except RotatorError as error:
            reason = error.happened
    last, outage = _of_late(journal, policy)
    return PolicyStatus(
        name=policy.name,
        project=policy.project,
        active_project=active,
        strategy=policy.strategy.value,
        state=_state(decision, attention, unfinished, held=held),
        token_generated_at=generated,
        age_seconds=round((now - generated).total_seconds(), 3) if generated else None,
        next_due_at=decision.due_at if decision else None,
        overdue=bool(decision and decision.overdue),
        reason=reason,
        last_outcome=last,
        last_outage=outage,
        rotation=unfinished,
        attention=attention,
        owner=policy.owner,
        way=_way(unfinished),
        rehearsal=rehearsal,
    )


def _of_late(journal: Journal, policy: Policy) -> tuple[str | None, Bounds | None]:
    """How the latest rotation stands, and the last outage that was measured."""
    last: str | None = None
    for one in latest(journal, policy.name):
        last = last or one.state.value
        if one.outage is not None:
            return last, one.outage
    return last, None


def _way(rotation: Rotation | None) -> tuple[str, ...]:
    return tuple(step.name for step in way_of(rotation)) if rotation is not None else ()


def _state(
    decision: Decision | None,
    attention: tuple[Attention, ...],
    unfinished: Rotation | None,
    *,
    held: bool,
) -> str:
    """What a person should know first."""
    if attention:
        return "needs-attention"
    if unfinished is not None and unfinished.state is State.DRAINING:
        return "draining"
    if unfinished is not None and (not held or past_no_return(unfinished)):
        return "running"
    if held:
        return "held"
    if decision is None:
        return "unknown"
    if decision.overdue:
        return "overdue"
    return "due" if decision.due else "ok"
