"""One policy under a fault: what must hold while it lasts, and after it is over.

The invariant: readers hold a living token, or the policy says that somebody must look; what rests says what happened
and what comes next. Once the fault is over, runs as cron makes them end everything, and nothing is left or lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rotator.model import Rotation, State, Trigger
from tests.properties.history import FORMS, HOUR, History

__all__ = ["FORMS", "HOUR", "PHASES"]

NAMED = (
    "network cut between us and the provider",
    "network cut between us and a store",
    "network cut between us and the journal",
    "network cut between us and the relay",
    "5xx",
    "time-out",
    "reset",
    "half answer",
    "slow answer",
    "answer over the size limit",
    "wrong content type",
    "late execution of a timed-out mint",
    "propagation of a new token delayed by 60 s",
    "propagation of a dead token delayed by 60 s",
    "token_generated_at lags",
    "token_generated_at of one-second precision",
    "stale reads after a write",
    "throttling by AWS",
    "Vault sealed",
    "Vault on standby",
    "Vault token expired in mid-rotation",
    "journal on a full disk before the mint",
    "journal on a full disk after the mint",
    "journal read-only before the mint",
    "journal read-only after the mint",
    "audit on a full disk before the mint",
    "audit on a full disk after the mint",
    "audit read-only before the mint",
    "audit read-only after the mint",
    "clock an hour ahead in mid-rotation",
    "clock an hour behind in mid-rotation",
    "clock an hour ahead in mid-drain",
    "clock an hour behind in mid-drain",
    "clock an hour ahead in mid-lease",
    "clock an hour behind in mid-lease",
    "clock an hour ahead of due times",
    "clock an hour behind due times",
)
"""Every fault that somebody must have thought of. `test_every_fault` sees that each has a case."""

PHASES = [(form, 0) for form in FORMS] + [("standby", 1), ("bridge", 1)]
"""A form, and which command the fault strikes: the first one, or that which ends the first drain."""


@contextmanager
def history_at(form: str, phase: int) -> Iterator[History]:
    """A policy of a form, with so many commands behind it that the next one comes to that phase."""
    history = History(form)
    try:
        if phase:
            history.command(Trigger.MANUAL)
            assert history.bench.wiring.journal.unfinished()[-1].state is State.DRAINING
            history.clock.advance(2.1 * HOUR)
        yield history
    finally:
        history.close()


def strike(history: History, phase: int) -> None:
    """The command that the fault strikes."""
    history.command(None if phase else Trigger.MANUAL)


def check_while_it_lasts(history: History) -> None:
    """Nobody is cut off without a word, and every word says what happened and what comes next."""
    journal = history.bench.wiring.journal
    attention = journal.attentions("billing")
    unfinished = journal.unfinished()
    assert history.is_served() or attention or unfinished, history.told
    for entry in attention:
        assert entry.message
        assert entry.next
    told = {entry.rotation for entry in attention}
    for rotation in journal.rotations("billing"):
        assert says_enough(rotation) or rotation.id in told, rotation.message


def says_enough(rotation: Rotation) -> bool:
    """What happened, and what comes next; where that stands in an attention of the rotation, it is `status` that
    says it."""
    if rotation.state in (State.COMPLETED, State.DRAINING, State.RUNNING):
        return True
    return len(rotation.message.split(". ")) > 1


def check_afterwards(history: History) -> None:
    """The fault is over: everything ends, and nothing is left."""
    history.calm_down()
    history.clock.advance(HOUR)
    history.command(None)
    wrong = history.at_rest()
    assert not wrong, [*wrong, *history.told]
    assert history.bench.wiring.journal.unfinished() == [], history.told
    assert history.bench.attention == set(), history.bench.wiring.journal.attentions()
    assert history.is_served()
