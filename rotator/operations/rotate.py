"""`rotate` and `run`: several policies side by side, each to its rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rotator.engine.recovery import Unfinished, unfinished_of
from rotator.engine.runner import Ports, Runner
from rotator.errors import Busy, Interrupted, RotatorError, combine_exit_codes, exit_code_of
from rotator.interrupt import Stop, leave_signals_to_main
from rotator.model import Attention, Decision, Policy, ProjectFacts, Rotation, Trigger
from rotator.planner import Facts, anchor_from, decide, most_overdue_first
from rotator.policies.schedule import NextCron

# Work waits for the network, and the provider's rate limit allows few mints anyway.
_SIDE_BY_SIDE = 8


@dataclass(frozen=True)
class Outcome:
    """What became of several policies."""

    rotations: tuple[Rotation, ...] = ()
    errors: tuple[tuple[str, RotatorError], ...] = ()
    """Policies for which nothing was begun, and why."""
    notes: tuple[str, ...] = ()
    """Passed over without harm; for standard error."""
    codes: tuple[int, ...] = ()

    @property
    def exit_code(self) -> int:
        return combine_exit_codes(list(self.codes))


@dataclass
class _Gathered:
    rotations: list[Rotation] = field(default_factory=list)
    errors: list[tuple[str, RotatorError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    def add(self, rotations: Iterable[Rotation]) -> None:
        for rotation in rotations:
            self.rotations.append(rotation)
            self.codes.append(rotation.exit_code)

    def fail(self, name: str, error: RotatorError) -> None:
        self.errors.append((name, error))
        self.codes.append(exit_code_of(error))

    def outcome(self) -> Outcome:
        return Outcome(tuple(self.rotations), tuple(self.errors), tuple(self.notes), tuple(self.codes))


def rotate(runner: Runner, policies: Iterable[Policy], trigger: Trigger, reason: str) -> Outcome:
    """Rotates the policies now, due or not."""
    gathered = _Gathered()
    jobs = {policy.name: _job(runner, policy, trigger, reason) for policy in policies}
    for name, result in _side_by_side(jobs):
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
    """One shot: takes up what is unfinished, then rotates what is due. Never waits for a drain."""
    gathered = _Gathered()
    unfinished = unfinished_of(ports.journal, policies, ports.from_snapshot)
    _resume(runner, ports, unfinished, gathered)
    taken_up = {entry.rotation.policy for entry in unfinished}
    try:
        due = _gather_due(ports, (p for p in policies if p.name not in taken_up), next_cron, stop, gathered)
    except Interrupted as error:
        # What was taken up before is told all the same.
        gathered.notes.append(str(error))
        gathered.codes.append(exit_code_of(error))
        return gathered.outcome()
    jobs = {policy.name: _job(runner, policy, Trigger.SCHEDULE, decision.reason) for policy, decision in due}
    for name, result in _side_by_side(jobs):
        if isinstance(result, Busy):
            gathered.notes.append(f"{name}: passed over: {result.happened}.")
        elif isinstance(result, RotatorError):
            gathered.fail(name, result)
        else:
            gathered.add(result)
    return gathered.outcome()


def _resume(runner: Runner, ports: Ports, unfinished: list[Unfinished], gathered: _Gathered) -> None:
    jobs: dict[str, Callable[[], list[Rotation]]] = {}
    for entry in unfinished:
        if entry.policy is None:
            _orphan(ports, entry.rotation, gathered)
        else:
            jobs[entry.rotation.id] = lambda rotation=entry.rotation: [runner.resume(rotation)]  # type: ignore[misc]  # a default binds the loop's value
    names = {entry.rotation.id: entry.rotation.policy for entry in unfinished}
    for rotation_id, result in _side_by_side(jobs):
        if isinstance(result, Busy):
            gathered.notes.append(f"{names[rotation_id]}: passed over: {result.happened}.")
        elif isinstance(result, RotatorError):
            gathered.fail(names[rotation_id], result)
        else:
            gathered.add(result)


def _orphan(ports: Ports, rotation: Rotation, gathered: _Gathered) -> None:
    """An unfinished rotation whose policy is gone: only a person may say what it should become."""
    message = f"Rotation {rotation.id} of {rotation.policy} is unfinished and its policy is gone"
    then = f"Restore the policy and type `rotator run`, or `rotator reconcile {rotation.policy}`"
    ports.journal.raise_attention(
        Attention(rotation.policy, "orphan", ports.clock.now(), message, then, rotation.id)
    )
    gathered.notes.append(f"{message}. {then}.")
    gathered.codes.append(4)


def _gather_due(
    ports: Ports,
    policies: Iterable[Policy],
    next_cron: NextCron,
    stop: Stop,
    gathered: _Gathered,
) -> list[tuple[Policy, Decision]]:
    holds = ports.journal.holds()
    gone = {a.policy for a in ports.journal.attentions() if a.code == "endpoint-gone"}
    due: list[tuple[tuple[Policy, Decision], Decision]] = []
    for policy in policies:
        stop.check()
        if policy.name in holds:
            gathered.notes.append(f"{policy.name}: passed over: held by {holds[policy.name].by}.")
            continue
        if policy.schedule is None:
            continue
        try:
            facts = ports.provider.project(policy.project)
            _remember(ports, facts)
            known = Facts(anchor_from(facts.token_generated_at), next_cron)
        except RotatorError as error:
            gathered.fail(policy.name, error)
            continue
        decision = decide(policy, known, ports.clock.now())
        if not decision.due:
            continue
        if policy.name in gone:
            gathered.notes.append(
                f"{policy.name}: due, and left alone: the provider has taken rotate-token away. "
                f"`rotator rotate {policy.name}` asks it again."
            )
            gathered.codes.append(4)
            continue
        due.append(((policy, decision), decision))
    return most_overdue_first(due)


def _remember(ports: Ports, facts: ProjectFacts) -> None:
    """Keeps a changed time of generation; what else changes with every send is not worth a write."""
    known = ports.journal.project_facts(facts.id)
    if known is None or known[0].token_generated_at != facts.token_generated_at:
        ports.journal.remember_project(facts, ports.clock.now())


def _job(runner: Runner, policy: Policy, trigger: Trigger, reason: str) -> Callable[[], list[Rotation]]:
    return lambda: runner.rotate(policy, trigger, reason)


def _side_by_side(
    jobs: dict[str, Callable[[], list[Rotation]]],
) -> Iterable[tuple[str, list[Rotation] | RotatorError]]:
    """Runs the jobs in their order, a few at a time; one that fails stops no other."""

    def guarded(job: Callable[[], list[Rotation]]) -> list[Rotation] | RotatorError:
        try:
            return job()
        except RotatorError as error:
            return error

    if not jobs:
        return
    with ThreadPoolExecutor(
        min(_SIDE_BY_SIDE, len(jobs)), thread_name_prefix="rotation", initializer=leave_signals_to_main
    ) as pool:
        futures = [(name, pool.submit(guarded, job)) for name, job in jobs.items()]
        for name, future in futures:
            yield name, future.result()
