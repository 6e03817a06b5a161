"""`rotator run`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rotator.cli import notices, signals
from rotator.cli.output import say, say_errors
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.operations.outcome import Outcome


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
    from rotator.views import synced_view  # noqa: PLC0415

    synced = {"synced": [synced_view(one) for one in outcome.synced]}
    code = show(session, outcome, nothing="Nothing was due.", also=synced)
    notices.tell(session, wiring)
    return code


def show(
    session: Session, outcome: Outcome, *, nothing: str, also: Mapping[str, Any] = MappingProxyType({})
) -> int:
    """Rotations on standard output, the rest on standard error; the exit code of all of it.

    `also` goes into the JSON beside the rotations."""
    from rotator.cli import tables  # noqa: PLC0415
    from rotator.views import rotations_view  # noqa: PLC0415

    for note in outcome.notes:
        say(note)
    say_errors(outcome.errors)
    session.emit({**rotations_view(outcome.rotations), **also}, lambda: tables.rotations(outcome.rotations))
    if not (outcome.rotations or outcome.errors or outcome.notes):
        say(nothing)
    return outcome.exit_code
