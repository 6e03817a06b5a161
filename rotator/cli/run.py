"""`rotator run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rotator.cli import signals
from rotator.cli.output import say, say_error
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.operations.rotate import Outcome


def run(session: Session) -> int:
    """Finish what is unfinished, rotate what is due, exit.

    For cron. Passes over policies that are held or that another process is at work on.
    """
    wiring = session.wiring("team_token")
    from rotator.cli.progress import watching  # noqa: PLC0415
    from rotator.operations import rotate as operation  # noqa: PLC0415
    from rotator.policies.cron import next_after  # noqa: PLC0415

    policies, runner = wiring.policies, wiring.runner
    with watching() as watcher, signals.stopping(session.stop, watcher.tell):
        session.observer = watcher
        outcome = operation.run(runner, wiring.ports, policies, next_after, session.stop)
    return show(session, outcome, nothing="Nothing was due.")


def show(session: Session, outcome: Outcome, *, nothing: str) -> int:
    """Rotations on standard output, the rest on standard error; the exit code of all of it."""
    from rotator.cli import tables  # noqa: PLC0415
    from rotator.views import rotations_view  # noqa: PLC0415

    for note in outcome.notes:
        say(note)
    for name, error in outcome.errors:
        say_error(error, about=name)
    session.emit(rotations_view(outcome.rotations), lambda: tables.rotations(outcome.rotations))
    if not (outcome.rotations or outcome.errors or outcome.notes):
        say(nothing)
    return outcome.exit_code
