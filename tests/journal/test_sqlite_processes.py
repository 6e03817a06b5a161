"""Several processes with one journal file: races, and death at any moment."""

from __future__ import annotations

import sqlite3
import time

import pytest

from rotator.clock import SystemClock
from rotator.errors import Busy
from rotator.journal.holder import this_process
from rotator.journal.sqlite import SqliteJournal
from tests.journal.builders import PROJECT

RACERS = 8


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def race(start_child, *arguments):
    """Starts the racers, lets them go together, and gives the processes."""
    children = [start_child(*arguments) for _ in range(RACERS)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    return children


def finish(child):
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    return out.splitlines()


def test_one_of_many_makes_the_journal(path, start_child):
    """Eight processes that open a missing journal together get one journal, made by one of them."""
    results = [finish(child)[0].split() for child in race(start_child, "make", path)]

    assert len({journal_id for journal_id, _ in results}) == 1
    assert sorted(created for _, created in results) == ["False"] * 7 + ["True"]


def test_one_of_many_wins_the_lease(path, start_child):
    """Of eight processes exactly one gets the lease, with the first epoch."""
    children = race(start_child, "lease", path)
    first_lines = [child.stdout.readline().strip() for child in children]

    assert sorted(first_lines) == ["busy"] * 7 + ["won 1"]


def test_slots_are_never_more_than_the_limit_in_any_window(path, start_child):
    """Eight processes that want as many slots as they can get never exceed three in 0.4 s."""
    taken = sorted(float(line) for child in race(start_child, "slots", path, 2) for line in finish(child))

    assert 9 <= len(taken) <= 18
    spans = [later - earlier for earlier, later in zip(taken, taken[3:], strict=False)]
    assert min(spans) >= 0.4


def test_a_killed_holder_frees_its_lease_at_once(path, start_child):
    """While the holder lives its lease is respected; after SIGKILL the next process takes over."""
    child = start_child("hold_lease", path)
    child.stdout.readline()
    clock = SystemClock()
    journal = SqliteJournal.open(path, clock)
    me = this_process(clock, "rotator run")
    with pytest.raises(Busy, match=f"rotator serve on .*pid {child.pid}"):
        journal.acquire((PROJECT,), me, ttl=15)

    child.kill()
    child.wait()

    assert journal.acquire((PROJECT,), me, ttl=15).epochs == {PROJECT: 2}
    journal.close()


def test_a_zombie_holds_no_lease(path, start_child):
    """A dead process that nobody reaped, as under a container's pid 1, frees its lease too."""
    child = start_child("zombie_parent", path)
    zombie = child.stdout.readline().strip()
    clock = SystemClock()
    journal = SqliteJournal.open(path, clock)
    assert f"pid {zombie}" in journal.lease_of(PROJECT).holder.label

    assert journal.acquire((PROJECT,), this_process(clock, "rotator run"), ttl=15).epochs == {PROJECT: 2}
    journal.close()


@pytest.mark.parametrize("acknowledged", [1, 20, 150])
def test_what_was_answered_survives_a_kill(path, start_child, acknowledged):
    """Killed while it writes without pause, a process loses nothing that it was told is saved."""
    child = start_child("save_for_ever", path)
    for _ in range(acknowledged):
        last = int(child.stdout.readline())
    child.kill()
    told = [last, *map(int, child.stdout.read().split())]

    journal = SqliteJournal.open(path, SystemClock(), create=False)
    saved = {rotation.id for rotation in journal.rotations()}
    journal.close()

    assert {f"r-{number}" for number in range(max(told) + 1)} <= saved
    assert len(saved) <= max(told) + 2
    with sqlite3.connect(path) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


def test_a_write_killed_before_its_commit_leaves_nothing(path, start_child):
    """Neither half a write nor its lock outlives the process."""
    before = SqliteJournal.open(path, SystemClock())
    child = start_child("die_inside_a_write", path)
    assert child.stdout.readline() == "inside\n"
    child.kill()
    child.wait()

    began = time.monotonic()
    before.set_key_check("c" * 32)
    after = SqliteJournal.open(path, SystemClock())

    assert time.monotonic() - began < 4
    assert (after.id, after._meta("half"), after.key_check()) == (before.id, None, "c" * 32)
    before.close()
    after.close()
