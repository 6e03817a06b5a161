"""`statuses`: what it tells of each policy, and how little it reads for that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.clock import Instant
from rotator.journal import tables
from rotator.journal.holder import this_process
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Bounds, DestinationSpec, Form, Policy, Schedule, State, Strategy
from rotator.operations.status import statuses
from rotator.policies.cron import next_after
from tests.journal.builders import PROJECT, STANDBY, at, facts, full_rotation, rotation

PAIR = Policy(
    "checkout",
    PROJECT,
    Strategy.CREATE_BEFORE_REVOKE,
    (DestinationSpec("file", "/x", "token"),),
    schedule=Schedule(every=timedelta(days=30)),
    standby_project=STANDBY,
    owner="チーム checkout",
)


@pytest.fixture
def journal(clock):
    made = SqliteJournal.in_memory(clock)
    yield made
    made.close()


def keep(journal, clock, *rotations):
    lease = journal.acquire((PROJECT,), this_process(clock, "test"), ttl=60)
    for one in rotations:
        journal.save(lease, one)
    journal.release(lease)


def ended(number, **changes):
    plain = rotation(
        f"r-{number}",
        policy="checkout",
        form=Form.STANDBY,
        state=State.COMPLETED,
        step="",
        started_at=at(number * 60),
        incoming=(PROJECT, STANDBY)[number % 2],
    )
    return replace(plain, **changes)


def test_the_owner_and_the_way_of_an_open_rotation_are_told(journal, clock):
    """Whoever looks sees whom to ask, and how far the rotation has come."""
    keep(journal, clock, ended(1, state=State.DRAINING, step="drain"))
    (found,) = statuses(journal, clock, [PAIR], next_after)
    assert found.owner == "チーム checkout"
    assert found.way[:2] == ("preflight", "mint+stage")
    assert found.way.index("drain") == 5
    assert len(found.way) == 9


def test_an_abandoned_rotation_has_another_way(journal, clock):
    """What is undone is told by the steps that undo it."""
    given_up = ended(1, state=State.RUNNING, step="rollback", abandoned="it misbehaved", intent=None)
    keep(journal, clock, given_up)
    (found,) = statuses(journal, clock, [PAIR], next_after)
    assert found.way == ("rollback", "discard", "close")
    keep(journal, clock, replace(given_up, intent=full_rotation().intent))
    (found,) = statuses(journal, clock, [PAIR], next_after)
    assert found.way == ("rollback", "drain-incoming", "discard", "close")


def test_the_last_measured_outage_may_be_far_back(journal, clock):
    """Rotations without a downtime measure none; the last one that did is told, however many came after."""
    measured = ended(0, outage=Bounds(0.25, 0.5))
    keep(journal, clock, measured, *(ended(number) for number in range(1, 12)))
    (found,) = statuses(journal, clock, [PAIR], next_after)
    assert (found.last_outage, found.last_outcome) == (Bounds(0.25, 0.5), "completed")


def test_a_long_history_is_not_read_where_the_latest_rotation_says_all(journal, clock, monkeypatch):
    """Of five hundred policies, reading every rotation of late would take seconds."""
    keep(journal, clock, *(ended(n, promoted=Instant.read(clock), outage=Bounds(0, 1)) for n in range(20)))
    journal.remember_project(facts(), clock.now())
    read = []
    real = tables.loads

    def counted(kind, text):
        read.append(kind)
        return real(kind, text)

    monkeypatch.setattr(tables, "loads", counted)
    (found,) = statuses(journal, clock, [PAIR], next_after)
    assert found.active_project == STANDBY
    assert sum(1 for kind in read if kind.__name__ == "Rotation") <= 4
