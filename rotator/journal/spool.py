"""Notices on their way to whoever is to be told: each is sent once, whatever dies on the way.

A notice is put here once for each notifier, under a name that is always the same, so that whoever puts it
again changes nothing. Whoever claims one is alone with it for a while; when that process dies, the next
one sends it, under the same name, by which the receiver knows a repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Final

from rotator.journal.base import SpoolEntry, SpoolState
from rotator.journal.database import Database, Statements
from rotator.journal.moment import Moment, moment_now

_COLUMNS: Final = "notifier, notice, policy, state, tries, error, document"
_FORGET: Final = 90 * 86_400.0
"""Seconds after which what needs nothing more is forgotten."""


class TableSpool:
    """Implements `journal.base.Spool` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known_since(self, notifier: str, now: datetime) -> datetime:
        query = "SELECT since FROM notifiers WHERE notifier = ?"
        with self._database.read() as reading:
            found = reading.execute(query, (notifier,)).fetchone()
        if found is None:
            with self._database.write() as database:
                database.execute(
                    "INSERT INTO notifiers (notifier, since) VALUES (?, ?) ON CONFLICT (notifier) DO NOTHING",
                    (notifier, now.isoformat(timespec="microseconds")),
                )
                found = database.execute(query, (notifier,)).fetchone()
        return datetime.fromisoformat(found[0])

    def put(self, entries: Sequence[SpoolEntry]) -> int:
        if not entries:
            return 0
        with self._database.write() as database:
            self._database.lock(database, "notices")
            now = moment_now(self._database, database)
            _forget(database, now)
            added = 0
            for entry in entries:
                added += database.execute(
                    "INSERT INTO notices (notifier, notice, policy, state, tries, error, document, wait, wall, boot,"
                    " boot_id) VALUES (?, ?, ?, ?, 0, '', ?, 0, ?, ?, ?) ON CONFLICT (notifier, notice) DO NOTHING",
                    (
                        entry.notifier,
                        entry.notice,
                        entry.policy,
                        SpoolState.WAITING,
                        entry.document,
                        *astuple(now),
                    ),
                ).rowcount
        return added

    def known(self, notifier: str, notices: Sequence[str]) -> set[str]:
        if not notices:
            return set()
        query = f"SELECT notice FROM notices WHERE notifier = ? AND notice IN ({_places(notices)})"  # noqa: S608  # placeholders
        with self._database.read() as database:
            return {row[0] for row in database.execute(query, (notifier, *notices)).fetchall()}

    def entries(self, *states: SpoolState, policy: str | None = None) -> list[SpoolEntry]:
        query = f"SELECT {_COLUMNS} FROM notices WHERE state IN ({_places(states)})"  # noqa: S608  # placeholders
        values: list[str] = [*states]
        if policy is not None:
            query += " AND policy = ?"
            values.append(policy)
        with self._database.read() as database:
            rows = database.execute(f"{query} ORDER BY number", values).fetchall()
        return [_entry(row) for row in rows]

    def claim(self, notifiers: Sequence[str], seconds: float) -> SpoolEntry | None:
        if not notifiers:
            return None
        with self._database.write() as database:
            self._database.lock(database, "notices")
            now = moment_now(self._database, database)
            rows = database.execute(
                f"SELECT {_COLUMNS}, wait, wall, boot, boot_id FROM notices"  # noqa: S608  # placeholders
                f" WHERE state = ? AND notifier IN ({_places(notifiers)}) ORDER BY number",
                (SpoolState.WAITING, *notifiers),
            ).fetchall()
            for row in rows:
                *columns, wait, wall, boot, boot_id = row
                if Moment(wall, boot, boot_id).age(now, wait) < wait:
                    continue
                entry = _entry(columns)
                _change(
                    database,
                    entry,
                    "tries = tries + 1, wait = ?, wall = ?, boot = ?, boot_id = ?",
                    seconds,
                    *astuple(now),
                )
                return entry
        return None

    def settle(self, entry: SpoolEntry, state: SpoolState, *, error: str = "", again_in: float = 0.0) -> None:
        with self._database.write() as database:
            self._database.lock(database, "notices")
            now = moment_now(self._database, database)
            _change(
                database,
                entry,
                "state = ?, error = ?, wait = ?, wall = ?, boot = ?, boot_id = ?",
                state,
                error,
                again_in,
                *astuple(now),
            )


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _entry(row: Sequence[object]) -> SpoolEntry:
    notifier, notice, policy, state, tries, error, document = row
    return SpoolEntry(
        notifier=str(notifier),
        notice=str(notice),
        policy=str(policy),
        document=str(document),
        state=SpoolState(str(state)),
        tries=int(str(tries)),
        error=str(error),
    )


def _change(database: Statements, entry: SpoolEntry, assignments: str, *values: object) -> None:
    database.execute(
        f"UPDATE notices SET {assignments} WHERE notifier = ? AND notice = ?",  # noqa: S608  # of our own words
        (*values, entry.notifier, entry.notice),
    )


def _forget(database: Statements, now: Moment) -> None:
    database.execute(
        "DELETE FROM notices WHERE state IN (?, ?) AND wall < ?",
        (SpoolState.OVER, SpoolState.GIVEN_UP, now.wall - _FORGET),
    )
