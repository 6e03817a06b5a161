"""The daemon as its HTTP port sees it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.daemon.board import DaemonBoard
from rotator.errors import Unreachable
from rotator.journal.holder import this_process
from rotator.model import Attention, Schedule, State
from rotator.policies.cron import next_after
from tests.daemon.small import Town, policy
from tests.journal.builders import rotation

MONTHLY = Schedule(every=timedelta(days=30))
BILLING = policy("billing", MONTHLY, owner="team-billing")
CHECKOUT = policy("checkout", MONTHLY)


@pytest.fixture
def town(clock):
    made = Town(clock, (BILLING, CHECKOUT))
    # Whatever a page shows, it asks nobody outside: this provider would say so.
    made.away = Unreachable("the provider was asked")
    yield made
    made.journal.close()


@pytest.fixture
def board(town, clock):
    return DaemonBoard(town.daemon, town, town.journal, clock, next_after)


def keep(town, clock, one):
    lease = town.journal.acquire((one.project,), this_process(clock, "test"), ttl=60)
    town.journal.save(lease, one)
    town.journal.release(lease)


def test_one_policy_is_told_as_among_all(board, town):
    """The same facts for its own page as for the list, without a word to the provider."""
    looked = town.looks
    assert [one.name for one in board.statuses()] == ["billing", "checkout"]
    assert board.status("billing") == board.statuses()[0]
    assert board.status("billing").owner == "team-billing"
    assert board.status("nobody") is None
    assert town.looks == looked


def test_what_a_policy_left_open_is_told_of_it_alone(board, town, clock):
    """A rotation whose policy is gone has a page; the page of another policy does not show it."""
    orphan = rotation("r-1", policy="gone", project="project-gone", state=State.RUNNING, step="verify")
    keep(town, clock, orphan)
    town.journal.raise_attention(
        Attention("gone", "orphan", clock.now(), "Its policy is gone", "`rotator run`", "r-1")
    )
    assert [one.name for one in board.statuses()] == ["billing", "checkout", "gone"]
    found = board.status("gone")
    assert (found.state, found.rotation) == ("needs-attention", replace(orphan))
    assert board.status("billing").name == "billing"
    assert board.status("checkout").attention == ()


def test_rehearsals_stand_among_a_policy_s_rotations(board, town, clock):
    """Newest first, unless they are not asked for; those of another policy stand with that one."""
    for number, name in enumerate(("billing", "billing/rehearsal", "checkout/rehearsal", "billing")):
        begun = clock.now() + timedelta(minutes=number)
        keep(
            town,
            clock,
            rotation(f"r-{number}", policy=name, started_at=begun, step="", state=State.COMPLETED),
        )
    assert [one.id for one in board.rotations("billing", 10)] == ["r-3", "r-1", "r-0"]
    assert [one.id for one in board.rotations("billing", 2)] == ["r-3", "r-1"]
    assert [one.id for one in board.rotations("billing", 2, rehearsals=False)] == ["r-3", "r-0"]
    assert [one.id for one in board.rotations(None, 10)] == ["r-3", "r-2", "r-1", "r-0"]
