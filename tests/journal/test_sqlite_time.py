"""Time across a reboot: what another boot left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotator.errors import Busy
from rotator.journal.holder import this_process
from rotator.journal.sqlite import SqliteJournal
from tests.journal.builders import PROJECT, stranger


@pytest.fixture
def journal(tmp_path, clock):
    journal = SqliteJournal.open(tmp_path / "journal.db", clock)
    yield journal
    journal.close()


def reboot(clock, *, wall=0.0):
    """The machine starts anew; its wall clock comes up `wall` seconds on."""
    clock.boot_id = "boot-2"
    clock._boot = 30.0
    clock.jump_wall(wall)


def test_a_reboot_frees_the_leases_of_this_host(journal, clock):
    """Every process of the former boot is dead, whatever its lease says."""
    journal.acquire((PROJECT,), this_process(clock, "rotator serve"), ttl=15)

    reboot(clock)

    assert journal.lease_of(PROJECT).expires_in <= 0
    assert journal.acquire((PROJECT,), this_process(clock, "rotator run"), ttl=15).epochs == {PROJECT: 2}


def test_a_lease_of_another_host_and_boot_runs_out_by_the_wall_clock(journal, clock):
    """Boot times of two machines are not comparable, so the wall clock decides."""
    journal.acquire((PROJECT,), stranger(), ttl=15)
    me = this_process(clock, "rotator run")

    reboot(clock, wall=14.5)
    with pytest.raises(Busy):
        journal.acquire((PROJECT,), me, ttl=15)
    clock.advance(0.5)

    assert journal.acquire((PROJECT,), me, ttl=15).epochs == {PROJECT: 2}


def test_a_lease_of_another_boot_never_lasts_longer_than_it_was_given(journal, clock):
    """With a wall clock an hour behind, the time left is still told as one lease time at most."""
    journal.acquire((PROJECT,), stranger(), ttl=15)

    reboot(clock, wall=-3600)

    assert journal.lease_of(PROJECT).expires_in == 15


def test_slots_of_another_boot_age_by_the_wall_clock(journal, clock):
    """After a reboot a slot counts until its wall time has left the window."""
    journal.take_slot("rotate", limit=1, window=60)
    journal.postpone_slots("write", 60)

    reboot(clock, wall=45)

    for kind in ("rotate", "write"):
        assert journal.take_slot(kind, limit=1, window=60) == pytest.approx(15)
    clock.advance(15)
    for kind in ("rotate", "write"):
        assert journal.take_slot(kind, limit=1, window=60) == 0.0


@pytest.mark.parametrize("kind", ["rotate", "write"])
def test_a_wall_clock_that_came_up_behind_delays_by_one_window_at_most(journal, clock, kind):
    """An hour behind after the reboot: the slot counts as just taken, once, and then ages steadily."""
    if kind == "rotate":
        journal.take_slot(kind, limit=1, window=60)
    else:
        journal.postpone_slots(kind, 60)

    reboot(clock, wall=-3600)

    assert journal.take_slot(kind, limit=1, window=60) == pytest.approx(60)
    clock.advance(59)
    assert journal.take_slot(kind, limit=1, window=60) == pytest.approx(1)
    clock.jump_wall(-3600)
    clock.advance(1)
    assert journal.take_slot(kind, limit=1, window=60) == 0.0


def test_a_wall_clock_that_came_up_ahead_frees_the_slots(journal, clock):
    """An hour on, by all that is known, the slot has left the window."""
    journal.take_slot("rotate", limit=1, window=60)
    journal.postpone_slots("rotate", 60)

    reboot(clock, wall=3600)

    assert journal.take_slot("rotate", limit=1, window=60) == 0.0


def test_looking_after_a_reboot_writes_nothing(journal, clock):
    """A look does not date slots anew; only a taker does."""
    journal.take_slot("rotate", limit=1, window=60)
    reboot(clock, wall=-3600)
    before = (journal._file.path.with_name("journal.db-wal")).read_bytes()

    assert journal.take_slot("rotate", limit=1, window=60, take=False) == pytest.approx(60)

    assert (journal._file.path.with_name("journal.db-wal")).read_bytes() == before


def test_a_namesake_of_another_boot_is_judged_by_host(journal, clock):
    """The lease of a process with our pid on another host is not taken for ours."""
    me = this_process(clock, "rotator run")
    journal.acquire((PROJECT,), replace(me, id="other", host="elsewhere", pid_started="1"), ttl=15)

    with pytest.raises(Busy):
        journal.acquire((PROJECT,), me, ttl=15)
