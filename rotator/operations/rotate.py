"""`rotate` and `run`: several policies side by side, each to its rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest

from rotator.engine.ports import Ports
from rotator.engine.recovery import Unfinished, unfinished_of
from rotator.engine.runner import Runner
from rotator.engine.sync import Agreement
from rotator.errors import Interrupted, RotatorError, exit_code_of
from rotator.interrupt import Stop
from rotator.model import Attention, Decision, Form, Policy, ProjectFacts, Rotation, Synced, Trigger
from rotator.operations import outside, rehearse
from rotator.operations.agreement import unread_errors
from rotator.operations.anchor import anchor_of
from rotator.operations.outcome import Gathered, Outcome
from rotator.operations.several import attempted, side_by_side
from rotator.planner import Facts, decide, most_overdue_first
from rotator.policies.schedule import NextCron
from rotator.rehearsal import with_rehearsals


def rotate(runner: Runner, policies: Iterable[Policy], trigger: Trigger, reason: str) -> Outcome:
    """Rotates the policies now, due or not."""
    gathered = Gathered()
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
    into line; last of all it rehearses what is due for that. Never waits for a drain."""
    gathered = Gathered()
    unfinished = _production(unfinished_of(ports.journal, with_rehearsals(policies)))
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
    _sync(runner, apart, gathered)
    if not stop.requested.is_set():
        rehearse.run_due(runner, ports, policies, next_cron, stop, gathered)
    return gathered.outcome()


def _production(unfinished: list[Unfinished]) -> list[Unfinished]:
    """Without rehearsals, whose turn is last; with orphans of any kind, which only a person can end."""
    return [one for one in unfinished if one.orphan or one.rotation.trigger is not Trigger.REHEARSAL]


@dataclass(frozen=True)
class Look:
    """What one look at one policy told, and what there is to do about it."""

    decision: Decision
    due: _Due | None = None
    apart: _Apart | None = None
    outcome: Outcome = field(default_factory=Outcome)
    """What only a person can do something about."""

    @property
    def dead(self) -> bool:
        """It is due because readers hold a dead token."""
        return self.due is not None and self.due.dead


def look(ports: Ports, policy: Policy, next_cron: NextCron, stop: Stop, *, recent: float) -> Look:
    """Looks at one policy that has nothing unfinished and is not held. Raises as the ports do, Interrupted.

    What somebody else, or a rotation, has read of the project within the last `recent` seconds is not read again.
    """
    seen = _look_at(ports, policy, next_cron, stop, recent=recent)
    stop.check()
    gathered = Gathered()
    gone = any(entry.code == "endpoint-gone" for entry in ports.journal.attentions(policy.name))
    due, apart = _judge(policy, seen, gathered, gone=gone)
    return Look(seen.decision, due, apart, gathered.outcome())


def act(runner: Runner, ports: Ports, seen: Look, next_cron: NextCron) -> Outcome:
    """Does what a look found to do: rotates, or brings destinations that disagree into line."""
    gathered = Gathered()
    if seen.due is not None:
        gathered.take(seen.due.policy.name, attempted(_due_job(runner, ports, seen.due, next_cron)))
    elif seen.apart is not None:
        _sync(runner, {seen.apart.policy.name: seen.apart}, gathered)
    return gathered.outcome()


def take_up(runner: Runner, rotation: Rotation) -> Outcome:
    """Goes on with one unfinished rotation, as `run` does with all."""
    gathered = Gathered()
    gathered.take(rotation.policy, attempted(_resume_job(runner, rotation)))
    return gathered.outcome()


def note_orphans(ports: Ports, policies: Iterable[Policy]) -> tuple[str, ...]:
    """Raises attention for unfinished rotations whose policy is gone, and clears it where it is back. Returns
    what there is to say."""
    gathered = Gathered()
    everything = unfinished_of(ports.journal, with_rehearsals(policies))
    orphans = [entry.rotation for entry in everything if entry.orphan]
    _forget_orphans(ports, {rotation.id for rotation in orphans})
    for rotation in orphans:
        _orphan(ports, rotation, gathered)
    return tuple(gathered.notes)


def _resume(runner: Runner, ports: Ports, unfinished: list[Unfinished], gathered: Gathered) -> None:
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


