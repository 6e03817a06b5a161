"""`rotate` and `run`: several policies side by side, each to its rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest

from rotator.engine.ports import Ports
from rotator.engine.recovery import Unfinished, open_of, unfinished_of
from rotator.engine.runner import Runner
from rotator.engine.sides import remembered_side
from rotator.engine.sync import Agreement
from rotator.errors import Busy, Held, Interrupted, RotatorError, combine_exit_codes, exit_code_of
from rotator.interrupt import Stop
from rotator.model import Attention, Decision, Form, Policy, ProjectFacts, Rotation, State, Synced, Trigger
from rotator.operations import outside
from rotator.operations.agreement import agreement_of, note_agreement, unread_errors
from rotator.operations.anchor import anchor_of
from rotator.operations.several import side_by_side
from rotator.planner import NO_SCHEDULE, Facts, decide, most_overdue_first
from rotator.policies.schedule import NextCron


@dataclass(frozen=True)
class Outcome:
    """What became of several policies."""

    rotations: tuple[Rotation, ...] = ()
    errors: tuple[tuple[str, RotatorError], ...] = ()
    """Policies for which nothing was begun, and why."""
    notes: tuple[str, ...] = ()
    """Passed over without harm; for standard error."""
    codes: tuple[int, ...] = ()
    synced: tuple[Synced, ...] = ()
    """Destinations that disagreed and were brought into line, or were not."""

    @property
    def exit_code(self) -> int:
        return combine_exit_codes(list(self.codes))


def outcome_of(rotations: Iterable[Rotation]) -> Outcome:
    """The outcome of rotations alone."""
    rotations = tuple(rotations)
    return Outcome(rotations, codes=tuple(one.exit_code for one in rotations))


def with_rotations(outcome: Outcome, rotations: Iterable[Rotation], stopped: Interrupted | None) -> Outcome:
    """The same outcome after its rotations went on; `stopped` where somebody interrupted that."""
    rotations = tuple(rotations)
    codes = [one.exit_code for one in rotations] + [exit_code_of(error) for _, error in outcome.errors]
    return replace(
        outcome,
        rotations=rotations,
        codes=tuple([*codes, exit_code_of(stopped)] if stopped else codes),
        notes=(*outcome.notes, str(stopped)) if stopped else outcome.notes,
    )


@dataclass
class _Gathered:
    rotations: list[Rotation] = field(default_factory=list)
    errors: list[tuple[str, RotatorError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    synced: list[Synced] = field(default_factory=list)

    def add(self, rotations: Iterable[Rotation]) -> None:
        for rotation in rotations:
            if rotation.state is State.FAILED and rotation.exit_code == 0:
                continue  # closed because a newer one took its place, which tells the outcome
            self.rotations.append(rotation)
            self.codes.append(rotation.exit_code)

    def fail(self, name: str, error: RotatorError) -> None:
        self.errors.append((name, error))
        self.codes.append(exit_code_of(error))

    def take(self, name: str, result: list[Rotation] | RotatorError) -> None:
        """As a run sees it: what is held or in other hands is passed over."""
        if isinstance(result, Busy | Held):
            self.notes.append(f"{name}: passed over: {result.happened}.")
        elif isinstance(result, RotatorError):
            self.fail(name, result)
        else:
            self.add(result)

    def outcome(self) -> Outcome:
        return Outcome(
            tuple(self.rotations),
            tuple(self.errors),
            tuple(self.notes),
            tuple(self.codes),
            tuple(self.synced),
        )


def rotate(runner: Runner, policies: Iterable[Policy], trigger: Trigger, reason: str) -> Outcome:
    """Rotates the policies now, due or not."""
    gathered = _Gathered()
    jobs = {policy.name: _job(runner, policy, trigger, reason) for policy in policies}
    for name, result in side_by_side(jobs):
        if isinstance(result, RotatorError):
            gathered.fail(name, result)
        else:
            gathered.add(result)
    return gathered.outcome()


def run(
    runner: Runner,
    ports: Ports,
    policies: tuple[Policy, ...],
    next_cron: NextCron,
    stop: Stop,
) -> Outcome:
    """One shot: takes up what is unfinished, rotates what is due, then brings destinations that disagree
    into line. Never waits for a drain."""
    gathered = _Gathered()
    unfinished = unfinished_of(ports.journal, policies)
    _resume(runner, ports, unfinished, gathered)
    taken_up = {entry.rotation.policy for entry in unfinished}
    try:
        rest = (policy for policy in policies if policy.name not in taken_up)
        due, apart = _gather_due(ports, rest, next_cron, stop, gathered)
    except Interrupted as error:
        # What was taken up before is told all the same.
        gathered.notes.append(str(error))
        gathered.codes.append(exit_code_of(error))
        return gathered.outcome()
    jobs = {one.policy.name: _due_job(runner, ports, one, next_cron) for one in due}
    for name, result in side_by_side(jobs):
        gathered.take(name, result)
        if result == []:
            gathered.notes.append(f"{name}: passed over: another process has just rotated it.")
    _sync(runner, ports, apart, gathered)
    return gathered.outcome()


def _resume(runner: Runner, ports: Ports, unfinished: list[Unfinished], gathered: _Gathered) -> None:
    _forget_orphans(ports, {entry.rotation.id for entry in unfinished if entry.orphan})
    # Those of one project one after the other: they need the same lease.
    chains: dict[str, list[Rotation]] = {}
    for entry in unfinished:
        if entry.orphan:
            _orphan(ports, entry.rotation, gathered)
        else:
            chains.setdefault(entry.rotation.project, []).append(entry.rotation)
    for row in zip_longest(*chains.values()):
        now = {rotation.id: rotation for rotation in row if rotation is not None}
        for rotation_id, result in side_by_side({name: _resume_job(runner, r) for name, r in now.items()}):
            gathered.take(now[rotation_id].policy, result)


def _resume_job(runner: Runner, rotation: Rotation) -> Callable[[], list[Rotation]]:
    return lambda: [runner.resume(rotation)]


def _forget_orphans(ports: Ports, present: set[str]) -> None:
    """Clears the attention for rotations that are orphans no more: their policy is back, or they are done."""
    for entry in ports.journal.attentions():
        if entry.code == "orphan" and entry.rotation not in present:
            ports.journal.clear_attention(entry.policy, ("orphan",))


def _orphan(ports: Ports, rotation: Rotation, gathered: _Gathered) -> None:
    """An unfinished rotation whose policy is gone: only a person may say what it should become."""
    message = f"Rotation {rotation.id} of {rotation.policy} is unfinished and its policy is gone"
    then = f"Restore the policy and type `rotator run`, or `rotator reconcile {rotation.policy}`"
    ports.journal.raise_attention(
        Attention(rotation.policy, "orphan", ports.clock.now(), message, then, rotation.id)
    )
    gathered.notes.append(f"{message}. {then}.")
    gathered.codes.append(4)


@dataclass(frozen=True)
class _Due:
    policy: Policy
    decision: Decision
    dead: bool = False
    """Not by its schedule, but because readers hold a dead token."""


def _gather_due(
    ports: Ports,
    policies: Iterable[Policy],
    next_cron: NextCron,
    stop: Stop,
    gathered: _Gathered,
) -> tuple[list[_Due], dict[str, _Apart]]:
    """What is due, and those of the rest whose destinations have to be looked at."""
    holds = ports.journal.holds()
    gone = {a.policy for a in ports.journal.attentions() if a.code == "endpoint-gone"}
    due: list[tuple[_Due, Decision]] = []
    apart: dict[str, _Apart] = {}
    looked_at: dict[str, Policy] = {}
    for policy in policies:
        if policy.name in holds:
            gathered.notes.append(f"{policy.name}: passed over: held by {holds[policy.name].by}.")
        else:
            looked_at[policy.name] = policy
    looks = {name: partial(_look_at, ports, policy, next_cron, stop) for name, policy in looked_at.items()}
    for name, one in side_by_side(looks):
        stop.check()  # what was seen leads to nothing any more
        policy = looked_at[name]
        if isinstance(one, Interrupted):
            raise one
        if isinstance(one, RotatorError):
            gathered.fail(name, one)
            continue
        if one.agreement is not None and not one.decision.due:
            apart[policy.name] = _Apart(policy, one.agreement)
        if one.known_dead:
            gathered.notes.append(
                f"{policy.name}: the token that readers hold is dead, as `rotator status` says since. "
                f"`rotator rotate {policy.name}` makes a new one."
            )
            gathered.codes.append(4)
        elif one.decision.due and policy.name in gone:
            gathered.notes.append(
                f"{policy.name}: due, and left alone: the provider has taken rotate-token away. "
                f"`rotator rotate {policy.name}` asks it again."
            )
            gathered.codes.append(4)
        elif one.decision.due and policy.form is Form.ASSISTED:
            gathered.notes.append(
                f"{policy.name}: due, and a person has to make its token in the Lettermint dashboard; "
                f"`rotator stage {policy.name}` then takes it."
            )
            gathered.codes.append(4)
        elif one.decision.due:
            due.append((_Due(policy, one.decision, dead=one.found_dead), one.decision))
    return most_overdue_first(due), apart


@dataclass(frozen=True)
class _Seen:
    """What one look at a policy told."""

    decision: Decision
    found_dead: bool = False
    known_dead: bool = False
    agreement: Agreement | None = None
    """None where there is one destination only, or a rotation is due anyway."""


def _look_at(ports: Ports, policy: Policy, next_cron: NextCron, stop: Stop) -> _Seen:
    stop.check()
    if policy.schedule is None:
        agreement = agreement_of(ports, policy)
        if agreement is None or not agreement.dead:
            outside.clear_if_alive(ports, policy)
        return _Seen(Decision(due=False, due_at=None, reason=NO_SCHEDULE), agreement=agreement)
    facts = ports.provider.project(remembered_side(ports.journal, policy))
    decision = _decide(ports, policy, facts, next_cron)
    if decision.due:
        _remember(ports, facts)
        return _Seen(decision)
    agreement = agreement_of(ports, policy)
    dead = agreement is not None and agreement.dead
    state = outside.notice(ports, policy, facts, seen_dead=dead)
    if state == outside.FOUND and dead and policy.on_out_of_band == "alarm":
        # No rotation would mint; one would stop at the first place that is away, and say nothing of this.
        return _Seen(decision, agreement=None if open_of(ports.journal, policy) else agreement)
    if state == outside.FOUND:
        decision = replace(decision, due=True, reason="the stored token is dead: somebody else changed it")
        return _Seen(decision, found_dead=True)
    _remember(ports, facts)
    if state == outside.KNOWN:
        return _Seen(decision, known_dead=True)
    return _Seen(decision, agreement=agreement)


def _decide(ports: Ports, policy: Policy, facts: ProjectFacts, next_cron: NextCron) -> Decision:
    return decide(policy, Facts(anchor_of(ports.journal, policy, facts), next_cron), ports.clock.now())


def _due_job(runner: Runner, ports: Ports, due: _Due, next_cron: NextCron) -> Callable[[], list[Rotation]]:
    policy = due.policy

    def still() -> bool:
        # Asked under the lease: another cron job may have found the same policy due, and been faster.
        if due.dead:
            return outside.is_dead(ports, policy) is True
        facts = ports.provider.project(remembered_side(ports.journal, policy))
        return _decide(ports, policy, facts, next_cron).due

    return lambda: runner.rotate(policy, Trigger.SCHEDULE, due.decision.reason, wanted=still)


def _remember(ports: Ports, facts: ProjectFacts) -> None:
    """Keeps a changed time of generation; what else changes with every send is not worth a write."""
    known = ports.journal.project_facts(facts.id)
    if known is None or known[0].token_generated_at != facts.token_generated_at:
        ports.journal.remember_project(facts, ports.clock.now())


@dataclass(frozen=True)
class _Apart:
    """A policy that nothing else is done for, and how its destinations compare."""

    policy: Policy
    agreement: Agreement


def _sync(runner: Runner, ports: Ports, apart: dict[str, _Apart], gathered: _Gathered) -> None:
    jobs: dict[str, Callable[[], Synced]] = {}
    for name, one in apart.items():
        for words in note_agreement(ports, one.policy, one.agreement):
            gathered.notes.append(f"{name}: {words}")
            gathered.codes.append(4)
        for error in unread_errors(one.agreement):
            gathered.fail(name, error)
        if one.agreement.differences and one.agreement.problem is None:
            jobs[name] = _sync_job(runner, one.policy)
    for name, result in side_by_side(jobs):
        if isinstance(result, Synced):
            gathered.synced.append(result)
            gathered.codes.append(result.exit_code)
            gathered.notes.append(f"{name}: {result.message}.")
        else:
            gathered.take(name, result)


def _sync_job(runner: Runner, policy: Policy) -> Callable[[], Synced]:
    return lambda: runner.sync(policy, Trigger.SCHEDULE, "destinations disagree")


def _job(runner: Runner, policy: Policy, trigger: Trigger, reason: str) -> Callable[[], list[Rotation]]:
    return lambda: runner.rotate(policy, trigger, reason)
