"""Leases with epochs in a table.

Time is the database's (`Database.now`). On SQLite that is the boot clock's: it never jumps, and the
processes that share a file share a machine; the wall clock counts only for a lease that was taken in
another boot, and then for one lease time at most. On PostgreSQL it is the server's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rotator.clock import Clock, Instant
from rotator.errors import Busy, LeaseLost
from rotator.journal.base import Holder, Lease, LeaseView
from rotator.journal.database import CommitUnclear, Database, Statements
from rotator.journal.holder import is_dead
from rotator.journal.records import dumps, loads


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


class Leases:
    """Who may act on which project."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, projects: tuple[str, ...], holder: Holder, *, ttl: float, preempt: bool) -> Lease:
        wanted = sorted(set(projects))
        if not wanted:
            raise ValueError("a lease of no project")
        epochs: dict[str, int] = {}
        try:
            self._take(wanted, holder, epochs, ttl=ttl, preempt=preempt)
        except CommitUnclear:
            # The epoch is ours alone, so whether it was written can be looked up.
            if not self._taken(holder, epochs):
                raise
        return Lease(holder, epochs)

    def _take(
        self, wanted: list[str], holder: Holder, epochs: dict[str, int], *, ttl: float, preempt: bool
    ) -> None:
        with self._database.write() as database:
            self._database.lock(database, *map(_lock, wanted))
            now = self._database.now(database)
            for project in wanted:
                row = _find(database, project)
                if not preempt and row is not None and (left := self._left_to_others(row, now)) > 0:
                    raise _busy(row, left)
                epochs[project] = row.epoch + 1 if row else 1
            _store(database, Lease(holder, epochs), now.plus(ttl), ttl)

    def _taken(self, holder: Holder, epochs: dict[str, int]) -> bool:
        """Whether these epochs are the holder's; the lock waits for the transaction that may still write them."""
        with self._database.write() as database:
            self._database.lock(database, *map(_lock, sorted(epochs)))
            rows = [(_find(database, project), epoch) for project, epoch in epochs.items()]
        return all(
            row is not None and row.epoch == epoch and row.holder is not None and row.holder.id == holder.id
            for row, epoch in rows
        )

    def renew(self, lease: Lease, *, ttl: float) -> None:
        with self._database.write() as database:
            self._database.lock(database, *map(_lock, lease.projects))
            now = self._database.now(database)
            for project in lease.projects:
                self._require(database, lease, project, now)
            _store(database, lease, now.plus(ttl), ttl)

    def check(self, lease: Lease) -> None:
        with self._database.read() as database:
            now = self._database.now(database)
            for project in lease.projects:
                self._require(database, lease, project, now)

    def release(self, lease: Lease) -> None:
        with self._database.write() as database:
            self._database.lock(database, *map(_lock, lease.projects))
            for project, epoch in lease.epochs.items():
                database.execute(
                    "UPDATE leases SET holder = NULL WHERE project = ? AND epoch = ?", (project, epoch)
                )

    def view(self, project: str) -> LeaseView | None:
        with self._database.read() as database:
            row = _find(database, project)
            now = self._database.now(database)
        if row is None:
            return None
        left = self._left_to_others(row, now)
        return LeaseView(project, row.epoch, row.holder, left)

    def guard(self, database: Statements, lease: Lease) -> None:
        """Raises LeaseLost unless the lease's epochs are the present ones, inside the caller's write.

        Expiry does not matter here: as long as nobody took the lease, nobody else acted, and what
        happened under it is better recorded than lost. `check`, before each act, is stricter.
        """
        if not lease.epochs:
            raise ValueError("a lease of no project")
        self._database.lock(database, *map(_lock, lease.projects))
        for project in lease.projects:
            self._require(database, lease, project, None)

    def _left_to_others(self, row: _Row, now: Instant) -> float:
        if row.holder is None or is_dead(row.holder, self._clock.boot_id):
            return 0.0
        return row.left(now)

    def _require(self, database: Statements, lease: Lease, project: str, now: Instant | None) -> None:
        row = _find(database, project)
        holder = row.holder if row else None
        # The holder is compared too: a backup that was put back may hand out an epoch for the second time.
        if row is None or row.epoch != lease.epochs[project] or (holder and holder.id != lease.holder.id):
            raise _lost(project, f"{holder.label if holder else 'another process'} took it")
        if holder is None:
            raise _lost(project, "it was given back")
        if now is not None and (left := row.left(now)) <= 0:
            raise _lost(project, f"it ended {-left:.1f} s ago without a heartbeat")


def _lock(project: str) -> str:
    return f"lease {project}"


def _find(database: Statements, project: str) -> _Row | None:
    found = database.execute(
        "SELECT epoch, holder, ttl, expires_wall, expires_boot, boot_id FROM leases WHERE project = ?",
        (project,),
    ).fetchone()
    if found is None:
        return None
    epoch, holder, ttl, wall, boot, boot_id = found
    expires = Instant(datetime.fromtimestamp(wall, UTC), boot_id, boot)
    return _Row(project, epoch, None if holder is None else loads(Holder, holder), ttl, expires)


def _store(database: Statements, lease: Lease, expires: Instant, ttl: float) -> None:
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
