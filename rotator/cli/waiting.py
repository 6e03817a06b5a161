"""Carries out what rests in a drain, and waits through it where that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rotator.cli import notices, signals
from rotator.cli.output import say
from rotator.cli.session import Session

if TYPE_CHECKING:
    from rotator.model import Rotation
    from rotator.operations.outcome import Outcome
    from rotator.wiring import Wiring


def carry_out(session: Session, wiring: Wiring, act: Callable[[], list[Rotation]], *, wait: bool) -> int:
    """Does it, shows the rotations, and gives the exit code."""
    from rotator.cli.progress import watching  # noqa: PLC0415
    from rotator.cli.run import show  # noqa: PLC0415
    from rotator.operations.outcome import outcome_of  # noqa: PLC0415

    with watching() as watcher, signals.stopping(session.stop, watcher.tell):
        session.observer = watcher
        outcome = outcome_of(act())
        if wait:
            outcome = waited(session, wiring, outcome)
    code = show(session, outcome, nothing="Nothing was changed.")
    notices.tell(session, wiring)
    return code


def waited(session: Session, wiring: Wiring, outcome: Outcome) -> Outcome:
    """The same when no rotation of it drains any more, or when somebody interrupts the waiting."""
    from rotator.operations import draining  # noqa: PLC0415
    from rotator.operations.outcome import with_rotations  # noqa: PLC0415

    if not any(draining.waits(one) for one in outcome.rotations):
        return outcome
    say(
        "Waiting until it is over. To stop waiting is harmless: `rotator run` goes on with it, "
        "`rotator status` shows it."
    )
    for one in outcome.rotations:
        _say_what_to_revoke(one)
    rotations, interrupted = draining.wait(
        wiring.runner, wiring.clock, session.stop, outcome.rotations, lambda one: _show(session, one)
    )
    return with_rotations(outcome, rotations, interrupted)


def _show(session: Session, rotation: Rotation) -> None:
    from rotator.engine.context import Progress  # noqa: PLC0415

    # The watcher has mostly heard it from the runner already, and does not say a thing twice.
    session.observer(
        Progress(rotation.policy, rotation.id, rotation.step, rotation.message or rotation.state.value)
    )
    _say_what_to_revoke(rotation)


def _say_what_to_revoke(rotation: Rotation) -> None:
    from rotator.operations import draining  # noqa: PLC0415

    if draining.asks_for_revocation(rotation):
        say(
            f"{rotation.policy}: In the Lettermint dashboard, revoke the older token of project "
            f"{rotation.outgoing or rotation.project} now; this goes on when it is dead."
        )
