"""The limiter that all processes share: at most `limit` slots of a kind in any `window` seconds.

Ages are by the database's time (`journal.moment`), so a jump of the wall clock neither frees nor blocks a
slot. What another boot left is written anew on the present boot clock by the next taker, from where it
ages steadily: a wall clock that came up wrong delays by one window at most.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Final

from rotator.journal.base import CLAIM_SECONDS
from rotator.journal.database import Database, Statements
from rotator.journal.moment import Moment, moment_now
from rotator.model import Claim

_CLAIMED_AGAIN: Final = 1.0
"""Seconds after which whoever is outranked everywhere asks again."""


class Slots:
    """Slots and pauses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self, kind: str, *, limit: int, window: float, take: bool = True, claim: Claim | None = None
    ) -> float:
        if limit < 1:
            raise ValueError("a limit below one would never give a slot")
        if not take and claim is None:
            with self._database.read() as database:
                return _wait(database, kind, moment_now(self._database, database), limit, window)
        with self._database.write() as database:
            self._database.lock(database, f"slots {kind}")
            now = moment_now(self._database, database)
            _adopt(database, kind, now, window)
            _sweep_claims(database, kind, now)
            left = limit - _claims_before(database, kind, claim)
            if left >= 1:
                seconds = _wait(database, kind, now, left, window)
            else:
                # Every slot is somebody's who is more urgent; one of them may give its claim up.
                seconds = max(_wait(database, kind, now, 1, window), _CLAIMED_AGAIN)
            taken = take and seconds <= 0
            if taken:
                database.execute(
                    "INSERT INTO slots (kind, wall, boot, boot_id, claimant) VALUES (?, ?, ?, ?, ?)",
                    (kind, *astuple(now), claim.by if claim is not None else None),
                )
            if claim is not None:
                _note_claim(database, kind, claim, None if taken else now)
            return seconds

    def date(self, kind: str, claim: Claim) -> None:
        with self._database.write() as database:
            self._database.lock(database, f"slots {kind}")
            database.execute(
                "UPDATE slots SET wall = ?, boot = ?, boot_id = ? WHERE number ="
                " (SELECT max(number) FROM slots WHERE kind = ? AND claimant = ?)",
                (*astuple(moment_now(self._database, database)), kind, claim.by),
            )

    def postpone(self, kind: str, seconds: float) -> None:
        with self._database.write() as database:
            self._database.lock(database, f"slots {kind}")
            now = moment_now(self._database, database)
            if seconds > _paused(database, kind, now):
                _pause(database, kind, seconds, now)


def _sweep_claims(database: Statements, kind: str, now: Moment) -> None:
    """Forgets claims that nobody has repeated."""
    rows = database.execute("SELECT claimant, wall, boot, boot_id FROM claims WHERE kind = ?", (kind,))
    for claimant, *moment in rows.fetchall():
        if Moment(*moment).age(now, CLAIM_SECONDS) >= CLAIM_SECONDS:
            database.execute("DELETE FROM claims WHERE kind = ? AND claimant = ?", (kind, claimant))


def _claims_before(database: Statements, kind: str, claim: Claim | None) -> int:
    """How many claims are more urgent than this one; all of them for whoever has none."""
    query = "SELECT count(*) FROM claims WHERE kind = ?"
    if claim is None:
        found = database.execute(query, (kind,))
    else:
        found = database.execute(f"{query} AND urgency < ? AND claimant <> ?", (kind, claim.rank, claim.by))
    return int(found.fetchone()[0])


def _note_claim(database: Statements, kind: str, claim: Claim, since: Moment | None) -> None:
    """Keeps a claim from now on; with `since` None takes it away, because its slot was taken."""
    database.execute("DELETE FROM claims WHERE kind = ? AND claimant = ?", (kind, claim.by))
    if since is not None:
        database.execute(
            "INSERT INTO claims (kind, claimant, urgency, wall, boot, boot_id) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, claim.by, claim.rank, *astuple(since)),
        )


def _wait(database: Statements, kind: str, now: Moment, limit: int, window: float) -> float:
    """Seconds until the window has room and no pause lasts; 0.0 when that is now."""
    rows = database.execute("SELECT wall, boot, boot_id FROM slots WHERE kind = ?", (kind,))
    ages = sorted(Moment(*row).age(now, window) for row in rows.fetchall())
    full = 0.0 if len(ages) < limit else window - ages[limit - 1]
    return max(full, _paused(database, kind, now))


def _paused(database: Statements, kind: str, now: Moment) -> float:
    """Seconds until the pause of this kind is over."""
    found = _find_pause(database, kind)
    return 0.0 if found is None else found[0] - found[1].age(now, found[0])


def _find_pause(database: Statements, kind: str) -> tuple[float, Moment] | None:
    """How long, and since when."""
    row = database.execute(
        "SELECT seconds, wall, boot, boot_id FROM pauses WHERE kind = ?", (kind,)
    ).fetchone()
    return None if row is None else (row[0], Moment(*row[1:]))


def _pause(database: Statements, kind: str, seconds: float, since: Moment) -> None:
    database.execute(
        "INSERT INTO pauses (kind, seconds, wall, boot, boot_id) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (kind) DO UPDATE SET seconds = excluded.seconds, wall = excluded.wall,"
        " boot = excluded.boot, boot_id = excluded.boot_id",
        (kind, seconds, *astuple(since)),
    )


def _adopt(database: Statements, kind: str, now: Moment, window: float) -> None:
    """Forgets slots older than the window and dates what another boot left on this boot's clock."""
    rows = database.execute("SELECT number, wall, boot, boot_id FROM slots WHERE kind = ?", (kind,))
    for number, *columns in rows.fetchall():
        taken = Moment(*columns)
        age = taken.age(now, window)
        if age >= window:
            database.execute("DELETE FROM slots WHERE number = ?", (number,))
        elif taken.boot_id != now.boot_id:
            database.execute(
                "UPDATE slots SET wall = ?, boot = ?, boot_id = ? WHERE number = ?",
                (*astuple(now.before(age)), number),
            )
    found = _find_pause(database, kind)
    if found is not None and found[1].boot_id != now.boot_id:
        seconds, since = found
        _pause(database, kind, seconds, now.before(since.age(now, seconds)))