def _orphan(ports: Ports, rotation: Rotation, gathered: Gathered) -> None:
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
    gathered: Gathered,
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
        what, differs = _judge(policy, one, gathered, gone=policy.name in gone)
        if what is not None:
            due.append((what, one.decision))
        if differs is not None:
            apart[policy.name] = differs
    return most_overdue_first(due), apart


def _judge(
    policy: Policy, seen: _Seen, gathered: Gathered, *, gone: bool
) -> tuple[_Due | None, _Apart | None]:
    """What is to be done after a look: a rotation, a comparison, or something that only a person can do."""
    apart = None
    if seen.agreement is not None and not seen.decision.due:
        apart = _Apart(policy, seen.agreement)
    for words in seen.raised:
        gathered.notes.append(f"{policy.name}: {words}")
        gathered.codes.append(4)
    for error in seen.errors:
        gathered.fail(policy.name, error)
    if seen.decision.due and gone:
        gathered.notes.append(
            f"{policy.name}: due, and left alone: the provider has taken rotate-token away. "
            f"`rotator rotate {policy.name}` asks it again."
        )
    elif seen.decision.due and policy.form is Form.ASSISTED:
        gathered.notes.append(
            f"{policy.name}: due, and a person has to make its token in the Lettermint dashboard; "
            f"`rotator stage {policy.name}` then takes it."
        )
    elif seen.decision.due:
        return _Due(policy, seen.decision, dead=seen.found_dead), apart
    else:
        return None, apart
    gathered.codes.append(4)
    return None, apart


@dataclass(frozen=True)
class _Seen:
    """What one look at a policy told."""

    decision: Decision
    found_dead: bool = False
    """Due because readers hold a dead token, and the policy lets it be repaired."""
    agreement: Agreement | None = None
    """None where a rotation is due anyway."""
    raised: tuple[str, ...] = ()
    """What a person must look at, in words."""
    errors: tuple[RotatorError, ...] = ()


def _look_at(ports: Ports, policy: Policy, next_cron: NextCron, stop: Stop, *, recent: float = 0.0) -> _Seen:
    stop.check()
    told = outside.projects(ports, policy, recent=recent)
    side = outside.side_of(ports, policy)
    decision = _decide(ports, policy, told[side], next_cron)
    if decision.due:
        outside.remember(ports, told[side])
        return _Seen(decision)
    seen = outside.inspect(ports, policy, told, side)
    if seen.dead and policy.repairs_itself:
        decision = replace(decision, due=True, reason="the stored token is dead: somebody else changed it")
        return _Seen(decision, found_dead=True)
    raised = outside.note(ports, policy, told, side, seen)
    unread = unread_errors(seen.agreement) if seen.agreement is not None else []
    return _Seen(decision, agreement=seen.agreement, raised=tuple(raised), errors=(*seen.errors, *unread))


def _decide(ports: Ports, policy: Policy, facts: ProjectFacts, next_cron: NextCron) -> Decision:
    return decide(policy, Facts(anchor_of(ports.journal, policy, facts), next_cron), ports.clock.now())


def _due_job(runner: Runner, ports: Ports, due: _Due, next_cron: NextCron) -> Callable[[], list[Rotation]]:
    policy = due.policy
    before = {one.id for one in ports.journal.rotations(policy.name, limit=1)}

    def still() -> bool:
        # Asked under the lease: another process may have found the same policy due, and been faster.
        latest = ports.journal.rotations(policy.name, limit=1)
        if latest and latest[0].id not in before and latest[0].minted:
            return False
        if due.dead:
            told = outside.projects(ports, policy)
            return outside.inspect(ports, policy, told, outside.side_of(ports, policy)).dead
        facts = ports.provider.project(outside.side_of(ports, policy))
        return _decide(ports, policy, facts, next_cron).due

    return lambda: runner.rotate(policy, Trigger.SCHEDULE, due.decision.reason, wanted=still)


@dataclass(frozen=True)
class _Apart:
    """A policy that nothing else is done for, and how its destinations compare."""

    policy: Policy
    agreement: Agreement


def _sync(runner: Runner, apart: dict[str, _Apart], gathered: Gathered) -> None:
    jobs: dict[str, Callable[[], Synced]] = {}
    for name, one in apart.items():
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
