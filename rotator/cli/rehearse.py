"""`rotator rehearse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rotator import words
from rotator.cli import notices, options, pick, signals
from rotator.cli.output import say, say_errors
from rotator.cli.session import Session
from rotator.model import REHEARSAL_RANK, Claim, Strategy
from rotator.rehearsal import rehearsal_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rotator.model import Policy
    from rotator.operations.emergency import Report
    from rotator.operations.outcome import Outcome
    from rotator.operations.rehearse import Told
    from rotator.wiring import Wiring


def rehearse(
    session: Session,
    policies: options.Policies = None,
    label: options.Label = None,
    everything: Annotated[bool, typer.Option("--all", help="every policy that has a rehearsal")] = False,
    reason: options.Reason = None,
) -> int:
    """Rotate for real where nobody depends on it.

    As scheduled, then as in an emergency, against the project and the destinations that a policy names under
    `rehearsal`, by the same steps, with real mints and writes. The policy's own token, stores and record stay
    untouched, so it asks nothing, and a policy that is held is rehearsed all the same.
    """
    wiring = session.wiring("team_token")
    chosen = pick.chosen(wiring.settings, wiring.policies, policies or [], label or [], everything=everything)
    if everything:
        chosen = [policy for policy in chosen if policy.rehearsal is not None]
    for policy in chosen:
        rehearsal_of(policy)  # whatever cannot be rehearsed is told before anything begins
    if not chosen:
        say("No policy has the key `rehearsal`; nothing was rehearsed.")
        return 0
    _say_what_comes(wiring, chosen)
    return _carry_out(session, wiring, chosen, reason or wiring.settings.reason or "")


def _say_what_comes(wiring: Wiring, chosen: Sequence[Policy]) -> None:
    """How many calls that cannot be taken back, on which projects, and how long it takes."""
    from rotator.operations.forecast import MintTimes  # noqa: PLC0415
    from rotator.operations.rehearsals import mints_of, past_of  # noqa: PLC0415

    total = 0
    for policy in chosen:
        rehearsal = rehearsal_of(policy)
        mints = mints_of(rehearsal)
        total += mints
        success = past_of(wiring.journal, rehearsal).success
        lasted = f"; the last one took {words.seconds(success.seconds)} s" if success else ""
        say(
            f"{policy.name}: {words.count(mints, 'call')} of rotate-token on "
            f"{words.count(len(rehearsal.projects), 'project')} of its rehearsal ({', '.join(rehearsal.projects)}), "
            f"strategy {rehearsal.strategy}{_why(policy, rehearsal)}{lasted}."
        )
    usable = Claim(REHEARSAL_RANK, "").share_of(wiring.settings.rotate_limit)
    now = wiring.clock.now()
    times = MintTimes(wiring.journal, usable, now)
    last = [times.next(now) for _ in range(total)][-1]
    say(
        f"{words.count(usable, 'such call')} can be sent in any 60 s, the last of these "
        + (f"at {last:%H:%M:%S} UTC" if (last - now).total_seconds() >= 1 else "at once")
        + "; every rotation in production goes first."
    )


def _why(policy: Policy, rehearsal: Policy) -> str:
    if policy.strategy is rehearsal.strategy:
        return ""
    if policy.strategy is Strategy.ASSISTED:
        return " (the policy is assisted, and no person makes tokens for a rehearsal)"
    return f" (the policy is {policy.strategy}; with `rehearsal.standby` its own steps are rehearsed)"


def _carry_out(session: Session, wiring: Wiring, chosen: Sequence[Policy], reason: str) -> int:
    from rotator.cli.progress import watching  # noqa: PLC0415
    from rotator.engine.context import Progress  # noqa: PLC0415
    from rotator.operations import rehearse as operation  # noqa: PLC0415

    with watching() as watcher, signals.stopping(session.stop, watcher.tell):
        session.observer = watcher
        outcome, told, report = operation.rehearse(
            wiring.runner,
            wiring.ports,
            chosen,
            reason,
            session.stop,
            lambda one: watcher(Progress(one.policy, one.id, one.step, one.message or one.state.value)),
            lambda name, text: watcher(Progress(name, "", "", text)),
        )
    _show(session, outcome, told, report)
    notices.tell(session, wiring)
    return outcome.exit_code


def _show(session: Session, outcome: Outcome, told: Sequence[Told], report: Report | None) -> None:
    from rotator.cli import tables, tables_of_rehearsal  # noqa: PLC0415
    from rotator.views import rotations_view  # noqa: PLC0415

    for note in outcome.notes:
        say(note)
    say_errors(outcome.errors)
    session.emit(
        {
            **rotations_view(outcome.rotations),
            "rehearsals": [one.view() for one in told],
            "report": report.view() if report is not None else None,
        },
        lambda: f"{tables_of_rehearsal.rehearsed(told)}\n\n{tables.rotations(outcome.rotations)}",
    )
