"""Little programs that the tests run as processes of their own: `children.py NAME PATH [ARGUMENT]`.

A program that takes part in a race prints "ready" and waits for a line on stdin.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

from rotator.clock import SystemClock
from rotator.errors import Busy, RotatorError
from rotator.journal.holder import this_process
from rotator.journal.sqlite import SqliteJournal
from tests.journal.builders import PROJECT, rotation


class RecordingClock(SystemClock):
    """Remembers its last boot time, which in `take_slot` is the time of the slot."""

    last = 0.0

    def boot(self):
        self.last = super().boot()
        return self.last


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def wait_for_start():
    say("ready")
    sys.stdin.readline()


def opened(place, clock):
    """The journal at a path, or at the address of a server."""
    address = str(place)
    if not address.startswith("postgresql:"):
        return SqliteJournal.open(place, clock)
    from rotator.journal.postgresql import PostgresqlJournal  # noqa: PLC0415  # only these tests need the driver
    from rotator.secret import Secret  # noqa: PLC0415

    return PostgresqlJournal.open(Secret(address), "postgresql://here/it", clock, audit_log="host:/audit")


def make(path):
    """Opens a journal together with others."""
    wait_for_start()
    journal = SqliteJournal.open(path, SystemClock())
    say(journal.id, journal.created)
    journal.close()


def lease(path):
    """Competes for one lease; the winner keeps living until all have tried."""
    clock = SystemClock()
    journal = opened(path, clock)
    wait_for_start()
    try:
        won = journal.acquire((PROJECT,), this_process(clock, "race"), ttl=60)
        say("won", won.epochs[PROJECT])
    except Busy:
        say("busy")
    sys.stdin.readline()
    journal.close()


def slots(path, seconds):
    """Takes as many slots as it gets (limit 3 in 0.4 s) and prints the time of each."""
    clock = RecordingClock()
    journal = SqliteJournal.open(path, clock, busy_seconds=30)
    wait_for_start()
    end = clock.boot() + float(seconds)
    while clock.boot() < end:
        if journal.take_slot("rotate", limit=3, window=0.4) == 0.0:
            say(repr(clock.last))
        else:
            time.sleep(0.005)
    journal.close()


def hold_lease(path):
    """Takes a lease and waits to be killed."""
    clock = SystemClock()
    journal = SqliteJournal.open(path, clock)
    journal.acquire((PROJECT,), this_process(clock, "rotator serve"), ttl=3600)
    say("holding")
    sys.stdin.readline()


def save_for_ever(path):
    """Prints each number as soon as its rotation is saved."""
    clock = SystemClock()
    journal = SqliteJournal.open(path, clock)
    mine = journal.acquire((PROJECT,), this_process(clock, "writer"), ttl=3600)
    for number in itertools.count():
        journal.save(mine, rotation(f"r-{number}", message="x" * 2000))
        say(number)


def die_inside_a_write(path):
    """Stands inside a transaction, everything written but the commit, until it is killed."""
    journal = SqliteJournal.open(path, SystemClock())
    with journal._file.write() as database:
        database.execute("INSERT INTO meta (name, value) VALUES ('half', 'done')")
        database.execute("UPDATE meta SET value = 'stolen' WHERE name = 'id'")
        say("inside")
        sys.stdin.readline()


def fork(path):
    """Forks with an open journal and uses it on both sides."""
    clock = SystemClock()
    journal = SqliteJournal.open(path, clock)
    inherited = journal._file._connection
    pid = os.fork()
    if pid == 0:
        mine = journal.acquire((PROJECT,), this_process(clock, "child"), ttl=60)
        journal.save(mine, rotation("r-child"))
        other = journal._file._connection is not inherited
        say("child:", "other connection," if other else "same connection,", "saved")
        os._exit(0)
    os.waitpid(pid, 0)
    same = journal._file._connection is inherited
    (seen,) = journal.rotations()
    say("parent:", "same connection," if same else "other connection,", "sees", seen.id)
    journal.close()


def zombie_parent(path):
    """Leaves a killed lease holder unreaped, prints its pid, and waits."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        clock = SystemClock()
        journal = SqliteJournal.open(path, clock)
        journal.acquire((PROJECT,), this_process(clock, "rotator serve"), ttl=3600)
        os.write(writer, b"x")
        os._exit(0)
    os.read(reader, 1)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    say(pid)
    sys.stdin.readline()
    os.waitpid(pid, 0)


def as_nobody(path, create):
    """Opens and uses the journal as a user who owns nothing; prints the exit code and the message."""
    clock = SystemClock()
    # The interpreter may be installed where only root reads: everything needed is loaded beforehand.
    SqliteJournal.in_memory(clock).close()
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        journal = SqliteJournal.open(path, clock, create=create == "create")
        say("opened", len(journal.rotations()))
        journal.close()
    except RotatorError as error:
        say(error.exit_code, str(error))


if __name__ == "__main__":
    place = sys.argv[2]
    globals()[sys.argv[1]](place if "://" in place else Path(place), *sys.argv[3:])
