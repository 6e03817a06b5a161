"""`status`: where every policy stands, from the journal alone unless it is asked to refresh."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from rotator.clock import Clock, parse_rfc3339
from rotator.engine.states import past_no_return
from rotator.journal.base import Journal
from rotator.model import Attention, Decision, Policy, ProjectFacts, Rotation, State, Strategy
from rotator.provider.base import Provider
from rotator.views import PolicyStatus


def refresh(journal: Journal, provider: Provider, clock: Clock, policies: Iterable[Policy]) -> None:
    """Asks the provider about every project and keeps what it says. Raises as `Provider.project`."""
    for policy in policies:
        journal.remember_project(provider.project(policy.project), clock.now())


def statuses(
    journal: Journal,
    clock: Clock,
    policies: Iterable[Policy],
    decide: Callable[[Policy, ProjectFacts], Decision],
) -> list[PolicyStatus]:
    """One entry per policy, in the order given."""
    attention: dict[str, list[Attention]] = {}
    for entry in journal.attentions():
        attention.setdefault(entry.policy, []).append(entry)
    open_rotations = {rotation.policy: rotation for rotation in journal.unfinished()}
    held = journal.holds()
    return [
        _status(
            journal,
            clock.now(),
            policy,
            decide,
            tuple(attention.get(policy.name, ())),
            open_rotations.get(policy.name),
            held=policy.name in held,
        )
        for policy in policies
    ]


def _status(
    journal: Journal,
    now: datetime,
    policy: Policy,
    decide: Callable[[Policy, ProjectFacts], Decision],
    attention: tuple[Attention, ...],
    unfinished: Rotation | None,
    *,
    held: bool,
) -> PolicyStatus:
    remembered = journal.project_facts(policy.project)
    facts = remembered[0] if remembered else None
    decision = decide(policy, facts) if facts else None
    generated = _generated_at(facts)
    last = next(iter(journal.rotations(policy.name, limit=1)), None)
    return PolicyStatus(
        name=policy.name,
        project=policy.project,
        active_project=policy.project if policy.strategy is Strategy.IN_PLACE else None,
        strategy=policy.strategy.value,
        state=_state(decision, attention, unfinished, held=held),
        token_generated_at=generated,
        age_seconds=round((now - generated).total_seconds(), 3) if generated else None,
        next_due_at=decision.due_at if decision else None,
        overdue=bool(decision and decision.overdue),
        reason=decision.reason if decision else "the provider was not asked yet; `--refresh` asks it",
        last_outcome=last.state.value if last else None,
        last_outage=last.outage if last else None,
        rotation=unfinished,
        attention=attention,
    )


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


def _generated_at(facts: ProjectFacts | None) -> datetime | None:
    if facts is None or facts.token_generated_at is None:
        return None
    try:
        return parse_rfc3339(facts.token_generated_at)
    except ValueError:
        # The provider documents RFC 3339; a time without an offset is taken as UTC, anything else as none.
        try:
            return datetime.fromisoformat(facts.token_generated_at).replace(tzinfo=UTC)
        except ValueError:
            return None
