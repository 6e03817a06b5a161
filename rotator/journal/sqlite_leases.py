"""Leases with epochs in SQLite.

Time is the boot clock's: it never jumps, and the processes that share a file share a machine. The wall
clock counts only for a lease that was taken in another boot, and then for one lease time at most.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from rotator.clock import Clock, Instant
from rotator.errors import Busy, LeaseLost
from rotator.journal.base import Holder, Lease, LeaseView
from rotator.journal.holder import is_dead
from rotator.journal.records import dumps, loads
from rotator.journal.sqlite_file import SqliteFile


@dataclass(frozen=True)
class _Row:
    project: str
    epoch: int
    holder: Holder | None
    ttl: float
    expires: Instant

    def left(self, now: Instant) -> float:
        """Seconds until it expires, by the clocks alone; zero or less when it has."""
        return min(now.seconds_until(self.expires), self.ttl)


class SqliteLeases:
    """Who may act on which project."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def acquire(self, projects: tuple[str, ...], holder: Holder, *, ttl: float, preempt: bool) -> Lease:
        wanted = sorted(set(projects))
        if not wanted:
            raise ValueError("a lease of no project")
        epochs = {}
        with self._file.write() as database:
            now = Instant.read(self._clock)
            for project in wanted:
                row = _find(database, project)
                if not preempt and row is not None and (left := self._left_to_others(row, now)) > 0:
                    raise _busy(row, left)
                epochs[project] = row.epoch + 1 if row else 1
            lease = Lease(holder, epochs)
            _store(database, lease, now.plus(ttl), ttl)
        return lease

    def renew(self, lease: Lease, *, ttl: float) -> None:
        with self._file.write() as database:
            now = Instant.read(self._clock)
            for project in lease.projects:
                self._require(database, lease, project, now)
            _store(database, lease, now.plus(ttl), ttl)

    def check(self, lease: Lease) -> None:
        with self._file.read() as database:
            now = Instant.read(self._clock)
            for project in lease.projects:
                self._require(database, lease, project, now)

    def release(self, lease: Lease) -> None:
        with self._file.write() as database:
            for project, epoch in lease.epochs.items():
                database.execute(
                    "UPDATE leases SET holder = NULL WHERE project = ? AND epoch = ?", (project, epoch)
                )

    def view(self, project: str) -> LeaseView | None:
        with self._file.read() as database:
            row = _find(database, project)
        if row is None:
            return None
        left = self._left_to_others(row, Instant.read(self._clock))
        return LeaseView(project, row.epoch, row.holder, left)

    def guard(self, database: sqlite3.Connection, lease: Lease) -> None:
        """Raises LeaseLost unless the lease's epochs are the present ones, inside the caller's write.

        Expiry does not matter here: as long as nobody took the lease, nobody else acted, and what
        happened under it is better recorded than lost. `check`, before each act, is stricter.
        """
        if not lease.epochs:
            raise ValueError("a lease of no project")
        for project in lease.projects:
            self._require(database, lease, project, None)

    def _left_to_others(self, row: _Row, now: Instant) -> float:
        if row.holder is None or is_dead(row.holder, self._clock.boot_id):
            return 0.0
        return row.left(now)

    def _require(self, database: sqlite3.Connection, lease: Lease, project: str, now: Instant | None) -> None:
        row = _find(database, project)
        holder = row.holder if row else None
        # The holder is compared too: a backup that was put back may hand out an epoch for the second time.
        if row is None or row.epoch != lease.epochs[project] or (holder and holder.id != lease.holder.id):
            raise _lost(project, f"{holder.label if holder else 'another process'} took it")
        if holder is None:
            raise _lost(project, "it was given back")
        if now is not None and (left := row.left(now)) <= 0:
            raise _lost(project, f"it ended {-left:.1f} s ago without a heartbeat")


def _find(database: sqlite3.Connection, project: str) -> _Row | None:
    found = database.execute(
        "SELECT epoch, holder, ttl, expires_wall, expires_boot, boot_id FROM leases WHERE project = ?",
        (project,),
    ).fetchone()
    if found is None:
        return None
    epoch, holder, ttl, wall, boot, boot_id = found
    expires = Instant(datetime.fromtimestamp(wall, UTC), boot_id, boot)
    return _Row(project, epoch, None if holder is None else loads(Holder, holder), ttl, expires)


def _store(database: sqlite3.Connection, lease: Lease, expires: Instant, ttl: float) -> None:
    holder = dumps(lease.holder)
    database.executemany(
        "INSERT INTO leases (project, epoch, holder, ttl, expires_wall, expires_boot, boot_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (project) DO UPDATE SET epoch = excluded.epoch, holder = excluded.holder,"
        " ttl = excluded.ttl, expires_wall = excluded.expires_wall, expires_boot = excluded.expires_boot,"
        " boot_id = excluded.boot_id",
        [
            (project, epoch, holder, ttl, expires.wall.timestamp(), expires.boot, expires.boot_id)
            for project, epoch in lease.epochs.items()
        ],
    )


def _busy(row: _Row, left: float) -> Busy:
    assert row.holder is not None
    return Busy(
        f"Project {row.project} is being worked on by {row.holder.label};"
        f" its lease ends in {left:.1f} s unless it is renewed",
        then="Nothing was changed",
        remedy="Wait for it to finish, or look at it with `rotator status`",
    )


def _lost(project: str, why: str) -> LeaseLost:
    return LeaseLost(
        f"The lease of project {project} is not ours any more: {why}",
        then="This process changes nothing more there",
        remedy="Whoever works on the project next takes up what is unfinished; see `rotator status`",
    )
